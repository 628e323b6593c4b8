// The client of published serving points: all its requests are there from the start.
#pragma once

#include <cstdint>
#include <vector>

#include "serving/simulator.h"

namespace assay::serving {

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
