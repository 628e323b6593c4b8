// The recurrence alone, as outside vectors state it: ONNX LinearAttention, OpenVINO's gated delta rule, and the functions of deployed code.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "mechanisms/gated_delta_net/rule_schedule.h"

namespace assay::gated_delta_net {
namespace {

using module_math::Array;

constexpr int64_t kMostHeads = 1 << 16;

// --- ONNX LinearAttention: packed [B, T, heads * width] ---

// Head counts and widths of a packed case, from its attributes and the widths of its inputs.
struct PackedShape {
  int64_t batch = 0, tokens = 0, query_heads = 0, key_heads = 0, states = 0, key_dim = 0, value_dim = 0;
};

Result<PackedShape> ReadPackedShape(const CaseReader& reader) {
  PackedShape shape;
  ASSAY_RETURN_IF_ERROR(reader.Require({"q_num_heads", "kv_num_heads"}));
  ASSAY_TRY(shape.query_heads, reader.Int("q_num_heads", 0, 1, kMostHeads));
  ASSAY_TRY(shape.states, reader.Int("kv_num_heads", 0, 1, kMostHeads));
  ASSAY_TRY(const TensorView* q, reader.View("query", {kAnyExtent, kAnyExtent, kAnyExtent}));
  shape.batch = q->shape[0];
  shape.tokens = q->shape[1];
  ASSAY_TRY(const TensorView* k, reader.View("key", {shape.batch, shape.tokens, kAnyExtent}));
  ASSAY_TRY(const TensorView* v, reader.View("value", {shape.batch, shape.tokens, kAnyExtent}));
  shape.key_dim = q->shape[2] / shape.query_heads;
  shape.value_dim = v->shape[2] / shape.states;
  shape.key_heads = shape.key_dim > 0 ? k->shape[2] / shape.key_dim : 0;
  const bool fits = shape.key_heads > 0 && shape.value_dim > 0 && shape.key_dim * shape.query_heads == q->shape[2] &&
                    shape.key_dim * shape.key_heads == k->shape[2] && shape.value_dim * shape.states == v->shape[2];
  if (!fits) {
    return BadInput(fmt::format("query {}, key {} and value {} do not divide into {} query and {} key/value heads", ShapeString(*q), ShapeString(*k),
                                ShapeString(*v), shape.query_heads, shape.states));
  }
  return shape;
}

// decay is a number a head or one a channel; beta a number a head or one for all.
Result<Array> ReadDecay(const CaseReader& reader, const PackedShape& shape) {
  ASSAY_TRY(const Array decay, reader.Get("decay", {shape.batch, shape.tokens, kAnyExtent}));
  if (decay.extent(2) == shape.states) return decay;
  if (decay.extent(2) == shape.states * shape.key_dim) return decay.Reshaped({shape.batch, shape.tokens, shape.states, shape.key_dim});
  return BadInput(fmt::format("decay has {} columns; it needs {} (a head) or {} (a channel)", decay.extent(2), shape.states, shape.states * shape.key_dim));
}
Result<Array> ReadBeta(const CaseReader& reader, const PackedShape& shape) {
  ASSAY_TRY(const Array given, reader.Get("beta", {shape.batch, shape.tokens, kAnyExtent}));
  if (given.extent(2) != 1 && given.extent(2) != shape.states) return BadInput(fmt::format("beta has {} columns; it needs {} or 1", given.extent(2), shape.states));
  Array beta({shape.batch, shape.tokens, shape.states});
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t t = 0; t < shape.tokens; ++t) {
      for (int64_t h = 0; h < shape.states; ++h) beta(b, t, h) = given(b, t, given.extent(2) == 1 ? 0 : h);
    }
  }
  return beta;
}

Result<CaseOutputs> RunPacked(const CaseReader& reader, const Attend& attend, Form form) {
  const std::string rule = reader.source().Str("update_rule", "gated_delta");
  const bool gated = rule == "gated" || rule == "gated_delta";
  const bool delta = rule == "delta" || rule == "gated_delta";
  if (!gated && !delta && rule != "linear") return Unsupported(fmt::format("update_rule '{}'; known: linear, gated, delta, gated_delta", rule));
  ASSAY_TRY(const PackedShape shape, ReadPackedShape(reader));
  ASSAY_TRY(const Array q, reader.Get("query", {shape.batch, shape.tokens, kAnyExtent}));
  ASSAY_TRY(const Array k, reader.Get("key", {shape.batch, shape.tokens, kAnyExtent}));
  ASSAY_TRY(const Array v, reader.Get("value", {shape.batch, shape.tokens, kAnyExtent}));
  ASSAY_TRY(const Array past, reader.GetOptional("past_state", {shape.batch, shape.states, shape.key_dim, shape.value_dim}));
  const Array q4 = q.Reshaped({shape.batch, shape.tokens, shape.query_heads, shape.key_dim});
  const Array k4 = k.Reshaped({shape.batch, shape.tokens, shape.key_heads, shape.key_dim});
  const Array v4 = v.Reshaped({shape.batch, shape.tokens, shape.states, shape.value_dim});
  Array decay, beta;
  if (gated) {
    ASSAY_TRY(decay, ReadDecay(reader, shape));
  }
  if (delta) {
    ASSAY_TRY(beta, ReadBeta(reader, shape));
  }
  ASSAY_TRY(const double scale, reader.Finite("scale", 0));
  ASSAY_TRY(const int64_t chunk, reader.Int("chunk_size", 64, 1, 1 << 20));
  RuleCall call;
  call.q = &q4;
  call.k = &k4;
  call.v = &v4;
  call.g = OrNull(decay);
  call.beta = OrNull(beta);
  call.state = OrNull(past);
  call.scale = scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(shape.key_dim));
  call.delta = delta;
  call.form = form;
  call.chunk_tokens = chunk;
  ASSAY_TRY(const RuleResult result, RunSchedule(call, attend));
  CaseOutputs outputs;
  AddOutput(&outputs, "output", result.output.Reshaped({shape.batch, shape.tokens, result.output.extent(2) * shape.value_dim}));
  AddOutput(&outputs, "present_state", result.state);
  return outputs;
}

// --- Functions on [B, T, heads, width] ---

// The names that differ between sources of the same function.
struct FunctionNames {
  std::string_view q = "query", k = "key", v = "value", g = "g", beta = "beta", state = "initial_state", output = "output", final_state = "final_state";
};

struct FunctionOptions {
  bool l2norm = false;
  double l2norm_epsilon = 1e-6;
  bool channel_decay = false;
  bool delta = true;
  int64_t chunk_tokens = 64;
};

Result<CaseOutputs> RunFunction(const CaseReader& reader, const Attend& attend, const FunctionNames& names, const FunctionOptions& options, Form form) {
  ASSAY_TRY(Array v, reader.Get(names.v, {kAnyExtent, kAnyExtent, kAnyExtent, kAnyExtent}));
  const int64_t batch = v.extent(0);
  const int64_t tokens = v.extent(1);
  const int64_t states = v.extent(2);
  ASSAY_TRY(Array q, reader.Get(names.q, {batch, tokens, kAnyExtent, kAnyExtent}));
  ASSAY_TRY(Array k, reader.Get(names.k, {batch, tokens, kAnyExtent, q.extent(3)}));
  const int64_t width = q.extent(3);
  ASSAY_RETURN_IF_ERROR(reader.Agrees("num_k_heads", k.extent(2)));
  ASSAY_RETURN_IF_ERROR(reader.Agrees("num_v_heads", states));
  ASSAY_RETURN_IF_ERROR(reader.Agrees("num_heads", states));
  Array g, beta;
  if (!names.g.empty()) {
    if (options.channel_decay) {
      ASSAY_TRY(g, reader.GetOptional(names.g, {batch, tokens, states, width}));
    } else {
      ASSAY_TRY(g, reader.GetOptional(names.g, {batch, tokens, states}));
    }
  }
  if (!names.beta.empty()) {
    ASSAY_TRY(beta, reader.Get(names.beta, {batch, tokens, states}));
  }
  ASSAY_TRY(const Array state, reader.GetOptional(names.state, {batch, states, width, v.extent(3)}));
  if (options.l2norm) {
    L2NormRows(&q, options.l2norm_epsilon);
    L2NormRows(&k, options.l2norm_epsilon);
  }
  RuleCall call;
  call.q = &q;
  call.k = &k;
  call.v = &v;
  call.g = OrNull(g);
  call.beta = OrNull(beta);
  call.state = OrNull(state);
  ASSAY_TRY(call.scale, reader.Finite("scale", 1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, width)))));
  call.delta = options.delta;
  call.form = form;
  call.chunk_tokens = options.chunk_tokens;
  ASSAY_TRY(const RuleResult result, RunSchedule(call, attend));
  CaseOutputs outputs;
  AddOutput(&outputs, names.output, result.output);
  AddOutput(&outputs, names.final_state, result.state);
  return outputs;
}

Result<CaseOutputs> RunDeployed(const CaseReader& reader, const Attend& attend, bool channel_decay, Form form) {
  FunctionOptions options;
  options.channel_decay = channel_decay;
  ASSAY_TRY(const int64_t l2norm, reader.Int("qk_l2norm", 0, 0, 1));
  options.l2norm = l2norm != 0;
  reader.Passes({"form"});  // both forms compute one function, and every case is run in both
  ASSAY_TRY(options.l2norm_epsilon, reader.Finite("l2norm_epsilon", 1e-6));
  ASSAY_TRY(options.chunk_tokens, reader.Int("chunk_size", 64, 1, 1 << 20));
  return RunFunction(reader, attend, {}, options, form);
}

Result<CaseOutputs> RunOpenVinoIn(const CaseReader& reader, const Attend& attend, Form form) {
  FunctionOptions options;
  ASSAY_TRY(const int64_t l2norm, reader.Int("fuse_qk_l2norm", 0, 0, 1));
  options.l2norm = l2norm != 0;
  ASSAY_TRY(options.l2norm_epsilon, reader.Finite("l2_eps", 1e-6));
  const FunctionNames names = {.q = "q", .k = "k", .v = "v", .g = "log_decay", .beta = "beta", .state = "state", .output = "out", .final_state = "final_state"};
  return RunFunction(reader, attend, names, options, form);
}

}  // namespace

template <Form kForm>
Result<CaseOutputs> RunLinearAttention(const ConformanceCase& conformance_case, const Attend& attend) {
  if (conformance_case.opset == 0) return Unsupported("feature maps and normalisers of linear attention are another mechanism");
  return RunPacked(CaseReader(conformance_case), attend, kForm);
}
template <Form kForm>
Result<CaseOutputs> RunGatedDeltaRule(const ConformanceCase& conformance_case, const Attend& attend) {
  return RunDeployed(CaseReader(conformance_case), attend, false, kForm);
}
template <Form kForm>
Result<CaseOutputs> RunKimiDeltaRule(const ConformanceCase& conformance_case, const Attend& attend) {
  return RunDeployed(CaseReader(conformance_case), attend, true, kForm);
}
template <Form kForm>
Result<CaseOutputs> RunOpenVino(const ConformanceCase& conformance_case, const Attend& attend) {
  return RunOpenVinoIn(CaseReader(conformance_case), attend, kForm);
}

template Result<CaseOutputs> RunLinearAttention<Form::kStepwise>(const ConformanceCase&, const Attend&);
template Result<CaseOutputs> RunLinearAttention<Form::kChunked>(const ConformanceCase&, const Attend&);
template Result<CaseOutputs> RunGatedDeltaRule<Form::kStepwise>(const ConformanceCase&, const Attend&);
template Result<CaseOutputs> RunGatedDeltaRule<Form::kChunked>(const ConformanceCase&, const Attend&);
template Result<CaseOutputs> RunKimiDeltaRule<Form::kStepwise>(const ConformanceCase&, const Attend&);
template Result<CaseOutputs> RunKimiDeltaRule<Form::kChunked>(const ConformanceCase&, const Attend&);
template Result<CaseOutputs> RunOpenVino<Form::kStepwise>(const ConformanceCase&, const Attend&);
template Result<CaseOutputs> RunOpenVino<Form::kChunked>(const ConformanceCase&, const Attend&);

}  // namespace assay::gated_delta_net
