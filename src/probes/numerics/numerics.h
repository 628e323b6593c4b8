// The numerics probe: is a kernel right at the edges? Probes of the torture suite, chosen by what must be true of the mechanism (Traits),
// run against every kernel, backend and element type that serves it; and how its error grows with length.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "mechanisms/mechanism.h"
#include "probes/finding.h"
#include "stats/interval.h"
#include "store/measurement.h"

namespace assay {

struct NumericsOptions {
  std::vector<const Mechanism*> mechanisms{};  // empty: all that have a kernel
  bool quick = true;  // the fastest backend and the shorter lengths: seconds. Otherwise every backend and length
  uint64_t seed = 0;
  std::string command{}, machine{};  // copied into the measurements
  std::function<bool()> stop{};  // asked between probes
};

struct ErrorGrowth {
  std::string mechanism{}, kernel{};      // kernel as in ProbeReport
  std::vector<double> lengths{};        // keys
  std::vector<double> row_errors{};     // largest of several draws, relative to sum_j p_j |v_j|
  stats::Interval exponent{};           // of error against length; 0 is good, 0.5 a random walk, 1 drift
};

struct NumericsReport {
  std::vector<ProbeReport> kernels{};
  std::vector<ErrorGrowth> growth{};
  std::vector<Measurement> measurements{};  // probe_passed, row_error, error_vs_twin, bitwise_mismatch_count, error_growth_exponent; of no run yet
  bool stopped = false;
  [[nodiscard]] int finding_count() const;
};

NumericsReport RunNumerics(const NumericsOptions& options);

// Every probe against one kernel; a test plants defects with it, `assay torture` brings foreign kernels through it.
ProbeReport ProbeKernel(const Mechanism& mechanism, const Kernel& kernel, Backend backend, DType dtype, const NumericsOptions& options);

}  // namespace assay
