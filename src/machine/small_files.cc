#include "machine/small_files.h"

#include <charconv>
#include <fstream>

namespace assay::machine {
namespace {

constexpr std::string_view kBlank = " \t\r\n";

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

}  // namespace

std::string ReadSmallFile(const std::string& path) {
  constexpr std::streamsize kMostBytes = 1 << 20;
  std::ifstream file(path, std::ios::binary);
  if (!file) return {};
  std::string text(kMostBytes, '\0');
  file.read(text.data(), kMostBytes);
  text.resize(static_cast<size_t>(file.gcount()));
  return std::string(Trim(text));
}

std::optional<int64_t> ParseSize(std::string_view text) {
  text = Trim(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return std::nullopt;
  const std::string_view suffix = text.substr(static_cast<size_t>(end - text.data()));
  int shift = 0;
  if (suffix.starts_with('K')) shift = 10;
  if (suffix.starts_with('M')) shift = 20;
  if (suffix.starts_with('G')) shift = 30;
  if (value > (INT64_MAX >> shift)) return std::nullopt;
  return value << shift;
}

std::string ValueOf(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos && Trim(line.substr(0, colon)) == key)
      return std::string(Trim(line.substr(colon + 1)));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return {};
}

int CountCpuList(std::string_view text) {
  int count = 0;
  text = Trim(text);
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view range = text.substr(0, comma);
    const size_t dash = range.find('-');
    const auto first = ParseSize(range.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : ParseSize(range.substr(dash + 1));
    if (first && last && *last >= *first && *last - *first < (1 << 20)) count += static_cast<int>(*last - *first) + 1;
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return count;
}

}  // namespace assay::machine
