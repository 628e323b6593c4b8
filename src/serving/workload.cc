// Traffic: see workload.h.
#include "serving/workload.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/random.h"

namespace assay::serving {

Result<Workload> FromTrace(const formats::Trace& trace, double rate_scale) {
  if (!(rate_scale > 0)) return BadInput("the rate scale must be above 0");
  if (trace.requests.size() > static_cast<size_t>(formats::kMostSimulatedRequests)) {
    return BadInput(fmt::format("{}: {} requests; at most {} are simulated at once: cut the trace to the hours that matter (`head -n {}`)", trace.path,
                                trace.requests.size(), formats::kMostSimulatedRequests, formats::kMostSimulatedRequests + 1));
  }
  constexpr int64_t kMost = 1 << 30;
  Workload out;
  out.requests.reserve(trace.requests.size());
  for (const formats::Request& r : trace.requests) {
    if (r.prompt_tokens < 1 || r.output_tokens < 1) {
      ++out.dropped;
      continue;
    }
    out.requests.push_back({.arrival_ms = 1e3 * r.arrival_s / rate_scale, .prompt_tokens = static_cast<int32_t>(std::min(r.prompt_tokens, kMost)),
                            .output_tokens = static_cast<int32_t>(std::min(r.output_tokens, kMost))});
  }
  if (out.requests.empty()) return BadInput(fmt::format("{}: no request has both a prompt and an answer", trace.path));
  return out;
}

Result<Workload> FromUseCase(const formats::Workload& w, int64_t requests, uint64_t seed) {
  if (w.trace_path) {
    ASSAY_TRY(const formats::Trace trace, formats::ReadTrace(*w.trace_path));
    return FromTrace(trace, w.rate_scale);
  }
  if (w.prompt_tokens.empty() || w.output_tokens.empty()) return BadInput("the workload has neither a trace nor prompt_tokens and output_tokens");
  const formats::LengthSampler prompt_lengths(w.prompt_tokens);
  const formats::LengthSampler output_lengths(w.output_tokens);
  Rng gaps(DeriveSeed(seed, "arrivals"));
  Rng prompts(DeriveSeed(seed, "prompt_tokens"));
  Rng outputs(DeriveSeed(seed, "output_tokens"));
  const bool batch = w.arrivals == formats::Arrivals::kBatch;
  if (!batch && !w.requests_per_second) return BadInput("the workload has no requests_per_second");
  const double mean_gap_ms = batch ? 0 : 1e3 / (*w.requests_per_second * w.rate_scale);
  Workload out;
  const int64_t count = w.requests.value_or(requests);
  if (count < 1 || count > formats::kMostSimulatedRequests) {
    return BadInput(fmt::format("{} requests to draw; 1 to {} are possible: none is no sample, and thousands settle a percentile", count,
                                formats::kMostSimulatedRequests));
  }
  double now_ms = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!batch) now_ms += gaps.Exponential(mean_gap_ms);
    out.requests.push_back({.arrival_ms = now_ms, .prompt_tokens = static_cast<int32_t>(prompt_lengths.At(prompts.Uniform())),
                            .output_tokens = static_cast<int32_t>(output_lengths.At(outputs.Uniform()))});
  }
  return out;
}

}  // namespace assay::serving
