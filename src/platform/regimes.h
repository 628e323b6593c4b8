// Regimes: boxes of the coordinates in which a model's errors are alike, found by splitting greedily where the scale of the errors
// differs, and the conformal interval of each.
#pragma once

#include <span>
#include <vector>

#include "platform/profile.h"

namespace assay::platform {

struct RegimeRow {
  KernelQuery query;
  double ratio = 1;  // measured / predicted, on a row that was not fitted on
};

std::vector<Regime> FindRegimes(std::span<const RegimeRow> rows, std::span<const Feature> features);

// Quantiles of their own beside those of stats/: the errors and intervals in the shipped profiles were fitted with these, and must follow
// from the tables again. Conformal: the value of rank ceil((n + 1) q) counted from the smallest (from the largest for q < 1/2); of few
// values the extreme, where stats::ConformalQuantile promises nothing.
double ConformalQuantile(std::vector<double> values, double q);
// The value at the nearest rank: an error that occurred. 0 without values.
double Percentile(std::vector<double> values, double q);

}  // namespace assay::platform
