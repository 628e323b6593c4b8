// What latent attention costs, in either form. test.cc holds the formulas against the counted reference.
#include <algorithm>

#include "mechanisms/mla/mla.h"
#include "mechanisms/softmax_problem.h"

namespace assay::mla {
namespace {

struct Widths {
  double heads, rank, rope, nope, value;
};
Widths WidthsOf(const LayerShape& shape, const ParameterSet& parameters) {
  return {static_cast<double>(shape.query_heads), parameters["kv_rank"], parameters["rope_dim"], parameters["nope_dim"],
          parameters["v_head_dim"]};
}

double CacheBytesPerToken(const CostQuery& query) {
  const Widths w = WidthsOf(query.shape, query.parameters);
  // One row serves all heads, and keys and values alike: half the scales that K and V have together.
  return (w.rank + w.rope) * query.cache_bytes_per_element + query.scale_bytes_per_token_head / 2;
}

// A pair: 2d for q.k, scale, z - m, sum, 2dv for p v; a row: dv divides.
double CoreFlops(const CostQuery& query, double key_width, double value_width) {
  const Widths w = WidthsOf(query.shape, query.parameters);
  const double pairs = VisiblePairs(query.new_tokens, query.context_tokens, 0);
  return static_cast<double>(query.sequences) * w.heads *
         (pairs * (2 * key_width + 2 * value_width + 3) + static_cast<double>(query.new_tokens) * value_width);
}

double AbsorbedFlops(const CostQuery& query) {
  const Widths w = WidthsOf(query.shape, query.parameters);
  return CoreFlops(query, w.rank + w.rope, w.rank);
}

// Latents that are already in the cache are expanded again by every call; those of the new tokens are the layer's own projection.
double ExpandedFlops(const CostQuery& query) {
  const Widths w = WidthsOf(query.shape, query.parameters);
  const double expansion = 2 * w.rank * w.heads * (w.nope + w.value) * static_cast<double>(query.context_tokens) * static_cast<double>(query.sequences);
  return CoreFlops(query, w.nope + w.rope, w.value) + expansion;
}

}  // namespace

Form FormOf(const CostQuery& query) {
  switch (query.parameters.Int("form")) {
    case 1: return Form::kExpanded;
    case 2: return Form::kAbsorbed;
    default: return ExpandedFlops(query) < AbsorbedFlops(query) && query.new_tokens > 1 ? Form::kExpanded : Form::kAbsorbed;
  }
}

LayerCost Cost(const CostQuery& query) {
  const Widths w = WidthsOf(query.shape, query.parameters);
  const bool absorbed = FormOf(query) == Form::kAbsorbed;
  const auto tokens = static_cast<double>(query.new_tokens);
  const auto context = static_cast<double>(query.context_tokens);
  const auto sequences = static_cast<double>(query.sequences);
  const double per_token = CacheBytesPerToken(query);
  LayerCost cost;
  cost.flops = absorbed ? AbsorbedFlops(query) : ExpandedFlops(query);
  cost.transcendentals = sequences * w.heads * VisiblePairs(query.new_tokens, query.context_tokens, 0);
  const double query_width = absorbed ? w.rank + w.rope : w.nope + w.rope;
  const double output_width = absorbed ? w.rank : w.value;
  // Expanded rows of the new tokens arrive from the projection; those of the context pass through memory once in each direction.
  const double expanded_row = w.heads * (w.nope + w.rope + w.value) * kActivationBytes;
  const double new_rows = absorbed ? (w.rank + w.rope) * kActivationBytes : expanded_row;
  cost.bytes_read = sequences * (context * per_token + tokens * (w.heads * query_width * kActivationBytes + new_rows));
  cost.bytes_written = sequences * tokens * (w.heads * output_width * kActivationBytes + per_token);
  if (!absorbed) {
    cost.bytes_read += sequences * context * expanded_row;
    cost.bytes_written += sequences * context * expanded_row;
  }
  return cost;
}

ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes) {
  CostQuery query = bytes;
  query.shape = shape;
  query.parameters = parameters;
  // One row serves all heads, whatever its widths: every rank keeps it whole (vLLM issue 26877).
  return {.per_token = CacheBytesPerToken(query), .split_heads = 1};
}

std::vector<Projection> Projections(const LayerShape& shape, const ParameterSet& parameters) {
  const int64_t heads = shape.query_heads;
  const int64_t rank = parameters.Int("kv_rank");
  const int64_t rope = parameters.Int("rope_dim");
  const int64_t nope = parameters.Int("nope_dim");
  const int64_t value = parameters.Int("v_head_dim");
  const int64_t q_rank = parameters.Int("q_rank");
  std::vector<Projection> projections;
  if (q_rank > 0) {
    projections.push_back({"q_a", q_rank, shape.model_dim, Projection::Split::kReplicated});
    projections.push_back({"q_b", heads * (nope + rope), q_rank});
  } else {
    projections.push_back({"q", heads * (nope + rope), shape.model_dim});
  }
  projections.push_back({"kv_a", rank + rope, shape.model_dim, Projection::Split::kReplicated});
  // Expanded: one product, kv_b. Absorbed: W_UK on the query side and W_UV on the output side, together the same work and the same weights.
  projections.push_back({"kv_b", heads * (nope + value), rank});
  projections.push_back({"o", shape.model_dim, heads * value, Projection::Split::kRows});
  return projections;
}

// The tables time DeepSeek's shape, latent 512 and rotary 64; the head counts vary.
TableKernel TimedBy(const LayerShape& shape, const ParameterSet& parameters) {
  if (parameters.Int("kv_rank") != 512 || parameters.Int("rope_dim") != 64) return {};
  return {.family = TableKernel::Family::kMla, .query_heads = shape.query_heads, .kv_heads = 1, .head_dim = 576};
}

}  // namespace assay::mla
