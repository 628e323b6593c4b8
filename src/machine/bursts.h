// Bursts: from when each worker ran what, the best rate of all of them together. Pure, because the decision which
// moment counts as "together" decides what a ceiling is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace assay::machine {

struct Burst {
  int64_t start_ns = 0;
  int64_t end_ns = 0;
  [[nodiscard]] int64_t duration() const { return end_ns - start_ns; }
};

// One per worker, each on cache lines of its own.
struct alignas(128) WorkerLog {
  std::vector<Burst> bursts;  // in order, not overlapping
  float sink = 0;             // keeps results of the loops alive
};

// Nanoseconds of the shortest burst of any worker, at least 1; the largest integer if there is none.
int64_t ShortestNs(std::span<const WorkerLog> logs);

// Bursts per second of all workers together, the best over the windows that single bursts span. A window counts only if
// every worker was running at least nine tenths of it; a burst of three times the shortest was interrupted and does not
// count as running. NaN if there is no such window: what workers did one after the other is no ceiling.
double BestRateTogether(std::span<const WorkerLog> logs);

}  // namespace assay::machine
