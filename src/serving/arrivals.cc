// Generators of requests, each from its own seed stream.
#include "serving/arrivals.h"

#include <algorithm>
#include <cmath>

#include "core/random.h"

namespace assay::serving {
namespace {

int32_t Draw(const Lengths& lengths, Rng* rng) {
  const double value = lengths.sigma_log > 0 ? rng->LogNormal(lengths.mean_log, lengths.sigma_log) : std::exp(lengths.mean_log);
  return static_cast<int32_t>(std::clamp(std::round(value), 1.0, static_cast<double>(lengths.max_tokens)));
}

}  // namespace

std::vector<Request> Generate(const SyntheticTraffic& traffic, uint64_t seed) {
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

std::vector<Request> Rescale(std::span<const Request> requests, double rate_scale) {
  std::vector<Request> scaled(requests.begin(), requests.end());
  for (Request& request : scaled) request.arrival_ms /= rate_scale;
  return scaled;
}

std::vector<Request> Generate(const ClosedLoopBenchmark& b, uint64_t seed) {
  Rng rng(DeriveSeed(seed, "closed_loop"));
  const auto length = [&](int32_t most) {
    const int32_t least = std::max<int32_t>(1, static_cast<int32_t>(b.length_floor * most));
    return least + static_cast<int32_t>(rng.Below(static_cast<uint64_t>(most - least) + 1));
  };
  std::vector<Request> requests(10 * static_cast<size_t>(std::max(b.concurrency, 0)));
  for (Request& request : requests) {
    request = {.arrival_ms = 0, .prompt_tokens = length(b.prompt_tokens), .output_tokens = length(b.output_tokens)};
  }
  return requests;
}

}  // namespace assay::serving
