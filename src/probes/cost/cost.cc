#include "probes/cost/cost.h"

#include <fmt/format.h>

namespace assay {

Status CheckCostOptions(const CostOptions& options) {
  if (options.subjects.empty()) return BadInput("cost: no mechanism to measure");
  for (const CostSubject& subject : options.subjects) {
    if (subject.mechanism == nullptr || subject.dtypes.empty()) return BadInput("cost: a subject needs a mechanism and an element type");
  }
  const LayerShape& shape = options.shape;
  if (shape.query_heads < 1 || shape.kv_heads < 1 || shape.head_dim < 1) {
    return BadInput(fmt::format("cost: a layer of {} query heads, {} key/value heads, width {}; each must be at least 1", shape.query_heads, shape.kv_heads, shape.head_dim));
  }
  if (options.prefill_tokens.empty() && options.decode_contexts.empty()) return BadInput("cost: no prefill length and no decode context to measure at");
  for (const auto* lengths : {&options.prefill_tokens, &options.decode_contexts}) {
    for (const int64_t tokens : *lengths) {
      if (tokens < 1) return BadInput(fmt::format("cost: a length of {} tokens; it must be at least 1", tokens));
    }
  }
  if (options.decode_sequences < 1 || !(options.budget_s > 0)) return BadInput("cost: decode_sequences and budget_s must be above 0");
  return Ok();
}

}  // namespace assay
