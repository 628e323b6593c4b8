// What grouped-query attention costs: useful work exactly as the counted reference finds it, traffic as the least that must move.
#include "mechanisms/gqa/gqa.h"
#include "mechanisms/softmax_problem.h"

namespace assay::gqa {
namespace {

int64_t KvHeads(const CostQuery& query) {
  const int64_t own = query.parameters.Int("kv_heads");
  return own > 0 ? own : query.shape.kv_heads;
}

double CacheBytesPerToken(const LayerShape& shape, int64_t kv_heads, const CostQuery& query) {
  const auto widths = static_cast<double>(shape.head_dim + ValueWidth(shape));
  return static_cast<double>(kv_heads) * (widths * query.cache_bytes_per_element + query.scale_bytes_per_token_head);
}

}  // namespace

LayerCost Cost(const CostQuery& query) {
  const auto heads = static_cast<double>(query.shape.query_heads);
  const auto d = static_cast<double>(query.shape.head_dim);
  const auto dv = static_cast<double>(ValueWidth(query.shape));
  const auto tokens = static_cast<double>(query.new_tokens);
  const auto sequences = static_cast<double>(query.sequences);
  const double pairs = VisiblePairs(query.new_tokens, query.context_tokens, 0);
  const bool capped = query.parameters["softcap"] > 0;
  const bool sink = query.parameters.Int("learned_sink") != 0;

  LayerCost cost;
  // A pair: 2d for q.k, the scale, (softcap: divide and multiply), z - m, the sum, 2dv for p v. A row: dv divides (sink: subtract, add).
  cost.flops = sequences * heads * (pairs * (2 * d + 2 * dv + 3 + (capped ? 2 : 0)) + tokens * (dv + (sink ? 2 : 0)));
  cost.transcendentals = sequences * heads * (pairs * (capped ? 2 : 1) + (sink ? tokens : 0));
  const int64_t kv_heads = KvHeads(query);
  const double per_token = CacheBytesPerToken(query.shape, kv_heads, query);
  const double new_rows = static_cast<double>(kv_heads) * (d + dv) * kActivationBytes;
  cost.bytes_read = sequences * (static_cast<double>(query.context_tokens) * per_token + tokens * (heads * d * kActivationBytes + new_rows));
  cost.bytes_written = sequences * tokens * (heads * dv * kActivationBytes + per_token);
  return cost;
}

ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes) {
  const int64_t own = parameters.Int("kv_heads");
  ResidentBytes resident;
  resident.per_token = CacheBytesPerToken(shape, own > 0 ? own : shape.kv_heads, bytes);
  return resident;
}

std::vector<Projection> Projections(const LayerShape& shape, const ParameterSet& parameters) {
  LayerShape own = shape;
  if (parameters.Int("kv_heads") > 0) own.kv_heads = parameters.Int("kv_heads");
  return SoftmaxProjections(own);
}

TableKernel TimedBy(const LayerShape& shape, const ParameterSet& parameters) {
  const int64_t own = parameters.Int("kv_heads");
  return {.family = TableKernel::Family::kSoftmax, .query_heads = shape.query_heads, .kv_heads = own > 0 ? own : shape.kv_heads, .head_dim = shape.head_dim};
}

}  // namespace assay::gqa
