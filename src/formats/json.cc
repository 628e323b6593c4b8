#include "formats/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "formats/text.h"

namespace assay::formats {
namespace {

constexpr int kDeepest = 64;

// The line on which the nesting first exceeds kDeepest, or 0. A scan before parsing, because a tree of a million levels
// is built before any library limit could stop it.
int64_t LineOfExcessDepth(std::string_view text) {
  int depth = 0;
  int64_t line = 1;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if ((c == '[' || c == '{') && ++depth > kDeepest) return line;
    if (c == ']' || c == '}') --depth;
  }
  return 0;
}

}  // namespace

std::optional<RepeatedKey> FindRepeatedKey(std::string_view text) {
  // One entry a level: the keys of an object, nothing of an array. Strings are compared as written; JSON writers do not
  // escape letters that need none.
  std::vector<std::optional<std::vector<std::string_view>>> levels;
  int64_t line = 1;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (c == '{') levels.emplace_back(std::in_place);
    if (c == '[') levels.emplace_back(std::nullopt);
    if ((c == '}' || c == ']') && !levels.empty()) levels.pop_back();
    if (c != '"') continue;
    const size_t begin = ++i;
    while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
    if (i >= text.size()) return std::nullopt;  // cut short: the parser says so
    const size_t next = text.find_first_not_of(" \t\r\n", i + 1);
    if (next == std::string_view::npos || text[next] != ':' || levels.empty() || !levels.back()) continue;
    const std::string_view key = text.substr(begin, i - begin);
    std::vector<std::string_view>& keys = *levels.back();
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) return RepeatedKey{line, std::string(key)};
    // An object of thousands of keys is a table of something (a vocabulary); comparing all its pairs would take minutes.
    constexpr size_t kMostCompared = 1000;
    if (keys.size() < kMostCompared) keys.push_back(key);
  }
  return std::nullopt;
}

Result<nlohmann::json> ParseJson(std::string_view text, std::string_view where) {
  if (const int64_t line = LineOfExcessDepth(text); line > 0) {
    return BadInput(
        fmt::format("{}: JSON nested deeper than {} levels; no file Assay reads is", At(where, line), kDeepest));
  }
  if (const auto repeated = FindRepeatedKey(text)) {
    return BadInput(fmt::format("{}: key '{}' is there twice in one object; remove one", At(where, repeated->line),
                                Printable(repeated->key)));
  }
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    const size_t offset = std::min(error.byte, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n');
    return BadInput(fmt::format("{}: not valid JSON near byte {}; is the file complete?", At(where, line), error.byte));
  } catch (const nlohmann::json::exception& error) {  // a number beyond a double, for one
    return BadInput(fmt::format("{}: {}; correct the file", where, Printable(error.what())));
  }
}

}  // namespace assay::formats
