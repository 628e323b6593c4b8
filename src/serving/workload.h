// Requests for the simulator from what users have: a trace file, or a use case's fitted traffic. Whatever is left out or cannot be served
// as written is counted and said in the notes; nothing is cut to fit.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "formats/trace.h"
#include "formats/usecase.h"
#include "serving/simulator.h"

namespace assay::serving {

struct Workload {
  std::vector<Request> requests;   // by ascending arrival
  int64_t dropped = 0;             // without prompt or answer: nothing to serve
  int64_t beyond_context = 0;      // longer than the model's context (NoteBeyondContext)
  std::vector<std::string> notes;  // what a reader must know of the requests
};

// Changes of the traffic: arrivals so many times as fast, lengths so many times as long.
struct TrafficFactors {
  double rate = 1;
  double prompt_tokens = 1;
  double output_tokens = 1;
};

Result<Workload> FromTrace(const formats::Trace& trace, const TrafficFactors& factors = {});

// The use case's trace, or its distributions at its rate and scale; `requests` is how many to draw where the file does not say;
// of a trace the file's `requests` plays the first so many.
Result<Workload> FromUseCase(const formats::Workload& workload, int64_t requests, uint64_t seed, const TrafficFactors& factors = {});

// Counts and notes the requests that do not fit the model's context. They are simulated all the same: a model may be stretched.
// Says so where there are too few requests for the percentiles that are reported.
void NoteFewRequests(Workload* workload);
void NoteBeyondContext(const formats::ModelSpec& model, Workload* workload);

}  // namespace assay::serving
