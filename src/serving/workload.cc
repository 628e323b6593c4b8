// Traffic: see workload.h.
#include "serving/workload.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/random.h"

namespace assay::serving {
namespace {

constexpr double kMostTokens = 1e8;  // of a prompt or an answer, as in every reader

Result<int32_t> Scaled(int64_t tokens, double factor, std::string_view what) {
  const double scaled = std::max(1.0, std::round(static_cast<double>(tokens) * factor));
  if (scaled <= kMostTokens) return static_cast<int32_t>(scaled);
  return BadInput(fmt::format("{} of {} tokens times {:g} is more than {:.0f} tokens; use a smaller factor", what, tokens, factor, kMostTokens));
}

Result<Request> MakeRequest(double arrival_ms, int64_t prompt_tokens, int64_t output_tokens, const TrafficFactors& factors) {
  Request request{.arrival_ms = arrival_ms};
  ASSAY_TRY(request.prompt_tokens, Scaled(prompt_tokens, factors.prompt_tokens, "a prompt"));
  ASSAY_TRY(request.output_tokens, Scaled(output_tokens, factors.output_tokens, "an answer"));
  return request;
}

// Arrivals that do not come from a trace, one after another.
class Arrivals {
 public:
  Arrivals(const formats::Workload& w, double rate_factor, uint64_t seed)
      : gaps_(DeriveSeed(seed, "traffic/arrivals")), is_batch_(w.arrivals == formats::Arrivals::kBatch),
        rate_(w.requests_per_second.value_or(1) * w.rate_scale * rate_factor) {}
  double NextMs() {
    if (is_batch_) return 0;
    const double at_ms = now_ms_;
    now_ms_ += gaps_.Exponential(1000) / rate_;
    return at_ms;
  }

 private:
  Rng gaps_;
  bool is_batch_;
  double rate_;
  double now_ms_ = 0;
};

}  // namespace

Result<Workload> FromTrace(const formats::Trace& trace, const TrafficFactors& factors) {
  if (!(factors.rate > 0)) return BadInput("the rate scale must be above 0");
  if (trace.requests.size() > static_cast<size_t>(formats::kMostSimulatedRequests)) {
    return BadInput(fmt::format("{}: {} requests; at most {} are simulated at once: cut the trace to the hours that matter (`head -n {}`)", trace.path,
                                trace.requests.size(), formats::kMostSimulatedRequests, formats::kMostSimulatedRequests + 1));
  }
  Workload out;
  out.requests.reserve(trace.requests.size());
  for (const formats::Request& r : trace.requests) {
    if (r.prompt_tokens < 1 || r.output_tokens < 1) {
      ++out.dropped;
      continue;
    }
    auto request = MakeRequest(1e3 * r.arrival_s / factors.rate, r.prompt_tokens, r.output_tokens, factors);
    if (!request.ok()) return std::move(request).TakeError().In(trace.path);
    out.requests.push_back(*request);
  }
  if (out.requests.empty()) return BadInput(fmt::format("{}: no request has both a prompt and an answer", trace.path));
  if (out.dropped > 0) {
    out.notes.push_back(fmt::format("{} of {} requests of {} have no answer (0 tokens) and are left out, the work of their prompts with them", out.dropped,
                                    trace.requests.size(), trace.path));
  }
  return out;
}

Result<Workload> FromUseCase(const formats::Workload& w, int64_t requests, uint64_t seed, const TrafficFactors& factors) {
  const int64_t count = w.requests.value_or(requests);
  if (count < 1 || count > formats::kMostSimulatedRequests) {
    return BadInput(fmt::format("{} requests to draw; 1 to {} are possible: none is no sample, and thousands settle a percentile", count,
                                formats::kMostSimulatedRequests));
  }
  Arrivals arrivals(w, factors.rate, seed);
  if (w.trace_path) {
    ASSAY_TRY(const formats::Trace trace, formats::ReadTrace(*w.trace_path));
    TrafficFactors scaled = factors;
    scaled.rate *= w.rate_scale;
    ASSAY_TRY(Workload out, FromTrace(trace, scaled));
    out.notes.insert(out.notes.begin(), trace.warnings.begin(), trace.warnings.end());
    if (w.requests && static_cast<size_t>(*w.requests) < out.requests.size()) {
      out.notes.push_back(fmt::format("the first {} of {} requests of {} are played, as `requests` says", *w.requests, out.requests.size(), trace.path));
      out.requests.resize(static_cast<size_t>(*w.requests));
    }
    if (w.arrivals == formats::Arrivals::kTrace) return out;
    // Lengths from the trace, in its order; arrivals as the use case says.
    for (Request& request : out.requests) request.arrival_ms = arrivals.NextMs();
    return out;
  }
  if (w.prompt_tokens.empty() || w.output_tokens.empty()) return BadInput("the workload has neither a trace nor prompt_tokens and output_tokens");
  if (w.arrivals != formats::Arrivals::kBatch && !w.requests_per_second) return BadInput("the workload has no requests_per_second");
  const formats::LengthSampler prompt_lengths(w.prompt_tokens);
  const formats::LengthSampler output_lengths(w.output_tokens);
  Rng prompts(DeriveSeed(seed, "traffic/prompts"));
  Rng outputs(DeriveSeed(seed, "traffic/outputs"));
  Workload out;
  out.requests.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    ASSAY_TRY(const Request request, MakeRequest(arrivals.NextMs(), prompt_lengths.At(prompts.Uniform()), output_lengths.At(outputs.Uniform()), factors));
    out.requests.push_back(request);
  }
  return out;
}

void NoteFewRequests(Workload* workload) {
  const size_t count = workload->requests.size();
  if (count == 0 || count >= 100) return;
  workload->notes.push_back(fmt::format("{} request{}: a p95 of fewer than 20 and a p99 of fewer than 100 is their slowest one, and says little of the next", count,
                                        count == 1 ? "" : "s"));
}

void NoteBeyondContext(const formats::ModelSpec& model, Workload* workload) {
  if (!model.max_context_tokens) return;
  const int64_t most = *model.max_context_tokens;
  workload->beyond_context = std::count_if(workload->requests.begin(), workload->requests.end(),
                                           [&](const Request& r) { return int64_t{r.prompt_tokens} + r.output_tokens > most; });
  if (workload->beyond_context == 0) return;
  workload->notes.push_back(fmt::format("{} of {} requests are longer than the {} tokens of context that {} was made for; an engine refuses such requests, "
                                        "they are simulated as if the model were stretched", workload->beyond_context, workload->requests.size(), most,
                                        model.name));
}

}  // namespace assay::serving
