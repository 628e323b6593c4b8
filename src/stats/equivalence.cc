#include "stats/equivalence.h"

#include <algorithm>
#include <cmath>

#include "stats/descriptive.h"
#include "stats/distributions.h"

namespace assay::stats {
namespace {

// One-sided p-value of "mean <= bound" against "mean > bound".
double AbovePValue(const Welford& moments, double bound) {
  const auto n = static_cast<double>(moments.count());
  const double error = moments.deviation() / std::sqrt(n);
  if (std::isnan(error)) return 1;
  if (error == 0) return moments.mean() > bound ? 0 : 1;
  return StudentCdf(-(moments.mean() - bound) / error, n - 1);  // the tail directly: 1 - cdf would cancel
}

}  // namespace

EquivalenceResult EquivalenceTest(std::span<const double> differences, double margin, double alpha) {
  EquivalenceResult result;
  result.interval = StudentMean(differences, 1 - 2 * alpha);
  Welford moments;
  Welford mirrored;
  for (const double difference : differences) {
    moments.Add(difference);
    mirrored.Add(-difference);
  }
  result.p_value = std::max(AbovePValue(moments, -margin), AbovePValue(mirrored, -margin));
  if (result.interval.low > -margin && result.interval.high < margin) result.outcome = Equivalence::kEquivalent;
  if (result.interval.low > margin || result.interval.high < -margin) result.outcome = Equivalence::kDifferent;
  return result;
}

NonInferiorityResult NonInferiorityTest(std::span<const double> differences, double margin, double alpha) {
  const Welford moments = Accumulate(differences);
  NonInferiorityResult result;
  result.low = StudentMean(differences, 1 - 2 * alpha).low;
  result.p_value = AbovePValue(moments, -margin);
  result.non_inferior = result.low > -margin;
  return result;
}

}  // namespace assay::stats
