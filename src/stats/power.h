// Power: what a comparison of this size could have seen. Printed before a result, so that "no difference" can be read.
#pragma once

namespace assay::stats {

struct TestSize {
  double alpha = 0.05;  // two-sided
  double power = 0.80;
};

// Smallest ratio above 1 that a t test on `pairs` paired log ratios with standard deviation `log_deviation` detects
// with the given power; its inverse is detected as well. Infinite below two pairs.
double MinimumDetectableRatio(double log_deviation, long pairs, TestSize size = {});
// Pairs needed to detect `ratio` (either side of 1). 0 when ratio is 1: no number of pairs does.
long PairsNeeded(double log_deviation, double ratio, TestSize size = {});

// Two independent proportions, normal approximation (Fleiss, Levin and Paik, 4.14, without continuity correction).
long TrialsPerArmNeeded(double p1, double p2, TestSize size = {});
// Smallest drop below `p1` that `trials` per arm detect; NaN when not even a drop to 0 is detected.
double MinimumDetectableDrop(double p1, long trials, TestSize size = {});

}  // namespace assay::stats
