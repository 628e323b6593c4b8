#include "machine/bursts.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace assay::machine {
namespace {

double RateWithin(const Burst& window, std::span<const WorkerLog> logs, int64_t longest_ns) {
  const auto length = static_cast<double>(std::max<int64_t>(1, window.duration()));
  double bursts = 0;
  for (const WorkerLog& log : logs) {
    double covered = 0;
    for (const Burst& burst : log.bursts) {
      const int64_t overlap = std::min(window.end_ns, burst.end_ns) - std::max(window.start_ns, burst.start_ns);
      if (overlap <= 0 || burst.duration() > longest_ns) continue;
      covered += static_cast<double>(overlap);
      bursts += static_cast<double>(overlap) / static_cast<double>(burst.duration());
    }
    if (covered < 0.9 * length) return std::numeric_limits<double>::quiet_NaN();
  }
  return bursts / length * 1e9;
}

}  // namespace

int64_t ShortestNs(std::span<const WorkerLog> logs) {
  int64_t shortest = std::numeric_limits<int64_t>::max();
  for (const WorkerLog& log : logs)
    for (const Burst& burst : log.bursts) shortest = std::min(shortest, std::max<int64_t>(1, burst.duration()));
  return shortest;
}

double BestRateTogether(std::span<const WorkerLog> logs) {
  const int64_t shortest = ShortestNs(logs);
  const int64_t longest_ns = shortest > std::numeric_limits<int64_t>::max() / 3 ? shortest : 3 * shortest;
  double best = std::numeric_limits<double>::quiet_NaN();
  for (const WorkerLog& log : logs)
    for (const Burst& window : log.bursts) best = std::fmax(best, RateWithin(window, logs, longest_ns));
  return best;
}

}  // namespace assay::machine
