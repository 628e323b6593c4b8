// Traffic: the requests of a use case, from its trace or drawn from its distributions, with arrivals normalised to a mean rate of one
// request a second so that every rate replays the same requests (common random numbers: candidates and rates differ by design, not by luck).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/quantity.h"
#include "core/result.h"
#include "formats/usecase.h"
#include "serving/simulator.h"

namespace assay::serving {

// A change of conditions: what `--set name=value` and the search for flips vary.
struct Scenario {
  double rate_factor = 1;
  double prompt_length_factor = 1;
  double output_length_factor = 1;
  double price_factor = 1;
};

struct Traffic {
  std::vector<Request> unit_rate;  // arrival_ms at one request a second, ascending
  double requests_per_second = 0;           // of the use case, scale and factors included
  std::string origin;                       // "4,000 requests drawn from the file's distributions, Poisson arrivals"
  int64_t dropped = 0;                      // without prompt or answer: nothing to serve
  int64_t beyond_context = 0;               // longer than the model's context, served all the same
  double longest_tokens = 0;                // prompt and answer: of the trace, or where the file's distributions end
  std::vector<std::string> notes;           // what was left out or cannot be served as written

  // The same requests at `rate_per_second`; at most `limit` of them (0: all), taken from the start.
  [[nodiscard]] std::vector<Request> At(double rate_per_second, size_t limit = 0) const;
};

// For batch arrivals every request is there at time 0 and the rate is 0.
Result<Traffic> MakeTraffic(const formats::UseCase& usecase, const Scenario& scenario, uint64_t seed);

// Percentiles of lengths, and of the context under which a token is decoded (weighted by decoded tokens).
struct TrafficShape {
  double prompt_p50 = 0, prompt_p95 = 0, prompt_p99 = 0, prompt_mean = 0;
  double output_p50 = 0, output_p95 = 0, output_mean = 0;
  double context_p50 = 0, context_p95 = 0, context_p99 = 0;  // at a request's end
  double decode_context_p50 = 0, decode_context_p95 = 0, decode_context_mean = 0;
};
TrafficShape ShapeOf(const Traffic& traffic);

}  // namespace assay::serving
