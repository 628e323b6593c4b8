// Whole layers as deployed: GatedDeltaNetLayer (Qwen3-Next, OLMo-hybrid) and KimiDeltaAttentionLayer. Projections, causal convolution with
// SiLU, gates and output norms in fp64; the recurrence by `attend`.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "mechanisms/gated_delta_net/rule_schedule.h"

namespace assay::gated_delta_net {
namespace {

using module_math::Array;
using module_math::Sigmoid;
using module_math::Silu;
using module_math::Softplus;

constexpr int64_t kWidest = 1 << 16;

struct LayerSize {
  int64_t batch = 0, tokens = 0, model_dim = 0;
  int64_t key_heads = 0, states = 0, key_dim = 0, value_dim = 0;
  int64_t taps = 0;
  int64_t past_tokens = 0;
  bool token_by_token = false;
  double norm_epsilon = 0, l2norm_epsilon = 0;
  [[nodiscard]] int64_t keys() const { return key_heads * key_dim; }
  [[nodiscard]] int64_t values() const { return states * value_dim; }
};

// What every layer case has besides its head counts.
Status ReadCommon(const CaseReader& reader, const Array& hidden, LayerSize* size) {
  size->batch = hidden.extent(0);
  size->tokens = hidden.extent(1);
  size->model_dim = hidden.extent(2);
  ASSAY_TRY(size->taps, reader.Int("conv_kernel", 4, 1, kWidest));
  ASSAY_TRY(size->past_tokens, reader.Int("n_past", 0, 0, size->tokens));
  ASSAY_TRY(const int64_t steps, reader.Int("decode_steps", 0, 0, 1));
  size->token_by_token = steps == 1;
  ASSAY_TRY(size->norm_epsilon, reader.Finite("norm_epsilon", 1e-6));
  ASSAY_TRY(size->l2norm_epsilon, reader.Finite("l2norm_epsilon", 1e-6));
  if (size->states % size->key_heads != 0) return BadInput(fmt::format("{} value heads are no multiple of {} key heads", size->states, size->key_heads));
  return Ok();
}

// What a layer projects before its convolution, and the gate that its output passes.
struct Projected {
  Array mixed;  // [B, T, q | k | v], before the convolution
  Array z;      // [B, T, H, Dv]
  Array a, b;   // [B, T, H]: decay and beta before their activations
};

// Qwen3-Next: one product, its rows grouped by key head: q, k, then v and z of the value heads of that group; b and a likewise.
Result<Projected> ProjectGrouped(const CaseReader& reader, const Array& hidden, const LayerSize& size) {
  const int64_t group = size.states / size.key_heads;
  const int64_t row = 2 * size.key_dim + 2 * group * size.value_dim;
  ASSAY_TRY(const Array qkvz, reader.Project(hidden, "in_proj_qkvz", size.key_heads * row));
  ASSAY_TRY(const Array ba, reader.Project(hidden, "in_proj_ba", 2 * size.states));
  Projected out{Array({size.batch, size.tokens, 2 * size.keys() + size.values()}), Array({size.batch, size.tokens, size.states, size.value_dim}),
                Array({size.batch, size.tokens, size.states}), Array({size.batch, size.tokens, size.states})};
  for (int64_t n = 0; n < size.batch; ++n) {
    for (int64_t t = 0; t < size.tokens; ++t) {
      for (int64_t kh = 0; kh < size.key_heads; ++kh) {
        const int64_t base = kh * row;
        for (int64_t c = 0; c < size.key_dim; ++c) {
          out.mixed(n, t, kh * size.key_dim + c) = qkvz(n, t, base + c);
          out.mixed(n, t, size.keys() + kh * size.key_dim + c) = qkvz(n, t, base + size.key_dim + c);
        }
        for (int64_t j = 0; j < group; ++j) {
          const int64_t h = kh * group + j;
          for (int64_t c = 0; c < size.value_dim; ++c) {
            const int64_t v_at = base + 2 * size.key_dim + j * size.value_dim + c;
            out.mixed(n, t, 2 * size.keys() + h * size.value_dim + c) = qkvz(n, t, v_at);
            out.z(n, t, h, c) = qkvz(n, t, v_at + group * size.value_dim);
          }
          out.b(n, t, h) = ba(n, t, kh * 2 * group + j);
          out.a(n, t, h) = ba(n, t, kh * 2 * group + group + j);
        }
      }
    }
  }
  return out;
}

Result<Array> ProjectQkv(const CaseReader& reader, const Array& hidden, const LayerSize& size) {
  ASSAY_TRY(const Array q, reader.Project(hidden, "q_proj", size.keys()));
  ASSAY_TRY(const Array k, reader.Project(hidden, "k_proj", size.keys()));
  ASSAY_TRY(const Array v, reader.Project(hidden, "v_proj", size.values()));
  return module_math::Concatenate(2, {&q, &k, &v});
}

Result<Projected> ProjectSeparately(const CaseReader& reader, const Array& hidden, const LayerSize& size) {
  Projected out;
  ASSAY_TRY(out.mixed, ProjectQkv(reader, hidden, size));
  ASSAY_TRY(out.a, reader.Project(hidden, "a_proj", size.states));
  ASSAY_TRY(out.b, reader.Project(hidden, "b_proj", size.states));
  ASSAY_TRY(const Array z, reader.Project(hidden, "g_proj", size.values()));
  out.z = z.Reshaped({size.batch, size.tokens, size.states, size.value_dim});
  return out;
}

// Convolution and SiLU over all channels, then q, k (normalised) and v by head.
struct Convolved {
  Array q, k, v;
  Array tail;  // [B, channels, taps]
};
Result<Convolved> Convolve(const CaseReader& reader, const Array& mixed, const LayerSize& size) {
  const int64_t channels = mixed.extent(2);
  ASSAY_TRY(const Array weight, reader.Get("conv1d.weight", {channels, 1, size.taps}));
  ASSAY_TRY(const Array bias, reader.GetOptional("conv1d.bias", {channels}));
  Array y = module_math::CausalConv(mixed, weight.Reshaped({channels, size.taps}), OrNull(bias), nullptr);
  for (int64_t i = 0; i < y.count(); ++i) y.data()[i] = Silu(y.data()[i]);
  Convolved out;
  out.q = y.Slice(2, 0, size.keys()).Reshaped({size.batch, size.tokens, size.key_heads, size.key_dim});
  out.k = y.Slice(2, size.keys(), 2 * size.keys()).Reshaped({size.batch, size.tokens, size.key_heads, size.key_dim});
  out.v = y.Slice(2, 2 * size.keys(), channels).Reshaped({size.batch, size.tokens, size.states, size.value_dim});
  L2NormRows(&out.q, size.l2norm_epsilon);
  L2NormRows(&out.k, size.l2norm_epsilon);
  out.tail = module_math::ConvTail(mixed, nullptr, size.taps);
  return out;
}

Result<RuleResult> Recur(const Convolved& x, const Array& g, const Array& beta, const LayerSize& size, Form form, const Attend& attend) {
  RuleCall call;
  call.q = &x.q;
  call.k = &x.k;
  call.v = &x.v;
  call.g = &g;
  call.beta = &beta;
  call.scale = 1 / std::sqrt(static_cast<double>(size.key_dim));
  call.form = form;
  call.past_tokens = size.past_tokens;
  call.token_by_token = size.token_by_token;
  return RunSchedule(call, attend);
}

// RMS over a head's channels with weight, times an activation of the gate of the same token, then the output projection.
Result<Array> GateAndProject(const CaseReader& reader, const Array& mixed, const Array& gate, double (*activation)(double), const LayerSize& size,
                             const std::string& norm, const std::string& projection) {
  ASSAY_TRY(const Array weight, reader.Get(norm + ".weight", {size.value_dim}));
  Array o = mixed;
  module_math::RmsNorm(o, &weight, {.epsilon = size.norm_epsilon});
  for (int64_t n = 0; n < o.extent(0); ++n) {
    for (int64_t t = 0; t < o.extent(1); ++t) {
      for (int64_t h = 0; h < size.states; ++h) {
        for (int64_t c = 0; c < size.value_dim; ++c) o(n, t, h, c) *= activation(gate(n, size.past_tokens + t, h, c));
      }
    }
  }
  return reader.Project(o.Reshaped({o.extent(0), o.extent(1), size.values()}), projection, size.model_dim);
}

Result<CaseOutputs> RunGatedDeltaNet(const CaseReader& reader, const Attend& attend, Form form) {
  ASSAY_TRY(const Array hidden, reader.Get("hidden_states", {kAnyExtent, kAnyExtent, kAnyExtent}));
  LayerSize size;
  ASSAY_RETURN_IF_ERROR(reader.Require({"num_k_heads", "num_v_heads", "head_k_dim", "head_v_dim"}));
  ASSAY_TRY(size.key_heads, reader.Int("num_k_heads", 0, 1, kWidest));
  ASSAY_TRY(size.states, reader.Int("num_v_heads", 0, 1, kWidest));
  ASSAY_TRY(size.key_dim, reader.Int("head_k_dim", 0, 1, kWidest));
  ASSAY_TRY(size.value_dim, reader.Int("head_v_dim", 0, 1, kWidest));
  ASSAY_RETURN_IF_ERROR(ReadCommon(reader, hidden, &size));
  const std::string layout = reader.source().Str("layout", "grouped_fused");
  if (layout != "grouped_fused" && layout != "separate") return Unsupported(fmt::format("layout '{}'; known: grouped_fused, separate", layout));
  const bool grouped = layout == "grouped_fused";
  ASSAY_TRY(const Projected projected, grouped ? ProjectGrouped(reader, hidden, size) : ProjectSeparately(reader, hidden, size));
  ASSAY_TRY(const Convolved x, Convolve(reader, projected.mixed, size));
  ASSAY_TRY(const Array a_log, reader.Get("A_log", {size.states}));
  ASSAY_TRY(const Array dt_bias, reader.Get("dt_bias", {size.states}));
  ASSAY_TRY(const double multiplier, reader.Finite("beta_multiplier", 1));
  Array g({size.batch, size.tokens, size.states});
  Array beta({size.batch, size.tokens, size.states});
  for (int64_t n = 0; n < size.batch; ++n) {
    for (int64_t t = 0; t < size.tokens; ++t) {
      for (int64_t h = 0; h < size.states; ++h) {
        g(n, t, h) = -std::exp(a_log(h)) * Softplus(projected.a(n, t, h) + dt_bias(h));
        beta(n, t, h) = multiplier * Sigmoid(projected.b(n, t, h));
      }
    }
  }
  ASSAY_TRY(const RuleResult result, Recur(x, g, beta, size, form, attend));
  ASSAY_TRY(const Array output, GateAndProject(reader, result.output, projected.z, Silu, size, grouped ? "norm" : "o_norm", grouped ? "out_proj" : "o_proj"));
  CaseOutputs outputs;
  AddOutput(&outputs, "output", output);
  AddOutput(&outputs, "final_state", result.state);
  AddOutput(&outputs, "final_conv_state", x.tail);
  return outputs;
}

// Per-channel log decay from the forget gate: unbounded, or the bounded form of later ports, which is another function, not a safer one.
Result<Array> KimiDecay(const CaseReader& reader, const Array& hidden, const LayerSize& size) {
  const std::string gate = reader.source().Str("gate", "softplus");
  if (gate != "softplus" && gate != "safe_sigmoid") return Unsupported(fmt::format("gate '{}'; known: softplus, safe_sigmoid", gate));
  ASSAY_TRY(const double lower_bound, reader.Finite("lower_bound", -5));
  ASSAY_TRY(const TensorView* down_view, reader.View("forget_gate.f_a_proj.weight", {kAnyExtent, size.model_dim}));
  ASSAY_TRY(const Array down, reader.Project(hidden, "forget_gate.f_a_proj", down_view->shape[0]));
  ASSAY_TRY(const Array f, reader.Project(down, "forget_gate.f_b_proj", size.keys()));
  ASSAY_TRY(const Array dt_bias, reader.Get("forget_gate.dt_bias", {size.keys()}));
  const TensorView* a_view = reader.source().Input("forget_gate.A_log");
  if (a_view == nullptr || a_view->count() != size.states) return BadInput("input 'forget_gate.A_log' needs one value a head");
  const Array a_log = Array::From(*a_view);
  Array g({size.batch, size.tokens, size.states, size.key_dim});
  for (int64_t n = 0; n < size.batch; ++n) {
    for (int64_t t = 0; t < size.tokens; ++t) {
      for (int64_t h = 0; h < size.states; ++h) {
        const double a = std::exp(a_log.data()[h]);
        for (int64_t c = 0; c < size.key_dim; ++c) {
          const double x = f(n, t, h * size.key_dim + c) + dt_bias(h * size.key_dim + c);
          g(n, t, h, c) = gate == "softplus" ? -a * Softplus(x) : lower_bound * Sigmoid(a * x);
        }
      }
    }
  }
  return g;
}

Result<CaseOutputs> RunKimi(const CaseReader& reader, const Attend& attend, Form form) {
  ASSAY_TRY(const Array hidden, reader.Get("hidden_states", {kAnyExtent, kAnyExtent, kAnyExtent}));
  LayerSize size;
  ASSAY_RETURN_IF_ERROR(reader.Require({"num_heads", "head_dim"}));
  ASSAY_TRY(size.states, reader.Int("num_heads", 0, 1, kWidest));
  ASSAY_TRY(size.key_dim, reader.Int("head_dim", 0, 1, kWidest));
  size.key_heads = size.states;
  size.value_dim = size.key_dim;
  ASSAY_RETURN_IF_ERROR(ReadCommon(reader, hidden, &size));
  ASSAY_TRY(const Array mixed, ProjectQkv(reader, hidden, size));
  ASSAY_TRY(const Convolved x, Convolve(reader, mixed, size));
  ASSAY_TRY(const Array g, KimiDecay(reader, hidden, size));
  ASSAY_TRY(Array beta, reader.Project(hidden, "b_proj", size.states));
  for (int64_t i = 0; i < beta.count(); ++i) beta.data()[i] = Sigmoid(beta.data()[i]);
  ASSAY_TRY(const TensorView* down_view, reader.View("g_a_proj.weight", {kAnyExtent, size.model_dim}));
  ASSAY_TRY(const Array down, reader.Project(hidden, "g_a_proj", down_view->shape[0]));
  ASSAY_TRY(const Array gate, reader.Project(down, "g_b_proj", size.values()));
  ASSAY_TRY(const RuleResult result, Recur(x, g, beta, size, form, attend));
  const Array gate4 = gate.Reshaped({size.batch, size.tokens, size.states, size.value_dim});
  ASSAY_TRY(const Array output, GateAndProject(reader, result.output, gate4, Sigmoid, size, "o_norm", "o_proj"));
  CaseOutputs outputs;
  AddOutput(&outputs, "output", output);
  AddOutput(&outputs, "final_state", result.state);
  AddOutput(&outputs, "final_conv_state", x.tail);
  AddOutput(&outputs, "g", g);
  return outputs;
}

}  // namespace

template <Form kForm>
Result<CaseOutputs> RunGatedDeltaNetLayer(const ConformanceCase& conformance_case, const Attend& attend) {
  return RunGatedDeltaNet(CaseReader(conformance_case), attend, kForm);
}
template <Form kForm>
Result<CaseOutputs> RunKimiDeltaAttentionLayer(const ConformanceCase& conformance_case, const Attend& attend) {
  return RunKimi(CaseReader(conformance_case), attend, kForm);
}

template Result<CaseOutputs> RunGatedDeltaNetLayer<Form::kStepwise>(const ConformanceCase&, const Attend&);
template Result<CaseOutputs> RunGatedDeltaNetLayer<Form::kChunked>(const ConformanceCase&, const Attend&);
template Result<CaseOutputs> RunKimiDeltaAttentionLayer<Form::kStepwise>(const ConformanceCase&, const Attend&);
template Result<CaseOutputs> RunKimiDeltaAttentionLayer<Form::kChunked>(const ConformanceCase&, const Attend&);

}  // namespace assay::gated_delta_net
