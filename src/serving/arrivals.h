// Where requests come from when there is no trace, or when a trace is to be played faster: arrival processes and the closed-loop client.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

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
std::vector<Request> Generate(const SyntheticTraffic& traffic, uint64_t seed);

// The same requests, arriving `rate_scale` times as fast.
std::vector<Request> Rescale(std::span<const Request> requests, double rate_scale);

// The benchmark client behind most published points: `concurrency` clients, lengths uniform in [0.8 L, L], end-of-text ignored, about 10 c
// requests, all clients starting at once. (Its 2 c warm-up requests run and drain before that: they warm caches and leave no queue.)
struct ClosedLoopBenchmark {
  int concurrency = 1;
  int32_t prompt_tokens = 1024;
  int32_t output_tokens = 128;
  double length_floor = 0.8;
};
std::vector<Request> Generate(const ClosedLoopBenchmark& benchmark, uint64_t seed);

}  // namespace assay::serving
