#include "formats/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/text.h"

namespace assay::formats {
namespace {

constexpr size_t kLargestFileBytes = 256 * kMegabyte;
constexpr size_t kMostColumns = 1024;
constexpr size_t kMostRows = 10'000'000;
constexpr size_t kLongestLineBytes = 1 * kMegabyte;

std::vector<std::string_view> Views(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

}  // namespace

// Fields are offsets into text_. A quoted field is unquoted in place: the result is never longer than what was written.
Status Table::SplitLine(std::string_view line, int64_t number, std::vector<Field>* fields) {
  const auto add = [&](const char* begin, size_t size) {
    fields->push_back({static_cast<uint32_t>(begin - text_.data()), static_cast<uint32_t>(size)});
  };
  char* const base = text_.data() + (line.data() - text_.data());
  size_t at = 0;
  while (true) {
    if (fields->size() == kMostColumns)
      return BadInput(fmt::format("{}: more than {} fields", At(path_, number), kMostColumns));
    if (at < line.size() && line[at] == '"') {
      size_t out = ++at;
      const size_t begin = at;
      while (at < line.size() && (line[at] != '"' || (at + 1 < line.size() && line[at + 1] == '"'))) {
        if (line[at] == '"') ++at;
        base[out++] = line[at++];
      }
      if (at == line.size())
        return BadInput(fmt::format("{}: a quote is not closed on its line; close it", At(path_, number)));
      add(base + begin, out - begin);
      ++at;
      if (at < line.size() && line[at] != ',')
        return BadInput(fmt::format("{}: expected ',' after a closing quote", At(path_, number)));
    } else {
      const size_t end = std::min(line.find(',', at), line.size());
      const std::string_view field = Trim(line.substr(at, end - at));
      add(field.data(), field.size());
      at = end;
    }
    if (at >= line.size()) return Ok();
    ++at;
  }
}

Result<Table> Table::Parse(std::string text, const std::string& path) {
  if (text.size() > kLargestFileBytes) return BadInput(fmt::format("{}: larger than 256 MB", path));
  if (const auto offset = FindInvalidUtf8(text)) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(*offset), '\n');
    return BadInput(fmt::format("{}: not UTF-8 text (is it UTF-16, or compressed?); save it as plain CSV in UTF-8",
                                At(path, line)));
  }
  Table table;
  table.path_ = path;
  table.text_ = std::move(text);
  Lines lines(table.text_);
  std::string_view line;
  std::vector<Field> fields;
  while (lines.Next(&line)) {
    if (line.size() > kLongestLineBytes)
      return BadInput(fmt::format("{}: a line of {} bytes; is it a table?", At(path, lines.number()), line.size()));
    if (Trim(line).empty()) continue;
    fields.clear();
    ASSAY_RETURN_IF_ERROR(table.SplitLine(line, lines.number(), &fields));
    if (table.columns_.empty()) {
      for (const Field& field : fields) table.columns_.emplace_back(table.text_, field.offset, field.size);
      auto sorted = table.columns_;
      std::sort(sorted.begin(), sorted.end());
      const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
      if (twice != sorted.end())
        return BadInput(
            fmt::format("{}: column '{}' is there twice; rename one", At(path, lines.number()), Printable(*twice)));
      continue;
    }
    if (fields.size() != table.columns_.size()) {
      return BadInput(fmt::format("{}: {} fields, the header has {}; is the file cut short?", At(path, lines.number()),
                                  fields.size(), table.columns_.size()));
    }
    if (table.lines_.size() == kMostRows) return BadInput(fmt::format("{}: more than {} rows", path, kMostRows));
    table.fields_.insert(table.fields_.end(), fields.begin(), fields.end());
    table.lines_.push_back(lines.number());
  }
  if (table.columns_.empty())
    return BadInput(fmt::format("{}: empty; a table starts with a line of column names", path));
  return table;
}

Result<Table> Table::Read(const std::string& path) {
  ASSAY_TRY(std::string text, ReadFile(path, kLargestFileBytes));
  return Parse(std::move(text), path);
}

bool Table::Has(std::string_view column) const {
  return std::find(columns_.begin(), columns_.end(), column) != columns_.end();
}

Result<size_t> Table::Column(std::string_view name) const {
  const auto found = std::find(columns_.begin(), columns_.end(), name);
  if (found != columns_.end()) return static_cast<size_t>(found - columns_.begin());
  return BadInput(fmt::format("{}: no column '{}'{}", At(path_, 1), name, DidYouMean(name, Views(columns_))));
}

std::string_view Table::Text(size_t row, size_t column) const {
  ASSAY_CHECK(row < rows() && column < columns_.size(), "a field inside the table");
  const Field& field = fields_[row * columns_.size() + column];
  return std::string_view(text_).substr(field.offset, field.size);
}

std::string Table::Where(size_t row, size_t column) const {
  return fmt::format("{}: {}", At(path_, lines_[row]), columns_[column]);
}

Result<double> Table::Number(size_t row, size_t column, TableLimits limits) const {
  const std::string_view text = Text(row, column);
  const auto value = ParseDouble(text);
  if (!value || !std::isfinite(*value))
    return BadInput(fmt::format("{} is '{}'; it must be a number", Where(row, column), Printable(text)));
  if (*value < limits.low || *value > limits.high) {
    return BadInput(fmt::format("{} is {}; it must be between {:g} and {:g}", Where(row, column), Printable(text),
                                limits.low, limits.high));
  }
  return *value;
}

Result<int64_t> Table::Integer(size_t row, size_t column, TableLimits limits) const {
  const std::string_view text = Text(row, column);
  const auto value = ParseInt(text);
  if (!value) return BadInput(fmt::format("{} is '{}'; it must be an integer", Where(row, column), Printable(text)));
  if (static_cast<double>(*value) < limits.low || static_cast<double>(*value) > limits.high) {
    return BadInput(
        fmt::format("{} is {}; it must be between {:g} and {:g}", Where(row, column), *value, limits.low, limits.high));
  }
  return *value;
}

Result<std::vector<double>> Table::Numbers(std::string_view column, TableLimits limits) const {
  ASSAY_TRY(const size_t index, Column(column));
  std::vector<double> out(rows());
  for (size_t row = 0; row < rows(); ++row) {
    ASSAY_TRY(out[row], Number(row, index, limits));
  }
  return out;
}

Result<TableName> ParseTableName(std::string_view path) {
  std::string_view stem = path.substr(path.find_last_of('/') + 1);  // npos + 1 is 0
  const Error unfit =
      BadInput(fmt::format("{}: a measured table is named system__family__framework__version__table.csv, as in "
                           "h100_sxm__attention__vllm__0.24.0__context_attention_perf.csv; rename it",
                           Printable(path)));
  if (!stem.ends_with(".csv")) return unfit;
  stem.remove_suffix(4);
  std::vector<std::string> parts;
  while (true) {
    const size_t end = stem.find("__");
    parts.emplace_back(stem.substr(0, end));
    if (parts.back().empty() || parts.size() > 5) return unfit;
    if (end == std::string_view::npos) break;
    stem.remove_prefix(end + 2);
  }
  if (parts.size() != 5) return unfit;
  return TableName{parts[0], parts[1], parts[2], parts[3], parts[4]};
}

}  // namespace assay::formats
