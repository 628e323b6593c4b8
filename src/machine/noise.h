// The noise floor: the same fixed kernel against itself (A/A), interleaved exactly as subjects are. Whatever
// "difference" it shows is the machine's, and what it could not have shown is the smallest difference worth claiming
// here.
#pragma once

#include <cstdint>
#include <functional>

#include "core/result.h"
#include "machine/paired_runner.h"
#include "stats/paired.h"

namespace assay::machine {

struct NoiseFloor {
  stats::PairedRatio cache;   // A/A of a kernel that lives in L2
  stats::PairedRatio memory;  // A/A of a kernel that streams 32 MiB
  int rounds = 0;
  int flagged_rounds = 0;

  // Standard deviation of the log ratios of the worse kernel; NaN if either is unknown.
  [[nodiscard]] double log_deviation() const;
  // Smallest ratio above 1 that this many pairs detect (5 %, power 80 %) on the worse of the two kernels.
  [[nodiscard]] double DetectableRatio(long pairs) const;
  // Pairs needed for a ratio, on the worse of the two.
  [[nodiscard]] long PairsFor(double ratio) const;
};

struct NoiseOptions {
  int rounds = 40;
  double budget_s = 1;
  uint64_t seed = 0;
  std::function<bool()> stop = {};
};

Result<NoiseFloor> MeasureNoise(const NoiseOptions& options);

}  // namespace assay::machine
