// Effects of two-level factors: what changes when one factor goes from low to high, averaged over the others, and which
// pairs interact.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/result.h"
#include "stats/interval.h"

namespace assay::stats {

struct Effect {
  int first = 0;
  int second = -1;  // -1: a main effect
  // Mean response at high minus at low (of the product of the two levels for an interaction). The interval comes from
  // replicates of the same cell alone; without replicates it is unbounded, since nothing then separates an effect from
  // noise.
  Interval size{};
};

// `levels`: rows * factors values, -1 or +1, row by row. Main effects first, then all pairs. Refuses designs in which
// an effect is confounded with the mean or with another main effect or pair (a fraction of too low a resolution, or a
// lost cell).
Result<std::vector<Effect>> TwoLevelEffects(std::span<const int8_t> levels, int factors,
                                            std::span<const double> responses, double confidence = 0.95);

}  // namespace assay::stats
