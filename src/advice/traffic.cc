#include "advice/traffic.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/random.h"
#include "formats/trace.h"
#include "stats/descriptive.h"

namespace assay {
namespace {

constexpr int64_t kDrawnRequests = 4000;
constexpr int64_t kMostTokens = 2'000'000;  // of one request; more is a mistake in a factor

int32_t Scaled(int64_t tokens, double factor) {
  const double scaled = std::round(static_cast<double>(tokens) * factor);
  return static_cast<int32_t>(std::clamp(scaled, 1.0, static_cast<double>(kMostTokens)));
}

Result<Traffic> FromTrace(const formats::UseCase& usecase, const Scenario& scenario) {
  ASSAY_TRY(const formats::Trace trace, formats::ReadTrace(*usecase.workload.trace_path));
  if (trace.requests.size() < 2) return BadInput(fmt::format("{}: a trace needs at least two requests", *usecase.workload.trace_path));
  const double span_s = trace.requests.back().arrival_s - trace.requests.front().arrival_s;
  if (!(span_s > 0)) return BadInput(fmt::format("{}: all requests arrive at once; use arrivals = \"batch\"", *usecase.workload.trace_path));
  const double rate = static_cast<double>(trace.requests.size() - 1) / span_s;
  Traffic traffic;
  traffic.requests_per_second = rate * usecase.workload.rate_scale * scenario.rate_factor;
  for (const formats::Request& request : trace.requests) {
    traffic.unit_rate.push_back({.arrival_ms = (request.arrival_s - trace.requests.front().arrival_s) * rate * 1000,
                                 .prompt_tokens = Scaled(request.prompt_tokens, scenario.prompt_length_factor),
                                 .output_tokens = Scaled(request.output_tokens, scenario.output_length_factor)});
  }
  traffic.origin = fmt::format("{} requests of {}", trace.requests.size(), *usecase.workload.trace_path);
  return traffic;
}

Traffic FromDistributions(const formats::UseCase& usecase, const Scenario& scenario, uint64_t seed) {
  const formats::Workload& workload = usecase.workload;
  const bool batch = workload.arrivals == formats::Arrivals::kBatch;
  const int64_t count = workload.requests.value_or(kDrawnRequests);
  Traffic traffic;
  traffic.requests_per_second = batch ? 0 : workload.requests_per_second.value_or(1) * workload.rate_scale * scenario.rate_factor;
  Rng arrivals(DeriveSeed(seed, "traffic/arrivals")), prompts(DeriveSeed(seed, "traffic/prompts")), outputs(DeriveSeed(seed, "traffic/outputs"));
  double now_ms = 0;
  for (int64_t i = 0; i < count; ++i) {
    traffic.unit_rate.push_back({.arrival_ms = batch ? 0 : now_ms,
                                 .prompt_tokens = Scaled(workload.prompt_tokens.Quantile(prompts.Uniform()), scenario.prompt_length_factor),
                                 .output_tokens = Scaled(workload.output_tokens.Quantile(outputs.Uniform()), scenario.output_length_factor)});
    now_ms += arrivals.Exponential(1000);
  }
  traffic.origin = fmt::format("{} requests drawn from the use case's distributions, {} arrivals", count, batch ? "batch" : "Poisson");
  return traffic;
}

}  // namespace

std::vector<serving::Request> Traffic::At(double rate_per_second, size_t limit) const {
  const size_t count = limit == 0 ? unit_rate.size() : std::min(limit, unit_rate.size());
  std::vector<serving::Request> requests(unit_rate.begin(), unit_rate.begin() + static_cast<std::ptrdiff_t>(count));
  for (serving::Request& request : requests) request.arrival_ms /= rate_per_second;
  return requests;
}

Result<Traffic> MakeTraffic(const formats::UseCase& usecase, const Scenario& scenario, uint64_t seed) {
  if (usecase.workload.trace_path) return FromTrace(usecase, scenario);
  return FromDistributions(usecase, scenario, seed);
}

TrafficShape ShapeOf(const Traffic& traffic) {
  std::vector<double> prompts, outputs, contexts, decode;
  double decode_sum = 0, decode_weight = 0;
  // Each request's decode contexts are spread evenly; one point for so many answered tokens weighs it by its length.
  constexpr int kTokensPerPoint = 16;
  for (const serving::Request& request : traffic.unit_rate) {
    const double prompt = request.prompt_tokens, output = request.output_tokens;
    prompts.push_back(prompt);
    outputs.push_back(output);
    contexts.push_back(prompt + output);
    decode_sum += output * (prompt + output / 2);
    decode_weight += output;
    const int points = std::max(1, request.output_tokens / kTokensPerPoint);
    for (int i = 0; i < points; ++i) decode.push_back(prompt + output * (i + 0.5) / points);
  }
  TrafficShape shape;
  for (std::vector<double>* sorted : {&prompts, &outputs, &contexts, &decode}) std::sort(sorted->begin(), sorted->end());
  const auto at = [](const std::vector<double>& sorted, double p) { return stats::QuantileSorted(sorted, p); };
  const auto mean = [](const std::vector<double>& values) { return stats::Accumulate(values).mean(); };
  shape.prompt_p50 = at(prompts, 0.5), shape.prompt_p95 = at(prompts, 0.95), shape.prompt_p99 = at(prompts, 0.99), shape.prompt_mean = mean(prompts);
  shape.output_p50 = at(outputs, 0.5), shape.output_p95 = at(outputs, 0.95), shape.output_mean = mean(outputs);
  shape.context_p50 = at(contexts, 0.5), shape.context_p95 = at(contexts, 0.95), shape.context_p99 = at(contexts, 0.99);
  shape.decode_context_p50 = at(decode, 0.5), shape.decode_context_p95 = at(decode, 0.95);
  shape.decode_context_mean = decode_weight > 0 ? decode_sum / decode_weight : 0;
  return shape;
}

}  // namespace assay
