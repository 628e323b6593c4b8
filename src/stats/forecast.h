// Scoring what was predicted: conformal quantiles for the error of a model, Brier scores for probabilities.
#pragma once

#include <span>

namespace assay::stats {

// Split-conformal quantile of absolute (or relative) errors on held-out data: the next error is at most this with
// probability at least `coverage` if it is exchangeable with those (Vovk; Lei et al. 2018). Infinite when there are too
// few errors to promise that.
double ConformalQuantile(std::span<const double> errors, double coverage);

// Mean of (probability - outcome)^2, outcome 0 or 1 (Brier 1950): 0 is perfect, 0.25 is always saying one half. NaN
// when empty.
double BrierScore(std::span<const double> probabilities, std::span<const int> outcomes);
// 1 - score / score of always forecasting the outcomes' own rate: above 0 is skill. NaN when every outcome is the same.
double BrierSkill(std::span<const double> probabilities, std::span<const int> outcomes);

}  // namespace assay::stats
