// Equivalence and non-inferiority: "no difference found" is not "equal". Equality here is a test against a margin
// stated beforehand.
#pragma once

#include <span>

#include "stats/interval.h"

namespace assay::stats {

enum class Equivalence {
  kEquivalent,  // the interval lies within the margin
  kDifferent,   // the interval lies outside the margin
  kCannotTell,  // it straddles a margin: more data would decide
};

struct EquivalenceResult {
  Equivalence outcome = Equivalence::kCannotTell;
  Interval interval;   // of the mean, at confidence 1 - 2 alpha: the one that the two one-sided tests amount to
  double p_value = 1;  // the larger of the two one-sided p-values (Schuirmann 1987)
};

// TOST on paired differences (log ratios, score differences): is |mean| < margin? margin > 0.
EquivalenceResult EquivalenceTest(std::span<const double> differences, double margin, double alpha = 0.05);

// Non-inferiority: is the mean of (candidate - baseline) above -margin, one-sided at alpha? Higher is better.
struct NonInferiorityResult {
  bool non_inferior = false;
  double low = 0;  // one-sided lower bound of the mean at confidence 1 - alpha
  double p_value = 1;
};
NonInferiorityResult NonInferiorityTest(std::span<const double> differences, double margin, double alpha = 0.05);

}  // namespace assay::stats
