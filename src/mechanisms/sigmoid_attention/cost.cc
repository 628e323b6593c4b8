// What sigmoid attention costs: the cache and traffic of softmax attention, without the sum over keys and the division at the end.
#include "mechanisms/sigmoid_attention/sigmoid_attention.h"
#include "mechanisms/softmax_problem.h"

namespace assay::sigmoid_attention {
LayerCost Cost(const CostQuery& query) {
  const auto [heads, d, dv, tokens, sequences] = SizesOf(query);
  const double pairs = VisiblePairs(query.new_tokens, query.context_tokens, 0);

  LayerCost cost = SoftmaxTraffic(query.shape, query, static_cast<double>(query.context_tokens));
  // A pair: 2d for q.k, scale, bias, 1 + e^-z, the division, 2dv for p v. A row: nothing.
  cost.flops = sequences * heads * pairs * (2 * d + 2 * dv + 4);
  cost.transcendentals = sequences * heads * pairs;
  return cost;
}

ResidentBytes Resident(const LayerShape& shape, const ParameterSet&, const CostQuery& bytes) {
  return {.per_token = KvBytesPerToken(shape, bytes), .split_heads = shape.kv_heads};
}

}  // namespace assay::sigmoid_attention
