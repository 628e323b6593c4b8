// What sliding-window attention costs: as many keys a query as the window and the kept first tokens hold, and a cache that stops growing.
#include <algorithm>

#include "mechanisms/sliding_window/sliding_window.h"
#include "mechanisms/softmax_problem.h"

namespace assay::sliding_window {
namespace {

double CacheBytesPerToken(const LayerShape& shape, const CostQuery& query) {
  const auto widths = static_cast<double>(shape.head_dim + ValueWidth(shape));
  return static_cast<double>(shape.kv_heads) * (widths * query.cache_bytes_per_element + query.scale_bytes_per_token_head);
}

// Keys a query far from the start sees: window and first tokens do not overlap there.
int64_t MostKeys(const ParameterSet& parameters) { return parameters.Int("window_tokens") + parameters.Int("sink_tokens"); }

}  // namespace

LayerCost Cost(const CostQuery& query) {
  const auto heads = static_cast<double>(query.shape.query_heads);
  const auto kv_heads = static_cast<double>(query.shape.kv_heads);
  const auto d = static_cast<double>(query.shape.head_dim);
  const auto dv = static_cast<double>(ValueWidth(query.shape));
  const auto tokens = static_cast<double>(query.new_tokens);
  const auto sequences = static_cast<double>(query.sequences);
  const double pairs = VisiblePairs(query.new_tokens, query.context_tokens, MostKeys(query.parameters));

  LayerCost cost;
  // A pair: 2d for q.k, the scale, z - m, the sum, 2dv for p v. A row: dv divides.
  cost.flops = sequences * heads * (pairs * (2 * d + 2 * dv + 3) + tokens * dv);
  cost.transcendentals = sequences * heads * pairs;
  // Of the keys before this call the first query sees W - 1 + m at most, the later ones fewer.
  const double per_token = CacheBytesPerToken(query.shape, query);
  const auto old_keys = static_cast<double>(std::min(query.context_tokens, MostKeys(query.parameters) - 1));
  const double new_rows = kv_heads * (d + dv) * kActivationBytes;
  cost.bytes_read = sequences * (old_keys * per_token + tokens * (heads * d * kActivationBytes + new_rows));
  cost.bytes_written = sequences * tokens * (heads * dv * kActivationBytes + per_token);
  return cost;
}

ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes) {
  return {.per_token = CacheBytesPerToken(shape, bytes), .token_cap = static_cast<double>(MostKeys(parameters))};
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
