// Attention layers of deployed models around grouped-query attention: projections, norms, gates and positions in fp64, the mixer by `attend`.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "mechanisms/gqa/gqa.h"
#include "mechanisms/softmax_cases.h"

namespace assay::gqa {
namespace {

using module_math::Array;
using module_math::Rope;

// What every layer case has.
struct Layer {
  Array hidden;  // [B, T, model width]
  int64_t q_heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  SequenceCall call;  // options; q, k and v still to be set
};

Result<Layer> ReadLayer(const CaseReader& reader) {
  Layer layer;
  ASSAY_TRY(layer.hidden, reader.Get("hidden_states", {kAnyExtent, kAnyExtent, kAnyExtent}));
  ASSAY_RETURN_IF_ERROR(reader.Require({"q_num_heads", "kv_num_heads", "head_dim", "scale"}));
  ASSAY_TRY(layer.q_heads, reader.Int("q_num_heads", 0, 1, 1 << 16));
  ASSAY_TRY(layer.kv_heads, reader.Int("kv_num_heads", 0, 1, 1 << 16));
  ASSAY_TRY(layer.head_dim, reader.Int("head_dim", 0, 1, 1 << 16));
  if (layer.q_heads % layer.kv_heads != 0) return BadInput(fmt::format("{} query heads for {} key/value heads", layer.q_heads, layer.kv_heads));
  layer.call.mechanism = "gqa";
  ASSAY_TRY(layer.call.scale, reader.Finite("scale", 0));
  ASSAY_TRY(layer.call.softcap, reader.Finite("softcap", 0));
  if (layer.call.softcap < 0) return BadInput("softcap is negative");
  ASSAY_TRY(layer.call.window_tokens, reader.Int("window", 0, 0, int64_t{1} << 40));
  ASSAY_TRY(layer.call.chunk_tokens, reader.Int("chunk", 0, 0, int64_t{1} << 40));
  ASSAY_TRY(layer.call.past_tokens, reader.Int("n_past", 0, 0, layer.hidden.extent(1)));
  ASSAY_TRY(const int64_t steps, reader.Int("decode_steps", 0, 0, 1));
  layer.call.token_by_token = steps == 1;
  return layer;
}

Status CheckProjection(const Array& x, int64_t out) {
  const double elements = static_cast<double>(x.extent(0)) * static_cast<double>(x.extent(1)) * static_cast<double>(out);
  return CheckWork(elements * static_cast<double>(x.count()) / std::max(1.0, static_cast<double>(x.extent(0) * x.extent(1))), elements);
}

// hidden W^T (+ bias) as [B, T, heads, width], from NAME.weight and NAME.bias.
Result<Array> Project(const CaseReader& reader, const Array& hidden, const std::string& name, int64_t heads, int64_t width) {
  ASSAY_TRY(const Array weight, reader.Get(name + ".weight", {heads * width, hidden.extent(2)}));
  ASSAY_TRY(const Array bias, reader.GetOptional(name + ".bias", {heads * width}));
  ASSAY_RETURN_IF_ERROR(CheckProjection(hidden, heads * width));
  return module_math::Linear(hidden, weight, OrNull(bias)).Reshaped({hidden.extent(0), hidden.extent(1), heads, width});
}

// The attention's output [B, T', heads, width], flattened and projected back to the model's width.
Result<CaseOutputs> ProjectOut(const CaseReader& reader, const Array& attended, int64_t model_dim, const std::string& name) {
  const int64_t channels = attended.extent(2) * attended.extent(3);
  ASSAY_TRY(const Array weight, reader.Get(name + ".weight", {model_dim, channels}));
  ASSAY_TRY(const Array bias, reader.GetOptional(name + ".bias", {model_dim}));
  ASSAY_RETURN_IF_ERROR(CheckProjection(attended.Reshaped({attended.extent(0), attended.extent(1), channels}), model_dim));
  CaseOutputs outputs;
  AddOutput(&outputs, "output", module_math::Linear(attended.Reshaped({attended.extent(0), attended.extent(1), channels}), weight, OrNull(bias)));
  return outputs;
}

// RMS norm of queries or keys: over each head, or over all heads together where the case says so.
Status Normalise(const CaseReader& reader, const std::string& name, Array* x) {
  ASSAY_TRY(const double epsilon, reader.Finite("norm_epsilon", 1e-6));
  ASSAY_TRY(const int64_t plus_one, reader.Int("norm_plus_one", 0, 0, 1));
  const std::string scope = reader.source().Str("norm_scope", "head");
  if (scope != "head" && scope != "all_heads") return Unsupported(fmt::format("norm_scope '{}'; known: head, all_heads", scope));
  const std::vector<int64_t> shape = x->shape();
  const bool all_heads = scope == "all_heads";
  const int64_t width = all_heads ? shape[2] * shape[3] : shape[3];
  ASSAY_TRY(const Array weight, reader.Get(name + ".weight", {width}));
  if (all_heads) *x = x->Reshaped({shape[0], shape[1], width});
  module_math::RmsNorm(*x, &weight, {.epsilon = epsilon, .plus_one = plus_one == 1});
  *x = x->Reshaped(shape);
  return Ok();
}

void RotateAll(const Rope& rope, Array* x) {
  for (int64_t b = 0; b < x->extent(0); ++b) {
    for (int64_t t = 0; t < x->extent(1); ++t) {
      for (int64_t h = 0; h < x->extent(2); ++h) module_math::Rotate(x->Row(b, t, h), static_cast<double>(t), rope);
    }
  }
}

Result<Rope> ReadRope(const CaseReader& reader, int64_t head_dim, Rope::Pairing pairing = Rope::Pairing::kHalves) {
  ASSAY_RETURN_IF_ERROR(reader.Require({"rope_theta"}));
  ASSAY_TRY(const double theta, reader.Finite("rope_theta", 0));
  ASSAY_TRY(const int64_t rotary_dim, reader.Int("rotary_dim", head_dim, 0, head_dim));
  if (theta <= 0) return BadInput(fmt::format("rope_theta is {}; it must be positive", theta));
  if (rotary_dim % 2 != 0) return BadInput(fmt::format("rotary_dim is {}; channels turn in pairs", rotary_dim));
  return module_math::PlainRope(theta, rotary_dim, pairing);
}

// q, k and v of a layer with separate projections, after norms and positions. `gate_too`: q_proj carries [q, gate] a head.
struct Heads {
  Array q, k, v, gate;
};
Result<Heads> ReadHeads(const CaseReader& reader, const Layer& layer, bool gate_too) {
  Heads heads;
  ASSAY_TRY(heads.q, Project(reader, layer.hidden, "q_proj", layer.q_heads, layer.head_dim * (gate_too ? 2 : 1)));
  ASSAY_TRY(heads.k, Project(reader, layer.hidden, "k_proj", layer.kv_heads, layer.head_dim));
  ASSAY_TRY(heads.v, Project(reader, layer.hidden, "v_proj", layer.kv_heads, layer.head_dim));
  if (gate_too) {
    heads.gate = heads.q.Slice(-1, layer.head_dim, 2 * layer.head_dim);
    heads.q = heads.q.Slice(-1, 0, layer.head_dim);
  }
  return heads;
}

Result<Heads> ReadNormedHeads(const CaseReader& reader, const Layer& layer, bool gate_too) {
  ASSAY_TRY(Heads heads, ReadHeads(reader, layer, gate_too));
  ASSAY_RETURN_IF_ERROR(Normalise(reader, "q_norm", &heads.q));
  ASSAY_RETURN_IF_ERROR(Normalise(reader, "k_norm", &heads.k));
  ASSAY_TRY(const Rope rope, ReadRope(reader, layer.head_dim));
  RotateAll(rope, &heads.q);
  RotateAll(rope, &heads.k);
  return heads;
}

Result<Array> AttendLayer(const Layer& layer, const Heads& heads, const Attend& attend) {
  SequenceCall call = layer.call;
  call.q = &heads.q;
  call.k = &heads.k;
  call.v = &heads.v;
  return AttendSequence(call, attend);
}

}  // namespace

Result<CaseOutputs> RunQkNorm(const ConformanceCase& conformance_case, const Attend& attend) {
  const CaseReader reader(conformance_case);
  ASSAY_TRY(const Layer layer, ReadLayer(reader));
  ASSAY_TRY(const Heads heads, ReadNormedHeads(reader, layer, false));
  ASSAY_TRY(const Array attended, AttendLayer(layer, heads, attend));
  return ProjectOut(reader, attended, layer.hidden.extent(2), "o_proj");
}

// o * sigmoid(gate) a channel (Qiu et al. 2025, arXiv 2505.06708, as Qwen3-Next deploys it).
Result<CaseOutputs> RunGatedOutput(const ConformanceCase& conformance_case, const Attend& attend) {
  const CaseReader reader(conformance_case);
  ASSAY_TRY(const Layer layer, ReadLayer(reader));
  ASSAY_TRY(const Heads heads, ReadNormedHeads(reader, layer, true));
  ASSAY_TRY(Array attended, AttendLayer(layer, heads, attend));
  const Array gate = heads.gate.Slice(1, layer.call.past_tokens, layer.hidden.extent(1));
  for (int64_t i = 0; i < attended.count(); ++i) attended.data()[i] *= module_math::Sigmoid(gate.data()[i]);
  return ProjectOut(reader, attended, layer.hidden.extent(2), "o_proj");
}

Result<CaseOutputs> RunSeparateGate(const ConformanceCase& conformance_case, const Attend& attend) {
  const CaseReader reader(conformance_case);
  ASSAY_TRY(const Layer layer, ReadLayer(reader));
  const std::string function = conformance_case.Str("gate_fn", "");
  const std::string scope = conformance_case.Str("gate_scope", "");
  if (function != "sigmoid" && function != "softplus") return Unsupported(fmt::format("gate_fn '{}'; known: sigmoid, softplus", function));
  if (scope != "head" && scope != "element") return Unsupported(fmt::format("gate_scope '{}'; known: head, element", scope));
  const int64_t gate_width = scope == "head" ? 1 : layer.head_dim;
  ASSAY_TRY(Array gate, Project(reader, layer.hidden, "g_proj", layer.q_heads, gate_width));
  ASSAY_TRY(const Heads heads, ReadNormedHeads(reader, layer, false));
  ASSAY_TRY(Array attended, AttendLayer(layer, heads, attend));
  gate = gate.Slice(1, layer.call.past_tokens, layer.hidden.extent(1));
  for (int64_t i = 0; i < attended.count(); ++i) {
    const double x = gate.data()[gate_width == 1 ? i / layer.head_dim : i];
    attended.data()[i] *= function == "sigmoid" ? module_math::Sigmoid(x) : module_math::Softplus(x);
  }
  return ProjectOut(reader, attended, layer.hidden.extent(2), "o_proj");
}

// Layers that either turn queries and keys (then may normalise them without weights) or have no positions and scale queries by
// 1 + attn_scale ln(1 + floor((position + 1) / floor_scale)).
Result<CaseOutputs> RunRopeOrNope(const ConformanceCase& conformance_case, const Attend& attend) {
  const CaseReader reader(conformance_case);
  ASSAY_TRY(const Layer layer, ReadLayer(reader));
  ASSAY_TRY(Heads heads, ReadHeads(reader, layer, false));
  ASSAY_TRY(const int64_t use_rope, reader.Int("use_rope", 1, 0, 1));
  ASSAY_TRY(const int64_t qk_norm, reader.Int("qk_norm", 0, 0, 1));
  ASSAY_TRY(const int64_t interleaved, reader.Int("rope_interleaved", 1, 0, 1));
  ASSAY_TRY(const int64_t tuned, reader.Int("temperature_tuning", 0, 0, 1));
  ASSAY_TRY(const double epsilon, reader.Finite("norm_epsilon", 1e-5));
  if (use_rope != 1) reader.Passes({"rope_theta"});
  if (use_rope == 1 || tuned != 1) reader.Passes({"floor_scale", "attn_scale"});
  if (use_rope == 1) {
    ASSAY_TRY(const Rope rope, ReadRope(reader, layer.head_dim, interleaved == 1 ? Rope::Pairing::kPairs : Rope::Pairing::kHalves));
    RotateAll(rope, &heads.q);
    RotateAll(rope, &heads.k);
    if (qk_norm == 1) {
      module_math::RmsNorm(heads.q, nullptr, {.epsilon = epsilon});
      module_math::RmsNorm(heads.k, nullptr, {.epsilon = epsilon});
    }
  } else if (tuned == 1) {
    ASSAY_TRY(const double floor_scale, reader.Finite("floor_scale", 8192));
    ASSAY_TRY(const double attn_scale, reader.Finite("attn_scale", 0.1));
    if (floor_scale <= 0) return BadInput(fmt::format("floor_scale is {}; it must be positive", floor_scale));
    for (int64_t b = 0; b < heads.q.extent(0); ++b) {
      for (int64_t t = 0; t < heads.q.extent(1); ++t) {
        const double temperature = 1 + attn_scale * std::log1p(std::floor(static_cast<double>(t + 1) / floor_scale));
        for (int64_t h = 0; h < layer.q_heads; ++h) {
          for (double& x : heads.q.Row(b, t, h)) x *= temperature;
        }
      }
    }
  }
  ASSAY_TRY(const Array attended, AttendLayer(layer, heads, attend));
  return ProjectOut(reader, attended, layer.hidden.extent(2), "o_proj");
}

namespace {
Result<double> DotOfInputs(const CaseReader& reader, std::string_view a_name, std::string_view b_name, int64_t width) {
  ASSAY_TRY(const Array a, reader.Get(a_name, {width}));
  ASSAY_TRY(const Array b, reader.Get(b_name, {width}));
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += a(i) * b(i);
  return sum;
}

}  // namespace

// Differential attention (Ye et al. 2024, arXiv 2410.05258) as deployed: heads h and h + H/2 form a pair; both read the values of two
// key/value heads beside each other.
Result<CaseOutputs> RunDifferential(const ConformanceCase& conformance_case, const Attend& attend) {
  const CaseReader reader(conformance_case);
  ASSAY_TRY(const Layer layer, ReadLayer(reader));
  if (layer.q_heads % 2 != 0 || layer.kv_heads % 2 != 0) return BadInput("differential attention pairs heads; their numbers must be even");
  ASSAY_TRY(Heads heads, ReadHeads(reader, layer, false));
  ASSAY_TRY(const Rope rope, ReadRope(reader, layer.head_dim));
  RotateAll(rope, &heads.q);
  RotateAll(rope, &heads.k);
  const int64_t half = layer.kv_heads / 2;
  const Array first = heads.v.Slice(2, 0, half);
  const Array second = heads.v.Slice(2, half, layer.kv_heads);
  const Array pair = module_math::Concatenate(3, {&first, &second});
  heads.v = module_math::Concatenate(2, {&pair, &pair});
  ASSAY_TRY(const Array maps, AttendLayer(layer, heads, attend));

  ASSAY_TRY(const int64_t layer_index, reader.Int("layer_idx", 0, 0, 1 << 20));
  const double lambda_of_layer = 0.8 - 0.6 * std::exp(-0.3 * static_cast<double>(layer_index));
  ASSAY_TRY(const double lambda_init, reader.Finite("lambda_init", reader.source().Has("layer_idx") ? lambda_of_layer : 0.8));
  ASSAY_TRY(const double epsilon, reader.Finite("norm_epsilon", 1e-5));
  ASSAY_TRY(const double lambda_1, DotOfInputs(reader, "lambda_q1", "lambda_k1", layer.head_dim));
  ASSAY_TRY(const double lambda_2, DotOfInputs(reader, "lambda_q2", "lambda_k2", layer.head_dim));
  const double lambda = std::exp(lambda_1) - std::exp(lambda_2) + lambda_init;
  const int64_t pairs = layer.q_heads / 2;
  Array difference = maps.Slice(2, 0, pairs);
  const Array subtracted = maps.Slice(2, pairs, layer.q_heads);
  for (int64_t i = 0; i < difference.count(); ++i) difference.data()[i] -= lambda * subtracted.data()[i];
  module_math::RmsNorm(difference, nullptr, {.epsilon = epsilon});
  for (int64_t i = 0; i < difference.count(); ++i) difference.data()[i] *= 1 - lambda_init;
  return ProjectOut(reader, difference, layer.hidden.extent(2), "o_proj");
}

namespace {
// Slopes of ALiBi (Press et al. 2021, arXiv 2108.12409). Both variants agree when H is a power of two. Otherwise "bloom" takes the power
// p below H and then every other step of the series of 2p; "mpt" builds the power above H and takes its odd entries first.
Result<std::vector<double>> AlibiSlopes(const std::string& variant, int64_t heads, double bias_max) {
  std::vector<double> slopes;
  if (variant == "mpt") {
    int64_t power = 1;
    while (power < heads) power *= 2;
    const auto slope = [&](int64_t step) { return std::exp2(-static_cast<double>(step) * bias_max / static_cast<double>(power)); };
    if (power == heads) {
      for (int64_t step = 1; step <= power; ++step) slopes.push_back(slope(step));
    } else {
      for (int64_t step = 2; step <= power; step += 2) slopes.push_back(slope(step));
      for (int64_t step = 1; step <= power; step += 2) slopes.push_back(slope(step));
    }
  } else if (variant == "bloom") {
    int64_t power = 1;
    while (power * 2 <= heads) power *= 2;
    for (int64_t step = 1; step <= power; ++step) slopes.push_back(std::exp2(-8.0 * static_cast<double>(step) / static_cast<double>(power)));
    for (int64_t step = 1; static_cast<int64_t>(slopes.size()) < heads; step += 2) {
      slopes.push_back(std::exp2(-4.0 * static_cast<double>(step) / static_cast<double>(power)));
    }
  } else {
    return Unsupported(fmt::format("slopes_variant '{}'; known: bloom, mpt", variant));
  }
  slopes.resize(static_cast<size_t>(heads));
  return slopes;
}

}  // namespace

Result<CaseOutputs> RunAlibi(const ConformanceCase& conformance_case, const Attend& attend) {
  const CaseReader reader(conformance_case);
  ASSAY_TRY(Layer layer, ReadLayer(reader));
  ASSAY_TRY(const double bias_max, reader.Finite("alibi_bias_max", 8));
  ASSAY_TRY(const double clip, reader.Finite("clip_qkv", 0));
  ASSAY_TRY(layer.call.alibi_slopes, AlibiSlopes(conformance_case.Str("slopes_variant", ""), layer.q_heads, bias_max));
  if (layer.kv_heads != layer.q_heads) return Unsupported("fused projections of grouped heads; the layouts known are multi-head");
  const std::string layout = conformance_case.Str("qkv_layout", "");
  if (layout != "head_interleaved" && layout != "blocked") return Unsupported(fmt::format("qkv_layout '{}'; known: head_interleaved, blocked", layout));
  const std::string name = conformance_case.Input("Wqkv.weight") != nullptr ? "Wqkv" : "query_key_value";
  ASSAY_TRY(Array fused, Project(reader, layer.hidden, name, 3 * layer.q_heads, layer.head_dim));
  if (clip > 0) {
    for (int64_t i = 0; i < fused.count(); ++i) fused.data()[i] = std::clamp(fused.data()[i], -clip, clip);
  }
  // [H, 3, d] or [3, H, d], brought to [3, H, d].
  if (layout == "head_interleaved") {
    fused = fused.Reshaped({fused.extent(0), fused.extent(1), layer.q_heads, 3, layer.head_dim}).Transposed({0, 1, 3, 2, 4});
    fused = fused.Reshaped({fused.extent(0), fused.extent(1), 3 * layer.q_heads, layer.head_dim});
  }
  Heads heads;
  heads.q = fused.Slice(2, 0, layer.q_heads);
  heads.k = fused.Slice(2, layer.q_heads, 2 * layer.q_heads);
  heads.v = fused.Slice(2, 2 * layer.q_heads, 3 * layer.q_heads);
  ASSAY_TRY(const Array attended, AttendLayer(layer, heads, attend));
  const std::string out_name = conformance_case.Input("out_proj.weight") != nullptr ? "out_proj" : "dense";
  ASSAY_TRY(CaseOutputs outputs, ProjectOut(reader, attended, layer.hidden.extent(2), out_name));
  Array slopes({layer.q_heads});
  std::copy(layer.call.alibi_slopes.begin(), layer.call.alibi_slopes.end(), slopes.data());
  AddOutput(&outputs, "slopes", slopes);
  return outputs;
}

}  // namespace assay::gqa
