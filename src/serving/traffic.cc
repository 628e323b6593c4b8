// Requests at unit rate, and what their lengths look like.
#include "serving/traffic.h"

#include <fmt/format.h>

#include <algorithm>

#include "serving/workload.h"
#include "stats/descriptive.h"

namespace assay::serving {
namespace {

constexpr int64_t kDrawnRequests = 4000;  // where the use case does not say: a 95th percentile of 200 requests above it

}  // namespace

std::vector<Request> Traffic::At(double rate_per_second, size_t limit) const {
  const size_t count = limit == 0 ? unit_rate.size() : std::min(limit, unit_rate.size());
  std::vector<Request> requests(unit_rate.begin(), unit_rate.begin() + static_cast<std::ptrdiff_t>(count));
  for (Request& request : requests) request.arrival_ms /= rate_per_second;
  return requests;
}

Result<Traffic> MakeTraffic(const formats::UseCase& usecase, const Scenario& scenario, uint64_t seed) {
  const formats::Workload& workload = usecase.workload;
  const bool batch = workload.arrivals == formats::Arrivals::kBatch;
  ASSAY_TRY(Workload made, FromUseCase(workload, kDrawnRequests, seed, {.rate = scenario.rate_factor, .prompt_tokens = scenario.prompt_length_factor,
                                                                                          .output_tokens = scenario.output_length_factor}));
  NoteFewRequests(&made);
  NoteBeyondContext(usecase.model, &made);
  Traffic traffic;
  traffic.unit_rate = std::move(made.requests);
  traffic.notes = std::move(made.notes);
  traffic.dropped = made.dropped;
  traffic.beyond_context = made.beyond_context;
  const std::string source = workload.trace_path.value_or("");
  const double first_ms = traffic.unit_rate.front().arrival_ms;
  if (workload.arrivals == formats::Arrivals::kPoisson) {
    traffic.requests_per_second = workload.requests_per_second.value_or(1) * workload.rate_scale * scenario.rate_factor;
  } else if (!batch) {
    if (traffic.unit_rate.size() < 2) return BadInput(fmt::format("{}: a trace needs at least two requests", source));
    const double span_ms = traffic.unit_rate.back().arrival_ms - first_ms;
    if (!(span_ms > 0)) return BadInput(fmt::format("{}: all requests arrive at once; use arrivals = \"batch\"", source));
    traffic.requests_per_second = static_cast<double>(traffic.unit_rate.size() - 1) / (span_ms / 1000);
  }
  if (!batch) {
    for (Request& request : traffic.unit_rate) request.arrival_ms = (request.arrival_ms - first_ms) * traffic.requests_per_second;
  }
  // Draws seldom reach the end of a distribution; what the use case allows is known.
  if (workload.trace_path) {
    for (const Request& request : traffic.unit_rate) traffic.longest_tokens = std::max(traffic.longest_tokens, static_cast<double>(request.prompt_tokens) + request.output_tokens);
  } else {
    traffic.longest_tokens = static_cast<double>(workload.prompt_tokens.max_tokens) * scenario.prompt_length_factor +
                             static_cast<double>(workload.output_tokens.max_tokens) * scenario.output_length_factor;
  }
  const std::string_view arrivals = batch ? "batch" : workload.arrivals == formats::Arrivals::kPoisson ? "Poisson" : "its own";
  traffic.origin = workload.trace_path ? fmt::format("{} requests of {}, {} arrivals", traffic.unit_rate.size(), source, arrivals)
                                       : fmt::format("{} requests drawn from the use case's distributions, {} arrivals", traffic.unit_rate.size(), arrivals);
  return traffic;
}

TrafficShape ShapeOf(const Traffic& traffic) {
  std::vector<double> prompts, outputs, contexts, decode;
  double decode_sum = 0, decode_weight = 0;
  // Each request's decode contexts are spread evenly; one point for so many answered tokens weighs it by its length.
  constexpr int kTokensPerPoint = 16;
  for (const Request& request : traffic.unit_rate) {
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

}  // namespace assay::serving
