// Percentiles and summaries.
#include "serving/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "stats/descriptive.h"

namespace assay::serving {
namespace {

PercentileEstimate At(const std::vector<double>& sorted, double q) {
  const double n = static_cast<double>(sorted.size());
  const auto pick = [&](double rank) { return sorted[static_cast<size_t>(std::clamp(rank, 0.0, n - 1))]; };
  // Ranks of a binomial's central 95 %.
  const double spread = 1.96 * std::sqrt(n * q * (1 - q));
  return {.value = stats::QuantileSorted(sorted, q), .low = pick(std::floor(n * q - spread)), .high = pick(std::ceil(n * q + spread) - 1)};
}

}  // namespace

Percentiles PercentilesOf(std::vector<double> values) {
  Percentiles result;
  result.count = static_cast<int64_t>(values.size());
  if (values.empty()) return result;
  std::sort(values.begin(), values.end());
  for (double value : values) result.mean += value / static_cast<double>(values.size());
  result.p50 = At(values, 0.50);
  result.p90 = At(values, 0.90);
  result.p95 = At(values, 0.95);
  result.p99 = At(values, 0.99);
  return result;
}

Backlog BacklogOf(const Outcome& outcome) {
  Backlog backlog;
  std::vector<double> arrivals, firsts;
  for (const RequestTimes& r : outcome.requests) {
    if (r.first_token_ms < 0) continue;
    arrivals.push_back(r.arrival_ms);
    firsts.push_back(r.first_token_ms);
  }
  if (arrivals.size() < 4 || outcome.stopped) return backlog;
  std::sort(arrivals.begin(), arrivals.end());
  std::sort(firsts.begin(), firsts.end());
  if (!(arrivals.back() > arrivals.front())) return backlog;  // a batch waits by design
  std::array<double, 4> quarter{};
  std::array<double, 4> count{};
  size_t started = 0;
  for (size_t i = 0; i < arrivals.size(); ++i) {
    while (started < firsts.size() && firsts[started] <= arrivals[i]) ++started;
    const size_t q = 4 * i / arrivals.size();
    quarter[q] += static_cast<double>(i) - static_cast<double>(started);
    count[q] += 1;
  }
  for (size_t q = 0; q < 4; ++q) quarter[q] /= count[q];
  backlog.first_quarter = quarter[0];
  backlog.last_quarter = quarter[3];
  // Between the middles of the outer quarters lie three quarters of the arrivals; at the edge of what a service carries their number less
  // what was served scatters by about the root of it.
  const double between = 0.75 * static_cast<double>(arrivals.size());
  const double noise = std::max(0.05 * between, 3 * std::sqrt(between));
  backlog.grows = quarter[0] < quarter[1] && quarter[1] < quarter[2] && quarter[2] < quarter[3] && quarter[3] - quarter[0] > noise;
  return backlog;
}

Summary Summarise(const Outcome& outcome) {
  Summary summary;
  std::vector<double> ttft, tpot, e2e;
  double tokens = 0;
  double first_ms = outcome.virtual_ms;
  double last_ms = 0;
  for (const RequestTimes& r : outcome.requests) {
    if (!r.served()) continue;
    ttft.push_back(r.ttft_ms());
    // One token has no time between tokens.
    if (r.output_tokens > 1) tpot.push_back(r.tpot_ms());
    e2e.push_back(r.e2e_ms());
    tokens += r.output_tokens;
    first_ms = std::min(first_ms, r.arrival_ms);
    last_ms = std::max(last_ms, r.end_ms);
  }
  summary.requests = static_cast<int64_t>(e2e.size());
  summary.refused = outcome.refused;
  summary.backlog = BacklogOf(outcome);
  const double seconds = std::max(last_ms - first_ms, 1e-9) / 1e3;
  summary.output_tokens_per_s = tokens / seconds;
  summary.requests_per_s = static_cast<double>(summary.requests) / seconds;
  summary.ttft_ms = PercentilesOf(std::move(ttft));
  summary.tpot_ms = PercentilesOf(std::move(tpot));
  summary.e2e_ms = PercentilesOf(std::move(e2e));
  return summary;
}

}  // namespace assay::serving
