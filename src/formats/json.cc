#include "formats/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

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

Result<nlohmann::json> ParseJson(std::string_view text, std::string_view where) {
  if (const int64_t line = LineOfExcessDepth(text); line > 0) {
    return BadInput(
        fmt::format("{}: JSON nested deeper than {} levels; no file Assay reads is", At(where, line), kDeepest));
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
