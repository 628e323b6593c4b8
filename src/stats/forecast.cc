#include "stats/forecast.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/check.h"
#include "stats/descriptive.h"

namespace assay::stats {

double ConformalQuantile(std::span<const double> errors, double coverage) {
  const std::vector<double> sorted = SortedOrEmpty(errors);
  // The small term undoes rounding in (n + 1) * 0.9 and the like, which would ask for one rank too many.
  const double rank = std::ceil(static_cast<double>(sorted.size() + 1) * coverage - 1e-9);
  if (sorted.empty() || rank > static_cast<double>(sorted.size())) return std::numeric_limits<double>::infinity();
  return sorted[rank < 1 ? 0 : static_cast<size_t>(rank) - 1];
}

double BrierScore(std::span<const double> probabilities, std::span<const int> outcomes) {
  ASSAY_CHECK(probabilities.size() == outcomes.size(), "one outcome per forecast");
  Welford squares;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const double miss = probabilities[i] - (outcomes[i] != 0 ? 1.0 : 0.0);
    squares.Add(miss * miss);
  }
  return squares.mean();
}

double BrierSkill(std::span<const double> probabilities, std::span<const int> outcomes) {
  Welford rate;
  for (const int outcome : outcomes) rate.Add(outcome != 0 ? 1 : 0);
  const double of_rate = rate.mean() * (1 - rate.mean());
  if (!(of_rate > 0)) return std::numeric_limits<double>::quiet_NaN();
  return 1 - BrierScore(probabilities, outcomes) / of_rate;
}

}  // namespace assay::stats
