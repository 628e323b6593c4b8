#include "formats/flat_yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "formats/text.h"

namespace assay::formats {
namespace {

constexpr size_t kLargestFileBytes = 1 * kMegabyte;
constexpr size_t kDeepest = 16;

// One open map: its name with the parents' names, and the column of its members (-1 until the first one).
struct OpenMap {
  std::string prefix;
  int indent = -1;
};

// Without the comment: '#' starts one at the beginning or after a blank, outside quotes.
Result<std::string_view> WithoutComment(std::string_view line) {
  char quote = '\0';
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != '\0') {
      if (c == quote) quote = '\0';
    } else if ((c == '"' || c == '\'') && (i == 0 || line[i - 1] == ' ')) {
      quote = c;
    } else if (c == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) {
      return line.substr(0, i);
    }
  }
  if (quote != '\0') return BadInput("a quote is not closed on its line");
  return line;
}

Result<std::string> Scalar(std::string_view text) {
  const char first = text.front();
  if (first == '"' || first == '\'') {
    if (text.size() < 2 || text.back() != first || text.find('\\') != std::string_view::npos)
      return BadInput("a quoted text that is not plain");
    return std::string(text.substr(1, text.size() - 2));
  }
  if (std::string_view("[{&*!|>%@`-?,").find(first) != std::string_view::npos && !ParseDouble(text)) {
    return BadInput(
        fmt::format("'{}' is YAML beyond maps of plain values; rewrite it as 'key: value' lines", Printable(text)));
  }
  return std::string(text);
}

}  // namespace

Result<FlatYaml> FlatYaml::Parse(std::string_view text, const std::string& path) {
  if (text.size() > kLargestFileBytes) return BadInput(fmt::format("{}: larger than 1 MB", path));
  if (FindInvalidUtf8(text)) return BadInput(fmt::format("{}: not UTF-8 text", path));
  FlatYaml yaml;
  yaml.path_ = path;
  std::vector<OpenMap> open = {{"", -1}};
  std::set<std::string> seen;
  Lines lines(text);
  std::string_view raw;
  while (lines.Next(&raw)) {
    const auto bad = [&](std::string_view what) {
      return BadInput(fmt::format("{}: {}", At(path, lines.number()), what));
    };
    auto without = WithoutComment(raw);
    if (!without.ok()) return bad(without.error().message);
    const std::string_view line = *without;
    if (Trim(line).empty()) continue;
    const size_t indent = line.find_first_not_of(' ');
    if (line[indent] == '\t') return bad("a tab indents; use blanks");
    if (indent > 1000) return bad("indented by more than 1,000 blanks");
    // Close the maps that this line is left of; the first member of a map sets the map's column.
    if (open.back().indent < 0 && static_cast<int>(indent) > (open.size() > 1 ? open[open.size() - 2].indent : -1)) {
      open.back().indent = static_cast<int>(indent);
    }
    while (open.size() > 1 && (open.back().indent < 0 || static_cast<int>(indent) < open.back().indent))
      open.pop_back();
    if (static_cast<int>(indent) != open.back().indent) return bad("the indentation fits no map above");
    const std::string_view content = Trim(line);
    const size_t colon = content.find(": ") != std::string_view::npos ? content.find(": ") : content.size() - 1;
    if (content[colon] != ':') return bad("expected 'key: value'");
    const std::string_view key = Trim(content.substr(0, colon));
    const std::string_view value = Trim(content.substr(colon + 1));
    if (key.empty() || key.size() > 200 || key.find_first_of("\"'[]{}&*!|>%@`,") != std::string_view::npos)
      return bad("a key must be a plain word");
    std::string full = open.back().prefix + std::string(key);
    if (!seen.insert(full).second) return bad(fmt::format("'{}' is given twice; keep one", Printable(full)));
    if (value.empty()) {
      if (open.size() > kDeepest) return bad("nested deeper than 16 levels");
      open.push_back({full + ".", -1});
      continue;
    }
    auto scalar = Scalar(value);
    if (!scalar.ok()) return bad(scalar.error().message);
    yaml.scalars_.push_back({std::move(full), std::move(*scalar), lines.number()});
  }
  if (yaml.scalars_.empty()) return BadInput(fmt::format("{}: holds no 'key: value' line", path));
  return yaml;
}

Result<FlatYaml> FlatYaml::Read(const std::string& path) {
  ASSAY_TRY(const std::string text, ReadFile(path, kLargestFileBytes));
  return Parse(text, path);
}

const YamlScalar* FlatYaml::Find(std::string_view key) const {
  const auto found = std::find_if(scalars_.begin(), scalars_.end(), [&](const YamlScalar& s) { return s.key == key; });
  return found == scalars_.end() ? nullptr : &*found;
}

Result<std::optional<double>> FlatYaml::Number(std::string_view key) const {
  const YamlScalar* scalar = Find(key);
  if (scalar == nullptr) return std::optional<double>();
  const auto value = ParseDouble(scalar->text);
  if (!value || !std::isfinite(*value))
    return BadInput(
        fmt::format("{}: {} is '{}'; it must be a number", At(path_, scalar->line), key, Printable(scalar->text)));
  return value;
}

Result<double> FlatYaml::NeedNumber(std::string_view key) const {
  ASSAY_TRY(const auto value, Number(key));
  if (value) return *value;
  std::vector<std::string_view> known;
  for (const YamlScalar& scalar : scalars_) known.push_back(scalar.key);
  return BadInput(fmt::format("{}: '{}' is missing{}", path_, key, DidYouMean(key, known)));
}

}  // namespace assay::formats
