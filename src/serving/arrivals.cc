#include "serving/arrivals.h"

#include <algorithm>

#include "core/random.h"

namespace assay::serving {

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
