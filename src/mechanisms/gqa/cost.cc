// What grouped-query attention costs: useful work exactly as the counted reference finds it, traffic as the least that must move.
#include "mechanisms/gqa/gqa.h"
#include "mechanisms/softmax_problem.h"

namespace assay::gqa {
namespace {

// The layer with the key/value heads of its own, where it has any.
LayerShape OwnShape(LayerShape shape, const ParameterSet& parameters) {
  if (parameters.Int("kv_heads") > 0) shape.kv_heads = parameters.Int("kv_heads");
  return shape;
}

}  // namespace

LayerCost Cost(const CostQuery& query) {
  const auto [heads, d, dv, tokens, sequences] = SizesOf(query);
  const double pairs = VisiblePairs(query.new_tokens, query.context_tokens, 0);
  const bool capped = query.parameters["softcap"] > 0;
  const bool sink = query.parameters.Int("learned_sink") != 0;

  LayerCost cost = SoftmaxTraffic(OwnShape(query.shape, query.parameters), query, static_cast<double>(query.context_tokens));
  // A pair: 2d for q.k, the scale, (softcap: divide and multiply), z - m, the sum, 2dv for p v. A row: dv divides (sink: subtract, add).
  cost.flops = sequences * heads * (pairs * (2 * d + 2 * dv + 3 + (capped ? 2 : 0)) + tokens * (dv + (sink ? 2 : 0)));
  cost.transcendentals = sequences * heads * (pairs * (capped ? 2 : 1) + (sink ? tokens : 0));
  return cost;
}

ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes) {
  const LayerShape own = OwnShape(shape, parameters);
  return {.per_token = KvBytesPerToken(own, bytes), .split_heads = own.kv_heads};
}

std::vector<Projection> Projections(const LayerShape& shape, const ParameterSet& parameters) {
  return SoftmaxProjections(OwnShape(shape, parameters), parameters);
}

// The tables hold plain rows: without a cap on the scores and without a learned sink.
TableKernel TimedBy(const LayerShape& shape, const ParameterSet& parameters) {
  if (parameters["softcap"] > 0 || parameters.Int("learned_sink") != 0) return {};
  return {.family = TableKernel::Family::kSoftmax,
          .query_heads = shape.query_heads,
          .kv_heads = OwnShape(shape, parameters).kv_heads,
          .head_dim = shape.head_dim};
}

}  // namespace assay::gqa
