// The Azure trace: one line a request, times of day with fractions of a second.
#include "serving/trace_requests.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "formats/text.h"

namespace assay::serving {
namespace {

constexpr size_t kMaxTraceBytes = 4096 * formats::kMegabyte;

// Days of the civil calendar since 1970 (Hinnant's algorithm), so that a trace may cross midnight and months.
int64_t DaysFromCivil(int64_t year, int64_t month, int64_t day) {
  year -= month <= 2;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const int64_t year_of_era = year - era * 400;
  const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

// "2023-11-16 18:15:46.6805900" in milliseconds since 1970, or NaN.
double ParseTimestampMs(std::string_view text) {
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' || (text[10] != ' ' && text[10] != 'T') || text[13] != ':' || text[16] != ':') {
    return std::nan("");
  }
  std::array<int64_t, 5> parts{};
  const std::array<std::string_view, 5> pieces = {text.substr(0, 4), text.substr(5, 2), text.substr(8, 2), text.substr(11, 2), text.substr(14, 2)};
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto value = formats::ParseInt(pieces[i]);
    if (!value) return std::nan("");
    parts[i] = *value;
  }
  const auto seconds = formats::ParseDouble(text.substr(17));
  if (!seconds || !std::isfinite(*seconds) || *seconds < 0 || *seconds >= 61) return std::nan("");
  return 1e3 * (static_cast<double>(DaysFromCivil(parts[0], parts[1], parts[2]) * 86400 + parts[3] * 3600 + parts[4] * 60) + *seconds);
}

}  // namespace

Result<TraceRequests> ReadTraceRequests(const std::string& path) {
  ASSAY_TRY(const std::string text, formats::ReadFile(path, kMaxTraceBytes));
  formats::Lines lines(text);
  std::string_view line;
  if (!lines.Next(&line) || formats::Trim(line) != "TIMESTAMP,ContextTokens,GeneratedTokens") {
    return BadInput(fmt::format("{}:1: the header must be TIMESTAMP,ContextTokens,GeneratedTokens", path));
  }
  TraceRequests trace;
  double first_ms = 0;
  while (lines.Next(&line)) {
    if (formats::Trim(line).empty()) continue;
    const size_t comma = line.find(',');
    const size_t second = comma == std::string_view::npos ? comma : line.find(',', comma + 1);
    if (second == std::string_view::npos) return BadInput(fmt::format("{}: three fields are needed", formats::At(path, lines.number())));
    const double at_ms = ParseTimestampMs(formats::Trim(line.substr(0, comma)));
    const auto prompt = formats::ParseInt(line.substr(comma + 1, second - comma - 1));
    const auto output = formats::ParseInt(line.substr(second + 1));
    constexpr int64_t kMost = 100'000'000;
    if (!std::isfinite(at_ms) || !prompt || !output || *prompt < 0 || *output < 0 || *prompt > kMost || *output > kMost) {
      return BadInput(fmt::format("{}: a timestamp and two token counts from 0 to {} are needed", formats::At(path, lines.number()), kMost));
    }
    if (*prompt == 0 || *output == 0) {
      ++trace.dropped;
      continue;
    }
    if (trace.requests.empty()) first_ms = at_ms;
    trace.requests.push_back({.arrival_ms = at_ms - first_ms, .prompt_tokens = static_cast<int32_t>(*prompt), .output_tokens = static_cast<int32_t>(*output)});
  }
  if (trace.requests.empty()) return BadInput(fmt::format("{}: no request with prompt and output", path));
  std::stable_sort(trace.requests.begin(), trace.requests.end(), [](const Request& a, const Request& b) { return a.arrival_ms < b.arrival_ms; });
  const double start_ms = trace.requests.front().arrival_ms;
  for (Request& request : trace.requests) request.arrival_ms -= start_ms;
  return trace;
}

}  // namespace assay::serving
