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

// The conformal quantile of n values: the one of rank ceil((n + 1) q) counted from the smallest (from the largest for q < 1/2).
double ConformalQuantile(std::vector<double> values, double q);
double Percentile(std::vector<double> values, double q);

}  // namespace assay::platform
