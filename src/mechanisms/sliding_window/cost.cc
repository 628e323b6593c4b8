// What sliding-window attention costs: as many keys a query as the window and the kept first tokens hold, and a cache that stops growing.
#include <algorithm>

#include "mechanisms/sliding_window/sliding_window.h"
#include "mechanisms/softmax_problem.h"

namespace assay::sliding_window {
namespace {

// Keys a query far from the start sees: window and first tokens do not overlap there.
int64_t MostKeys(const ParameterSet& parameters) { return parameters.Int("window_tokens") + parameters.Int("sink_tokens"); }

}  // namespace

LayerCost Cost(const CostQuery& query) {
  const auto [heads, d, dv, tokens, sequences] = SizesOf(query);
  const double pairs = VisiblePairs(query.new_tokens, query.context_tokens, MostKeys(query.parameters));

  // Of the keys before this call the first query sees W - 1 + m at most, the later ones fewer.
  const int64_t old_keys = std::min(query.context_tokens, MostKeys(query.parameters) - 1);
  LayerCost cost = SoftmaxTraffic(query.shape, query, static_cast<double>(old_keys));
  // A pair: 2d for q.k, the scale, z - m, the sum, 2dv for p v. A row: dv divides.
  cost.flops = sequences * heads * (pairs * (2 * d + 2 * dv + 3) + tokens * dv);
  cost.transcendentals = sequences * heads * pairs;
  return cost;
}

ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes) {
  return {.per_token = KvBytesPerToken(shape, bytes), .token_cap = static_cast<double>(MostKeys(parameters)), .split_heads = shape.kv_heads};
}

// The tables hold windows without kept tokens.
TableKernel TimedBy(const LayerShape& shape, const ParameterSet& parameters) {
  if (parameters.Int("sink_tokens") > 0) return {};
  return {.family = TableKernel::Family::kSoftmax,
          .query_heads = shape.query_heads,
          .kv_heads = shape.kv_heads,
          .head_dim = shape.head_dim,
          .window_tokens = parameters.Int("window_tokens")};
}

}  // namespace assay::sliding_window
