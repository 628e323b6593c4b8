#include "stats/paired.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "stats/bootstrap.h"
#include "stats/descriptive.h"
#include "stats/distributions.h"

namespace assay::stats {
namespace {

// P(rank sum of the positive <= sum) under random signs, by counting all sign patterns. Ranks are doubled so that
// midranks are whole.
double ExactWilcoxonTail(std::span<const long> doubled_ranks, long doubled_sum) {
  const long total = std::accumulate(doubled_ranks.begin(), doubled_ranks.end(), 0L);
  std::vector<double> probability(static_cast<size_t>(total) + 1);
  probability[0] = 1;
  for (const long rank : doubled_ranks)
    for (long sum = total; sum >= 0; --sum) {
      const double without = probability[static_cast<size_t>(sum)];
      const double with = sum >= rank ? probability[static_cast<size_t>(sum - rank)] : 0;
      probability[static_cast<size_t>(sum)] = 0.5 * (without + with);
    }
  double tail = 0;
  for (long sum = 0; sum <= doubled_sum; ++sum) tail += probability[static_cast<size_t>(sum)];
  return tail;
}

Interval Exponential(Interval logs) {
  logs.estimate = std::exp(logs.estimate);
  logs.low = std::exp(logs.low);  // exp(-infinity) is 0: a ratio has no smaller bound
  logs.high = std::exp(logs.high);
  return logs;
}

}  // namespace

SignResult SignTest(std::span<const double> differences) {
  SignResult result;
  for (const double difference : differences) {
    if (difference > 0)
      ++result.positive;
    else if (difference < 0)
      ++result.negative;
    else
      ++result.zero;
  }
  const long n = result.positive + result.negative;
  if (n > 0) result.p_value = std::min(1.0, 2 * BinomialCdf(std::min(result.positive, result.negative), n, 0.5));
  return result;
}

WilcoxonResult WilcoxonSignedRank(std::span<const double> differences) {
  std::vector<double> used;
  for (const double difference : differences)
    if (difference != 0 && !std::isnan(difference)) used.push_back(difference);
  std::sort(used.begin(), used.end(), [](double a, double b) { return std::abs(a) < std::abs(b); });

  WilcoxonResult result{.used = static_cast<long>(used.size())};
  std::vector<long> doubled_ranks(used.size());
  long doubled_positive = 0;
  double tie_correction = 0;
  for (size_t begin = 0, end; begin < used.size(); begin = end) {
    end = begin;
    while (end < used.size() && std::abs(used[end]) == std::abs(used[begin])) ++end;
    const auto tied = static_cast<double>(end - begin);
    tie_correction += tied * (tied * tied - 1) / 48;
    for (size_t i = begin; i < end; ++i) {
      doubled_ranks[i] = static_cast<long>(begin + end + 1);  // twice the mean of begin+1 .. end
      if (used[i] > 0) doubled_positive += doubled_ranks[i];
    }
  }
  result.rank_sum_positive = 0.5 * static_cast<double>(doubled_positive);
  const auto n = static_cast<double>(used.size());
  const long doubled_total = static_cast<long>(used.size() * (used.size() + 1));
  const long smaller = std::min(doubled_positive, doubled_total - doubled_positive);
  if (used.size() <= 50) {
    result.p_value = used.empty() ? 1 : std::min(1.0, 2 * ExactWilcoxonTail(doubled_ranks, smaller));
  } else {
    const double deviation = std::sqrt(n * (n + 1) * (2 * n + 1) / 24 - tie_correction);
    const double z = (0.5 * static_cast<double>(smaller) - n * (n + 1) / 4 + 0.5) / deviation;  // 0.5: continuity
    result.p_value = std::min(1.0, 2 * NormalCdf(z));
  }
  return result;
}

Result<std::vector<double>> LogRatios(std::span<const double> numerator, std::span<const double> denominator) {
  if (numerator.size() != denominator.size())
    return BadInput(fmt::format("{} values cannot be paired with {}", numerator.size(), denominator.size()));
  std::vector<double> logs;
  logs.reserve(numerator.size());
  for (size_t i = 0; i < numerator.size(); ++i) {
    if (!(numerator[i] > 0 && denominator[i] > 0 && std::isfinite(numerator[i]) && std::isfinite(denominator[i])))
      return BadInput(
          fmt::format("pair {} is ({}, {}); a ratio needs positive finite values", i, numerator[i], denominator[i]));
    logs.push_back(std::log(numerator[i]) - std::log(denominator[i]));
  }
  return logs;
}

Result<PairedRatio> ComparePaired(std::span<const double> numerator, std::span<const double> denominator,
                                  const PairedRatioOptions& options) {
  ASSAY_TRY(const std::vector<double> logs, LogRatios(numerator, denominator));
  PairedRatio result;
  result.pairs = static_cast<int64_t>(logs.size());
  result.ratio = Exponential(BootstrapMean(logs, {.confidence = options.confidence,
                                                  .resamples = options.resamples,
                                                  .seed = options.seed,
                                                  .kind = BootstrapKind::kExpandedPercentile}));
  result.median_ratio = Exponential(QuantileInterval(logs, 0.5, options.confidence));
  result.log_deviation = Accumulate(logs).deviation();
  result.sign = SignTest(logs);
  result.wilcoxon = WilcoxonSignedRank(logs);
  return result;
}

}  // namespace assay::stats
