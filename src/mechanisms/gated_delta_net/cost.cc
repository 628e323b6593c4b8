// What a gated-delta layer costs. Every formula is the stepwise recurrence counted by hand; test.cc holds it against the counted reference.
#include <algorithm>

#include "mechanisms/gated_delta_net/gated_delta_net.h"

namespace assay::gated_delta_net {

LayerWidths WidthsOf(const LayerShape& shape, const ParameterSet& parameters) {
  const auto or_else = [&](std::string_view name, int64_t otherwise) {
    const int64_t given = parameters.Int(name);
    return given > 0 ? given : std::max<int64_t>(otherwise, 1);
  };
  // Left alone, a layer is Qwen3-Next's: a value head for each query head, two value heads a key head.
  LayerWidths widths{};
  widths.value_heads = or_else("value_heads", shape.query_heads);
  widths.key_heads = or_else("key_heads", widths.value_heads % 2 == 0 ? widths.value_heads / 2 : widths.value_heads);
  widths.key_dim = or_else("key_dim", shape.head_dim);
  widths.value_dim = or_else("value_dim", shape.v_head_dim > 0 ? shape.v_head_dim : shape.head_dim);
  widths.conv_channels = 2 * widths.key_heads * widths.key_dim + widths.value_heads * widths.value_dim;
  return widths;
}

LayerCost Cost(const CostQuery& query) {
  const LayerWidths widths = WidthsOf(query.shape, query.parameters);
  const auto states = static_cast<double>(widths.value_heads);
  const auto d = static_cast<double>(widths.key_dim);
  const auto dv = static_cast<double>(widths.value_dim);
  const bool delta = query.parameters["delta"] != 0;
  const double gates = query.parameters["channel_decay"] != 0 ? d : 1;
  const double tokens = static_cast<double>(query.new_tokens) * static_cast<double>(query.sequences);
  // decay d dv, read for the error 2 d dv and its difference dv, beta dv, write 2 d dv, read 2 d dv, scale dv: the paper's 7 d_k d_v
  const double per_state = d * dv + (delta ? 2 * d * dv + dv : 0) + dv + 2 * d * dv + 2 * d * dv + dv;
  const double state_bytes = states * d * dv * query.state_bytes_per_element * static_cast<double>(query.sequences);
  const double qk = static_cast<double>(widths.key_heads) * d;
  // Queries, keys and values travel as activations (bf16), gates as the state's own type.
  constexpr double kActivationBytes = 2;
  const double rows_in = (2 * qk + states * dv) * kActivationBytes + states * (gates + 1) * query.state_bytes_per_element;
  LayerCost cost;
  cost.flops = tokens * states * per_state;
  cost.transcendentals = tokens * states * gates;
  // One call reads and writes each state once, however many tokens it takes: a chunked kernel keeps it in registers or shared memory.
  cost.bytes_read = state_bytes + tokens * rows_in;
  cost.bytes_written = state_bytes + tokens * states * dv * kActivationBytes;
  return cost;
}

ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes) {
  const LayerWidths widths = WidthsOf(shape, parameters);
  const auto state = static_cast<double>(widths.value_heads * widths.key_dim * widths.value_dim) * bytes.state_bytes_per_element;
  // The convolution needs the last K - 1 inputs of q, k and v.
  const auto tail = static_cast<double>((parameters.Int("conv_kernel") - 1) * widths.conv_channels) * bytes.cache_bytes_per_element;
  // A state belongs to a value head; the tail is some hundredths of it and goes with it.
  return {.per_token = 0, .per_sequence = state + tail, .split_heads = widths.value_heads};
}

std::vector<Projection> Projections(const LayerShape& shape, const ParameterSet& parameters) {
  const LayerWidths widths = WidthsOf(shape, parameters);
  const int64_t values = widths.value_heads * widths.value_dim;
  // Query, key, value and output gate; decay and beta; output.
  return {{"in_qkvz", widths.conv_channels + values, shape.model_dim},
          {"in_ba", widths.value_heads * (parameters["channel_decay"] != 0 ? widths.key_dim + 1 : 2), shape.model_dim},
          {"out", shape.model_dim, values, Projection::Split::kRows}};
}

TableKernel TimedBy(const LayerShape& shape, const ParameterSet& parameters) {
  const LayerWidths widths = WidthsOf(shape, parameters);
  // A decay for each channel is another kernel (Kimi delta attention), which these tables do not hold.
  if (parameters["channel_decay"] != 0 || widths.key_dim != 128 || widths.value_dim != 128) return {};
  return {.family = TableKernel::Family::kGatedDeltaNet, .query_heads = widths.value_heads, .kv_heads = widths.key_heads, .head_dim = widths.key_dim};
}

}  // namespace assay::gated_delta_net
