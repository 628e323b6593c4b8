// Growth exponents: the slope of log y over log x. Time against context says whether a mechanism really is linear here,
// error against length whether it grows like a random walk (0.5) or like a bias (1).
#pragma once

#include <span>

#include "core/result.h"
#include "stats/interval.h"

namespace assay::stats {

struct GrowthFit {
  Interval exponent;
  double log_intercept = 0;       // log y at x = 1
  double residual_deviation = 0;  // of log y: a large one says that no single exponent describes these data
};

// Least squares; at least 3 points, positive values, two distinct x. The interval is Student's with n - 2 degrees of
// freedom.
Result<GrowthFit> FitGrowth(std::span<const double> x, std::span<const double> y, double confidence = 0.95);

}  // namespace assay::stats
