// Bootstrap intervals: for statistics that have no formula, and for times, which are never normal. Seeded, hence
// repeatable.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "stats/interval.h"

namespace assay::stats {

using Statistic = std::function<double(std::span<const double>)>;

enum class BootstrapKind {
  kPercentile,          // Efron (1979): narrow for small samples (covers about 92 % at n = 20 and nominal 95 %)
  kExpandedPercentile,  // Hesterberg (2015), section 6: percentiles widened to what Student's t would cover; for means
  kBca,  // Efron (1987): corrects median bias and skew; for skewed statistics and about 20 values or more
};

struct BootstrapOptions {
  double confidence = 0.95;
  int resamples = 2000;
  uint64_t seed = 0;
  BootstrapKind kind = BootstrapKind::kBca;
};

// Of any statistic of independent values. Unbounded below two values.
Interval Bootstrap(std::span<const double> values, const Statistic& statistic, const BootstrapOptions& options);

// Of the mean: the same, without the call per resample.
Interval BootstrapMean(std::span<const double> values, const BootstrapOptions& options);

}  // namespace assay::stats
