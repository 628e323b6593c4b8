// What Quest costs: a decoding token reads page bounds and the selected pages; the whole cache stays in memory, bounds on top.
#include <algorithm>

#include "mechanisms/quest/quest.h"
#include "mechanisms/softmax_problem.h"

namespace assay::quest {
namespace {

// Minimum and maximum of every key channel of a page, in the activations' type whatever the cache holds.
double BoundBytes(const LayerShape& shape) { return static_cast<double>(shape.kv_heads * shape.head_dim) * 2 * kActivationBytes; }

}  // namespace

LayerCost Cost(const CostQuery& query) {
  const auto [heads, d, dv, tokens, sequences] = SizesOf(query);
  const int64_t page_tokens = query.parameters.Int("page_tokens");
  const int64_t budget = query.parameters.Int("budget_pages");
  const int64_t forced = query.parameters.Int("first_pages") + query.parameters.Int("last_pages");
  const int64_t keys = query.context_tokens + query.new_tokens;
  const int64_t pages = (keys + page_tokens - 1) / page_tokens;
  const bool selects = query.new_tokens == 1 && pages > budget;

  double pairs = VisiblePairs(query.new_tokens, query.context_tokens, 0);
  double old_keys = static_cast<double>(query.context_tokens);
  double ranked_pages = 0;
  if (selects) {
    // All selected pages are full but the last one of the sequence, which is always read and holds the new token.
    pairs = static_cast<double>((budget - 1) * page_tokens + keys - (pages - 1) * page_tokens);
    old_keys = pairs - 1;
    ranked_pages = static_cast<double>(pages - forced);
  }
  LayerCost cost = SoftmaxTraffic(query.shape, query, old_keys);
  // As softmax attention over what is read; a ranked page: two products and a sum for each channel of each query head.
  cost.flops = sequences * heads * (pairs * (2 * d + 2 * dv + 3) + tokens * dv + ranked_pages * 3 * d);
  cost.transcendentals = sequences * heads * pairs;
  const double bounds = BoundBytes(query.shape);
  cost.bytes_read += sequences * ranked_pages * bounds;
  // Every page that gets a token has its bounds written once.
  const int64_t first_page = query.context_tokens / page_tokens;
  cost.bytes_written += sequences * static_cast<double>(pages - first_page) * bounds;
  return cost;
}

ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes) {
  return {.per_token = KvBytesPerToken(shape, bytes) + BoundBytes(shape) / parameters["page_tokens"], .split_heads = shape.kv_heads};
}

}  // namespace assay::quest
