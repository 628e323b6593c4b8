#include "formats/toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>

// The distribution's compiled library: this file compiles in seconds instead of tens of them.
#define TOML_HEADER_ONLY 0
#include <toml++/toml.h>

#include "formats/text.h"

namespace assay::formats {
namespace {

constexpr size_t kLargestFileBytes = 16 * kMegabyte;
constexpr int kDeepest = 64;

std::string_view NameOf(TomlNode::Kind kind) {
  switch (kind) {
    case TomlNode::Kind::kBool:
      return "true or false";
    case TomlNode::Kind::kInteger:
      return "an integer";
    case TomlNode::Kind::kFloat:
      return "a number";
    case TomlNode::Kind::kString:
      return "text";
    case TomlNode::Kind::kDate:
      return "a date";
    case TomlNode::Kind::kArray:
      return "an array";
    case TomlNode::Kind::kTable:
      return "a table";
  }
  return "?";
}

template <class T>
std::string Streamed(const T& value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

// `depth` is how many levels may still follow.
TomlNode Convert(const toml::node& node, std::string key, int depth, bool* too_deep) {
  TomlNode out;
  out.key = std::move(key);
  out.line = static_cast<int64_t>(node.source().begin.line);
  if (depth == 0) {
    *too_deep = true;
    return out;
  }
  if (const auto* table = node.as_table()) {
    out.kind = TomlNode::Kind::kTable;
    for (const auto& [name, member] : *table) {
      out.items.push_back(Convert(member, std::string(name.str()), depth - 1, too_deep));
      // An implicit or dotted table has no line of its own; its key has.
      if (out.items.back().line == 0 || member.is_table()) {
        if (const auto line = static_cast<int64_t>(name.source().begin.line); line > 0) out.items.back().line = line;
      }
    }
    // The library sorts by key; a report that follows the file reads better.
    std::sort(out.items.begin(), out.items.end(),
              [](const TomlNode& a, const TomlNode& b) { return a.line != b.line ? a.line < b.line : a.key < b.key; });
  } else if (const auto* array = node.as_array()) {
    out.kind = TomlNode::Kind::kArray;
    for (const auto& item : *array) out.items.push_back(Convert(item, "", depth - 1, too_deep));
  } else if (const auto* text = node.as_string()) {
    out.kind = TomlNode::Kind::kString;
    out.text = text->get();
  } else if (const auto* integer = node.as_integer()) {
    out.kind = TomlNode::Kind::kInteger;
    out.integer = integer->get();
    out.number = static_cast<double>(out.integer);
  } else if (const auto* number = node.as_floating_point()) {
    out.kind = TomlNode::Kind::kFloat;
    out.number = number->get() + 0.0;  // -0.0 becomes 0: a sign of nothing would be printed
  } else if (const auto* boolean = node.as_boolean()) {
    out.kind = TomlNode::Kind::kBool;
    out.boolean = boolean->get();
  } else {
    out.kind = TomlNode::Kind::kDate;
    if (const auto* date = node.as_date()) out.text = Streamed(date->get());
    if (const auto* time = node.as_time()) out.text = Streamed(time->get());
    if (const auto* both = node.as_date_time()) out.text = Streamed(both->get());
  }
  return out;
}

// Dotted keys and headers nest without brackets ("a.a.a.a = 1"), past the library's own limit on brackets, and its tree
// is destroyed by recursion. So dots are counted first, outside strings and comments; with 256 brackets the tree stays
// below some thousand levels.
class DotScan {
 public:
  explicit DotScan(std::string_view text) : text_(text) {}

  // The first line with more dots in one key than any key of ours has, or 0.
  int64_t LineOfExcess() {
    constexpr int kMostDots = 16;
    int dots = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"' || c == '\'') {
        SkipString(c);
        continue;
      }
      if (c == '#') at_ = std::min(text_.find('\n', at_), text_.size());
      if (c == '.' && ++dots > kMostDots) return line_;
      if (c == ',' || c == '=' || c == '{' || c == '}' || c == '[' || c == ']' || c == '\n') dots = 0;
      if (c == '\n') ++line_;
      if (c != '#') ++at_;
    }
    return 0;
  }

 private:
  // Moves behind the string that starts here. A string on one line ends with the line at the latest: the parser refuses
  // it then.
  void SkipString(char quote) {
    const std::string triple(3, quote);
    const bool multi_line = text_.substr(at_, 3) == triple;
    at_ += multi_line ? 3 : 1;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\n') {
        if (!multi_line) return;
        ++line_;
      }
      if (c == '\\' && quote == '"') {
        at_ += at_ + 1 < text_.size() && text_[at_ + 1] == '\n' ? 1 : 2;
        continue;
      }
      if (!multi_line && c == quote) {
        ++at_;
        return;
      }
      if (multi_line && text_.substr(at_, 3) == triple) {
        at_ += 3;
        for (int extra = 0; extra < 2 && at_ < text_.size() && text_[at_] == quote; ++extra)
          ++at_;  // """a""""" ends in two quotes
        return;
      }
      ++at_;
    }
  }

  std::string_view text_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

const TomlNode* TomlNode::Find(std::string_view member) const {
  if (kind != Kind::kTable) return nullptr;
  for (const TomlNode& item : items) {
    if (item.key == member) return &item;
  }
  return nullptr;
}

Result<TomlNode> ParseToml(std::string_view text, std::string_view path) {
  if (text.size() > kLargestFileBytes)
    return BadInput(fmt::format("{}: larger than 16 MB; is it the right file?", path));
  if (const auto offset = FindInvalidUtf8(text)) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(*offset), '\n');
    return BadInput(fmt::format("{}: not UTF-8 text; save the file as UTF-8", At(path, line)));
  }
  if (const int64_t line = DotScan(text).LineOfExcess(); line > 0) {
    return BadInput(
        fmt::format("{}: a key of more than 16 parts; no file Assay reads nests so deeply", At(path, line)));
  }
  try {
    const toml::table root = toml::parse(text, path);
    bool too_deep = false;
    TomlNode node = Convert(root, "", kDeepest, &too_deep);
    if (too_deep) return BadInput(fmt::format("{}: nested deeper than {} levels", path, kDeepest));
    return node;
  } catch (const toml::parse_error& error) {
    return BadInput(fmt::format("{}: not valid TOML: {}", At(path, static_cast<int64_t>(error.source().begin.line)),
                                error.description()));
  } catch (const std::exception& error) {
    return BadInput(fmt::format("{}: not valid TOML: {}", path, Printable(error.what())));
  }
}

void TomlErrors::Add(int64_t line, std::string_view message) {
  messages_.push_back(fmt::format("{}: {}", At(path_, std::max<int64_t>(line, 1)), message));
}

Status TomlErrors::ToStatus() const {
  if (messages_.empty()) return Ok();
  constexpr size_t kMostShown = 10;
  std::string text;
  for (size_t i = 0; i < std::min(messages_.size(), kMostShown); ++i) text += (i > 0 ? "\n" : "") + messages_[i];
  if (messages_.size() > kMostShown) text += fmt::format("\n{}: and {} more", path_, messages_.size() - kMostShown);
  return BadInput(text);
}

TomlReader::TomlReader(const TomlNode& table, std::string name, TomlErrors* errors)
    : table_(&table), name_(std::move(name)), errors_(errors) {}

void TomlReader::Fail(std::string_view key, std::string_view message) {
  const TomlNode* node = table_->Find(key);
  errors_->Add(node ? node->line : table_->line,
               fmt::format("{}{}{} {}", name_, name_.empty() ? "" : ".", key, message));
}

const TomlNode* TomlReader::Take(std::string_view key) {
  asked_.emplace_back(key);
  return table_->Find(key);
}

void TomlReader::Require(std::string_view key, std::string_view remedy) {
  if (!Has(key)) Fail(key, fmt::format("is missing; add, for example, {}", remedy));
}

const TomlNode* TomlReader::Typed(std::string_view key, TomlNode::Kind kind, std::string_view expected) {
  const TomlNode* node = Take(key);
  if (node == nullptr) return nullptr;
  const bool fits = node->kind == kind || (kind == TomlNode::Kind::kFloat && node->kind == TomlNode::Kind::kInteger);
  if (!fits) {
    Fail(key, fmt::format("is {}; it must be {}", NameOf(node->kind), expected));
    return nullptr;
  }
  return node;
}

std::optional<std::string> TomlReader::String(std::string_view key) {
  const TomlNode* node = Typed(key, TomlNode::Kind::kString, "text in quotes");
  if (node == nullptr) return std::nullopt;
  return node->text;
}

std::string TomlReader::Text(std::string_view key, std::string_view remedy) {
  Require(key, remedy);
  std::optional<std::string> text = String(key);
  if (text && text->empty()) Fail(key, fmt::format("{} is empty; {}", key, remedy));
  return text.value_or("");
}

std::optional<bool> TomlReader::Bool(std::string_view key) {
  const TomlNode* node = Typed(key, TomlNode::Kind::kBool, "true or false");
  if (node == nullptr) return std::nullopt;
  return node->boolean;
}

namespace {
std::string Describe(TomlBounds bounds) {
  const bool has_low = bounds.low > -std::numeric_limits<double>::max();
  const bool has_high = bounds.high < std::numeric_limits<double>::max();
  std::string text = "a finite number";
  if (has_low && has_high)
    text = fmt::format("between {:g} and {:g}", bounds.low, bounds.high);
  else if (has_low)
    text = fmt::format("at least {:g}", bounds.low);
  else if (has_high)
    text = fmt::format("at most {:g}", bounds.high);
  return bounds.unit.empty() ? text : fmt::format("{} ({})", text, bounds.unit);
}
bool Within(double value, TomlBounds bounds) {
  return std::isfinite(value) && value >= bounds.low && value <= bounds.high;
}
}  // namespace

std::optional<double> TomlReader::Number(std::string_view key, TomlBounds bounds) {
  const TomlNode* node = Typed(key, TomlNode::Kind::kFloat, "a number");
  if (node == nullptr) return std::nullopt;
  if (!Within(node->number, bounds)) {
    Fail(key, fmt::format("is {}; it must be {}", node->number, Describe(bounds)));
    return std::nullopt;
  }
  return node->number;
}

std::optional<int64_t> TomlReader::Integer(std::string_view key, TomlBounds bounds) {
  const TomlNode* node = Typed(key, TomlNode::Kind::kInteger, "an integer");
  if (node == nullptr) return std::nullopt;
  if (!Within(node->number, bounds)) {
    Fail(key, fmt::format("is {}; it must be {}", node->integer, Describe(bounds)));
    return std::nullopt;
  }
  return node->integer;
}

std::optional<Interval> TomlReader::Range(std::string_view key, TomlBounds bounds) {
  const TomlNode* node = Take(key);
  if (node == nullptr) return std::nullopt;
  const auto is_number = [](const TomlNode& n) {
    return n.kind == TomlNode::Kind::kInteger || n.kind == TomlNode::Kind::kFloat;
  };
  if (!is_number(*node) && (node->kind != TomlNode::Kind::kArray || node->items.size() != 2 ||
                            !is_number(node->items[0]) || !is_number(node->items[1]))) {
    Fail(key, "must be a range [low, high] or one number");
    return std::nullopt;
  }
  const Interval range = node->items.empty() ? Interval{node->number, node->number}
                                             : Interval{node->items[0].number, node->items[1].number};
  if (!Within(range.low, bounds) || !Within(range.high, bounds)) {
    Fail(key, fmt::format("is [{}, {}]; both ends must be {}", range.low, range.high, Describe(bounds)));
    return std::nullopt;
  }
  if (range.low > range.high) {
    Fail(key, fmt::format("is [{}, {}]; the low end comes first", range.low, range.high));
    return std::nullopt;
  }
  return range;
}

std::optional<size_t> TomlReader::Choice(std::string_view key, std::span<const std::string_view> names) {
  const auto text = String(key);
  if (!text) return std::nullopt;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == *text) return i;
  }
  Fail(key, fmt::format("is '{}'{}", Printable(*text), DidYouMean(*text, names)));
  return std::nullopt;
}

std::vector<std::string> TomlReader::Strings(std::string_view key) {
  std::vector<std::string> out;
  const TomlNode* node = Typed(key, TomlNode::Kind::kArray, "an array of texts");
  if (node == nullptr) return out;
  for (const TomlNode& item : node->items) {
    if (item.kind != TomlNode::Kind::kString) {
      Fail(key, "must be an array of texts");
      return {};
    }
    out.push_back(item.text);
  }
  return out;
}

std::vector<double> TomlReader::Numbers(std::string_view key, TomlBounds bounds) {
  std::vector<double> out;
  const TomlNode* node = Typed(key, TomlNode::Kind::kArray, "an array of numbers");
  if (node == nullptr) return out;
  for (const TomlNode& item : node->items) {
    const bool is_number = item.kind == TomlNode::Kind::kInteger || item.kind == TomlNode::Kind::kFloat;
    if (!is_number || !Within(item.number, bounds)) {
      Fail(key, fmt::format("must be an array of numbers, each {}", Describe(bounds)));
      return {};
    }
    out.push_back(item.number);
  }
  return out;
}

std::optional<TomlReader> TomlReader::Table(std::string_view key) {
  const TomlNode* node =
      Typed(key, TomlNode::Kind::kTable, fmt::format("a table: [{}{}{}]", name_, name_.empty() ? "" : ".", key));
  if (node == nullptr) return std::nullopt;
  return TomlReader(*node, name_.empty() ? std::string(key) : fmt::format("{}.{}", name_, key), errors_);
}

std::vector<TomlReader> TomlReader::Tables(std::string_view key) {
  std::vector<TomlReader> out;
  const TomlNode* node = Typed(key, TomlNode::Kind::kArray,
                               fmt::format("an array of tables: [[{}{}{}]]", name_, name_.empty() ? "" : ".", key));
  if (node == nullptr) return out;
  for (size_t i = 0; i < node->items.size(); ++i) {
    if (node->items[i].kind != TomlNode::Kind::kTable) {
      Fail(key, "must be an array of tables");
      return {};
    }
    out.emplace_back(node->items[i], fmt::format("{}{}{}[{}]", name_, name_.empty() ? "" : ".", key, i), errors_);
  }
  return out;
}

void TomlReader::Close() {
  std::vector<std::string_view> known(asked_.begin(), asked_.end());
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  for (const TomlNode& item : table_->items) {
    if (std::binary_search(known.begin(), known.end(), std::string_view(item.key))) continue;
    errors_->Add(item.line, fmt::format("{}unknown key '{}'{}", name_.empty() ? "" : name_ + ": ", Printable(item.key),
                                        DidYouMean(item.key, known)));
  }
}

}  // namespace assay::formats
