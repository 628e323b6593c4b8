// Requests for the simulator from what users have: a trace file, or a use case's fitted traffic.
#pragma once

#include <vector>

#include "core/result.h"
#include "formats/trace.h"
#include "formats/usecase.h"
#include "serving/simulator.h"

namespace assay::serving {

struct Workload {
  std::vector<Request> requests;
  int64_t dropped = 0;  // without prompt or answer: nothing to serve
};
Result<Workload> FromTrace(const formats::Trace& trace, double rate_scale);
// The use case's trace, or its distributions at its rate; `requests` is how many to draw where the file does not say.
Result<Workload> FromUseCase(const formats::Workload& workload, int64_t requests, uint64_t seed);

}  // namespace assay::serving
