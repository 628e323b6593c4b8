// The clocks of a measurement.
#pragma once

#include <time.h>

#include <cstdint>

namespace assay::machine {

inline int64_t ReadClockNs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// Wall time; monotonic, read through the vDSO in about 25 ns.
inline int64_t NowNs() {
  return ReadClockNs(CLOCK_MONOTONIC);
}
// Processor time of the calling thread: less than wall time when something else ran in its place.
inline int64_t ThreadCpuNs() {
  return ReadClockNs(CLOCK_THREAD_CPUTIME_ID);
}

}  // namespace assay::machine
