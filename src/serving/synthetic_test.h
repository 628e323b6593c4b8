// Traffic of known statistics for the tests of this folder: log-normal lengths behind a chosen arrival process.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/random.h"
#include "serving/simulator.h"

namespace assay::serving {

enum class ArrivalProcess { kPoisson, kGammaBursts, kBatch };

struct Lengths {  // log-normal, cut to [1, max]
  double mean_log = 0;
  double sigma_log = 0;
  int32_t max_tokens = 1 << 20;
};

struct SyntheticTraffic {
  ArrivalProcess process = ArrivalProcess::kPoisson;
  double requests_per_s = 1;
  double burst_shape = 0.5;  // of the gamma gaps: below 1 is burstier than Poisson
  int64_t requests = 1000;
  Lengths prompt, output;
};

inline int32_t Draw(const Lengths& lengths, Rng* rng) {
  const double value = lengths.sigma_log > 0 ? rng->LogNormal(lengths.mean_log, lengths.sigma_log) : std::exp(lengths.mean_log);
  return static_cast<int32_t>(std::clamp(std::round(value), 1.0, static_cast<double>(lengths.max_tokens)));
}

inline std::vector<Request> Generate(const SyntheticTraffic& traffic, uint64_t seed) {
  Rng gaps(DeriveSeed(seed, "arrivals"));
  Rng prompts(DeriveSeed(seed, "prompt_tokens"));
  Rng outputs(DeriveSeed(seed, "output_tokens"));
  std::vector<Request> requests(static_cast<size_t>(std::max<int64_t>(traffic.requests, 0)));
  const double mean_gap_ms = 1e3 / traffic.requests_per_s;
  double now_ms = 0;
  for (Request& request : requests) {
    switch (traffic.process) {
      case ArrivalProcess::kPoisson: now_ms += gaps.Exponential(mean_gap_ms); break;
      case ArrivalProcess::kGammaBursts: now_ms += gaps.Gamma(traffic.burst_shape, mean_gap_ms / traffic.burst_shape); break;
      case ArrivalProcess::kBatch: break;
    }
    request = {.arrival_ms = now_ms, .prompt_tokens = Draw(traffic.prompt, &prompts), .output_tokens = Draw(traffic.output, &outputs)};
  }
  return requests;
}

}  // namespace assay::serving
