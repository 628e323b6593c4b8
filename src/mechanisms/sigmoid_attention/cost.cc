// What sigmoid attention costs: the cache and traffic of softmax attention, without the sum over keys and the division at the end.
#include "mechanisms/sigmoid_attention/sigmoid_attention.h"
#include "mechanisms/softmax_problem.h"

namespace assay::sigmoid_attention {
namespace {

double CacheBytesPerToken(const LayerShape& shape, const CostQuery& query) {
  const auto widths = static_cast<double>(shape.head_dim + ValueWidth(shape));
  return static_cast<double>(shape.kv_heads) * (widths * query.cache_bytes_per_element + query.scale_bytes_per_token_head);
}

}  // namespace

LayerCost Cost(const CostQuery& query) {
  const auto heads = static_cast<double>(query.shape.query_heads);
  const auto kv_heads = static_cast<double>(query.shape.kv_heads);
  const auto d = static_cast<double>(query.shape.head_dim);
  const auto dv = static_cast<double>(ValueWidth(query.shape));
  const auto tokens = static_cast<double>(query.new_tokens);
  const auto sequences = static_cast<double>(query.sequences);
  const double pairs = VisiblePairs(query.new_tokens, query.context_tokens, 0);

  LayerCost cost;
  // A pair: 2d for q.k, scale, bias, 1 + e^-z, the division, 2dv for p v. A row: nothing.
  cost.flops = sequences * heads * pairs * (2 * d + 2 * dv + 4);
  cost.transcendentals = sequences * heads * pairs;
  const double per_token = CacheBytesPerToken(query.shape, query);
  const double new_rows = kv_heads * (d + dv) * kActivationBytes;
  cost.bytes_read = sequences * (static_cast<double>(query.context_tokens) * per_token + tokens * (heads * d * kActivationBytes + new_rows));
  cost.bytes_written = sequences * tokens * (heads * dv * kActivationBytes + per_token);
  return cost;
}

ResidentBytes Resident(const LayerShape& shape, const ParameterSet&, const CostQuery& bytes) { return {.per_token = CacheBytesPerToken(shape, bytes)}; }

}  // namespace assay::sigmoid_attention
