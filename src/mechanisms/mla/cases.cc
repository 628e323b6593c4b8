// Whole latent-attention modules as deployed (DeepSeek-V2, V3, Kimi Linear): projections, latent norms, rotary keys in fp64; the mixer by
// `attend`, in either form. verify runs both, so that they agree with the case and with each other.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "mechanisms/mla/mla.h"
#include "mechanisms/mla/reference.h"
#include "mechanisms/softmax_cases.h"

namespace assay::mla {
namespace {

using module_math::Array;
using module_math::Rope;

constexpr int64_t kWidest = 1 << 16;

// A layer up to its attention.
struct Module {
  int64_t heads = 0, rank = 0, nope = 0, rope = 0, value = 0;
  Array q;       // [B, T, H, dn + dr], rotated
  Array latent;  // [B, T, r], normalised
  Array k_rope;  // [B, T, dr], rotated
  Array up;      // [H, dn + dv, r]: W_UK above W_UV
  double scale = 0;
  int64_t past_tokens = 0;
  bool token_by_token = false;
};

// The rotary positions of a module, from its attributes; empty for a module without positions.
Result<std::optional<Rope>> ReadRope(const CaseReader& reader, int64_t rope_dim) {
  const ConformanceCase& source = reader.source();
  const std::string mode = source.Str("rope_mode", "pairs");
  if (mode == "none" || rope_dim == 0) {
    reader.Passes({"rope_type", "rope_theta", "rope_attention_factor"});
    return std::optional<Rope>();
  }
  if (mode != "pairs" && mode != "halves") return Unsupported(fmt::format("rope_mode '{}'; known: none, pairs, halves", mode));
  module_math::RopeScaling scaling;
  scaling.type = source.Str("rope_type", "default");
  scaling.head_dim = rope_dim;
  ASSAY_TRY(scaling.theta, reader.Finite("rope_theta", 10000));
  // Attributes of a scaling carry its name: yarn_factor, linear_factor.
  ASSAY_RETURN_IF_ERROR(reader.ReadScaling(scaling.type + "_", &scaling));
  ASSAY_TRY(scaling.attention_factor, reader.Finite("rope_attention_factor", 0));
  ASSAY_TRY(Rope rope, module_math::ScaledRope(scaling));
  rope.pairing = mode == "pairs" ? Rope::Pairing::kPairs : Rope::Pairing::kHalves;
  return std::optional<Rope>(std::move(rope));
}

// (dn + dr)^-1/2, times mscale^2 only where yarn comes with mscale_all_dim; the case may state it.
Result<double> ReadScale(const CaseReader& reader, const Module& module) {
  double scale = 1 / std::sqrt(static_cast<double>(module.nope + module.rope));
  if (reader.source().Str("rope_type", "default") == "yarn") {
    ASSAY_TRY(const double factor, reader.Finite("yarn_factor", 1));
    ASSAY_TRY(const double all_dim, reader.Finite("yarn_mscale_all_dim", 0));
    if (all_dim != 0) scale *= std::pow(module_math::YarnMscale(factor, all_dim), 2);
  }
  return reader.Finite("scale", scale);
}

Status RotateQueriesAndKeys(const CaseReader& reader, Module* module) {
  ASSAY_TRY(const std::optional<Rope> rope, ReadRope(reader, module->rope));
  if (!rope) return Ok();
  for (int64_t b = 0; b < module->q.extent(0); ++b) {
    for (int64_t t = 0; t < module->q.extent(1); ++t) {
      const auto position = static_cast<double>(t);
      for (int64_t h = 0; h < module->heads; ++h) {
        module_math::Rotate(module->q.Row(b, t, h).subspan(static_cast<size_t>(module->nope)), position, *rope);
      }
      module_math::Rotate(module->k_rope.Row(b, t), position, *rope);
    }
  }
  return Ok();
}

Result<Module> ReadModule(const CaseReader& reader) {
  Module module;
  ASSAY_RETURN_IF_ERROR(reader.Require({"num_heads", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"}));
  ASSAY_TRY(const Array hidden, reader.Get("hidden_states", {kAnyExtent, kAnyExtent, kAnyExtent}));
  ASSAY_TRY(module.heads, reader.Int("num_heads", 0, 1, kWidest));
  ASSAY_TRY(module.rank, reader.Int("kv_lora_rank", 0, 1, kWidest));
  ASSAY_TRY(module.nope, reader.Int("qk_nope_head_dim", 0, 1, kWidest));
  ASSAY_TRY(module.rope, reader.Int("qk_rope_head_dim", 0, 0, kWidest));
  ASSAY_TRY(module.value, reader.Int("v_head_dim", 0, 1, kWidest));
  ASSAY_TRY(const int64_t q_rank, reader.Int("q_lora_rank", 0, 0, kWidest));
  ASSAY_TRY(module.past_tokens, reader.Int("n_past", 0, 0, hidden.extent(1)));
  ASSAY_TRY(const int64_t steps, reader.Int("decode_steps", 0, 0, 1));
  ASSAY_TRY(const double epsilon, reader.Finite("norm_epsilon", 1e-6));
  module.token_by_token = steps == 1;
  ASSAY_TRY(module.scale, ReadScale(reader, module));

  const int64_t batch = hidden.extent(0);
  const int64_t tokens = hidden.extent(1);
  const int64_t q_width = module.heads * (module.nope + module.rope);
  if (q_rank > 0) {
    ASSAY_TRY(Array q_latent, reader.Project(hidden, "q_a_proj", q_rank));
    ASSAY_TRY(const Array weight, reader.Get("q_a_layernorm.weight", {q_rank}));
    module_math::RmsNorm(q_latent, &weight, {.epsilon = epsilon});
    ASSAY_TRY(module.q, reader.Project(q_latent, "q_b_proj", q_width));
  } else {
    ASSAY_TRY(module.q, reader.Project(hidden, "q_proj", q_width));
  }
  module.q = module.q.Reshaped({batch, tokens, module.heads, module.nope + module.rope});
  ASSAY_TRY(const Array compressed, reader.Project(hidden, "kv_a_proj_with_mqa", module.rank + module.rope));
  module.latent = compressed.Slice(2, 0, module.rank);
  module.k_rope = compressed.Slice(2, module.rank, module.rank + module.rope);
  ASSAY_TRY(const Array norm, reader.Get("kv_a_layernorm.weight", {module.rank}));
  module_math::RmsNorm(module.latent, &norm, {.epsilon = epsilon});
  ASSAY_TRY(const Array up, reader.Get("kv_b_proj.weight", {module.heads * (module.nope + module.value), module.rank}));
  module.up = up.Reshaped({module.heads, module.nope + module.value, module.rank});
  ASSAY_RETURN_IF_ERROR(RotateQueriesAndKeys(reader, &module));
  return module;
}

SequenceCall CallOf(const Module& module) {
  SequenceCall call;
  call.mechanism = "mla";
  call.scale = module.scale;
  call.past_tokens = module.past_tokens;
  call.token_by_token = module.token_by_token;
  return call;
}

Result<Array> AttendExpanded(const Module& module, const Attend& attend) {
  const int64_t batch = module.q.extent(0);
  const int64_t tokens = module.q.extent(1);
  Array k({batch, tokens, module.heads, module.nope + module.rope});
  Array v({batch, tokens, module.heads, module.value});
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < tokens; ++t) {
      const auto rope = module.k_rope.Row(b, t);
      for (int64_t h = 0; h < module.heads; ++h) {
        const auto key = k.Row(b, t, h);
        UpProject(module.up.Row(h, 0).data(), module.latent.Row(b, t).data(), module.nope, module.rank, key.data());
        std::copy(rope.begin(), rope.end(), key.begin() + module.nope);
        UpProject(module.up.Row(h, module.nope).data(), module.latent.Row(b, t).data(), module.value, module.rank, v.Row(b, t, h).data());
      }
    }
  }
  SequenceCall call = CallOf(module);
  call.q = &module.q;
  call.k = &k;
  call.v = &v;
  return AttendSequence(call, attend);
}

Result<Array> AttendAbsorbed(const Module& module, const Attend& attend) {
  const int64_t batch = module.q.extent(0);
  const int64_t tokens = module.q.extent(1);
  Array q({batch, tokens, module.heads, module.rank + module.rope});
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < module.heads; ++h) {
        const auto from = module.q.Row(b, t, h);
        const auto to = q.Row(b, t, h);
        Absorb(module.up.Row(h, 0).data(), from.data(), module.nope, module.rank, to.data());
        std::copy(from.begin() + module.nope, from.end(), to.begin() + module.rank);
      }
    }
  }
  const Array latent = module.latent.Reshaped({batch, tokens, 1, module.rank});
  const Array rope = module.k_rope.Reshaped({batch, tokens, 1, module.rope});
  const Array k = module.rope > 0 ? module_math::Concatenate(3, {&latent, &rope}) : latent;
  SequenceCall call = CallOf(module);
  call.q = &q;
  call.k = &k;
  call.v = &latent;
  // The mixer gets no V: its values are the leading channels of K, as in a latent cache.
  const Attend without_values = [&](Problem& problem) {
    std::erase_if(problem.arguments, [](const Argument& argument) { return argument.role == Role::kV; });
    return attend(problem);
  };
  ASSAY_TRY(const Array mixed, AttendSequence(call, without_values));
  Array output({batch, mixed.extent(1), module.heads, module.value});
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < mixed.extent(1); ++t) {
      for (int64_t h = 0; h < module.heads; ++h) {
        UpProject(module.up.Row(h, module.nope).data(), mixed.Row(b, t, h).data(), module.value, module.rank, output.Row(b, t, h).data());
      }
    }
  }
  return output;
}

// The rotary key as the cache stores it: some code keeps pairs in place, some writes evens then odds.
Result<Array> CachedRope(const CaseReader& reader, const Module& module) {
  const std::string order = reader.source().Str("cache_k_rope_order", "in_place");
  if (order != "in_place" && order != "evens_then_odds") return Unsupported(fmt::format("cache_k_rope_order '{}'; known: in_place, evens_then_odds", order));
  Array cached({module.k_rope.extent(0), 1, module.k_rope.extent(1), module.rope});
  for (int64_t b = 0; b < cached.extent(0); ++b) {
    for (int64_t t = 0; t < cached.extent(2); ++t) {
      for (int64_t c = 0; c < module.rope; ++c) {
        const int64_t to = order == "in_place" ? c : c / 2 + (c % 2) * ((module.rope + 1) / 2);
        cached(b, 0, t, to) = module.k_rope(b, t, c);
      }
    }
  }
  return cached;
}

Result<CaseOutputs> RunModule(const ConformanceCase& conformance_case, const Attend& attend, Form form) {
  const CaseReader reader(conformance_case);
  ASSAY_TRY(const Module module, ReadModule(reader));
  ASSAY_TRY(const Array mixed, form == Form::kExpanded ? AttendExpanded(module, attend) : AttendAbsorbed(module, attend));
  const int64_t channels = module.heads * module.value;
  ASSAY_TRY(const TensorView* hidden, reader.View("hidden_states", {kAnyExtent, kAnyExtent, kAnyExtent}));
  ASSAY_TRY(const Array output, reader.Project(mixed.Reshaped({mixed.extent(0), mixed.extent(1), channels}), "o_proj", hidden->shape[2]));
  ASSAY_TRY(const Array rope, CachedRope(reader, module));
  CaseOutputs outputs;
  AddOutput(&outputs, "output", output);
  AddOutput(&outputs, "cache_latent", module.latent.Reshaped({module.latent.extent(0), 1, module.latent.extent(1), module.rank}));
  AddOutput(&outputs, "cache_k_rope", rope);
  return outputs;
}

}  // namespace

Result<CaseOutputs> RunExpanded(const ConformanceCase& conformance_case, const Attend& attend) { return RunModule(conformance_case, attend, Form::kExpanded); }
Result<CaseOutputs> RunAbsorbed(const ConformanceCase& conformance_case, const Attend& attend) { return RunModule(conformance_case, attend, Form::kAbsorbed); }

}  // namespace assay::mla
