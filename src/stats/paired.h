// Paired comparisons: the way two implementations are compared here, since what disturbs a machine disturbs both halves
// of a pair.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/result.h"
#include "stats/interval.h"

namespace assay::stats {

// Two-sided p-values of the hypothesis that differences are symmetric about zero. Zero differences carry no sign and
// are left out.
struct SignResult {
  long positive = 0, negative = 0, zero = 0;
  double p_value = 1;
};
SignResult SignTest(std::span<const double> differences);

struct WilcoxonResult {
  double rank_sum_positive = 0;  // midranks for ties
  long used = 0;                 // non-zero differences
  double p_value = 1;            // exact up to 50 differences, ties included; the normal approximation beyond
};
WilcoxonResult WilcoxonSignedRank(std::span<const double> differences);

// log(numerator / denominator) of each pair. Refuses lengths that differ and values that are not positive and finite.
Result<std::vector<double>> LogRatios(std::span<const double> numerator, std::span<const double> denominator);

struct PairedRatio {
  Interval ratio;            // geometric mean of numerator / denominator; bootstrap of the log ratios
  Interval median_ratio;     // robust beside it: order statistics, exact for any distribution
  double log_deviation = 0;  // standard deviation of the log ratios
  int64_t pairs = 0;
  SignResult sign;
  WilcoxonResult wilcoxon;
};
struct PairedRatioOptions {
  double confidence = 0.95;
  int resamples = 2000;
  uint64_t seed = 0;
};
Result<PairedRatio> ComparePaired(std::span<const double> numerator, std::span<const double> denominator,
                                  const PairedRatioOptions& options);

}  // namespace assay::stats
