#include "mechanisms/plain_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "mechanisms/case_reader.h"
#include "mechanisms/module_math.h"

namespace assay {
namespace {

using module_math::Array;
using module_math::Rope;

// ---- Rotary positions

// position_ids as [T] or [B, T].
Result<Array> ReadPositions(const CaseReader& reader, int64_t batch, int64_t tokens) {
  const TensorView* positions = reader.source().Input("position_ids");
  if (positions != nullptr && positions->rank == 2) return reader.Get("position_ids", {batch, tokens});
  ASSAY_TRY(const Array row, reader.Get("position_ids", {tokens}));
  std::vector<const Array*> rows(static_cast<size_t>(batch), &row);
  if (batch == 0) return Array({0, tokens});
  return module_math::Concatenate(0, rows).Reshaped({batch, tokens});
}

void RotateHeads(const Array& positions, const Rope& rope, Array* x) {
  for (int64_t b = 0; b < x->extent(0); ++b) {
    for (int64_t h = 0; h < x->extent(1); ++h) {
      for (int64_t t = 0; t < x->extent(2); ++t) module_math::Rotate(x->Row(b, h, t), positions(b, t), rope);
    }
  }
}

Result<CaseOutputs> RunRotaryApply(const ConformanceCase& conformance_case, const Attend&) {
  const CaseReader reader(conformance_case);
  ASSAY_TRY(Array x, reader.Get("x", {kAnyExtent, kAnyExtent, kAnyExtent, kAnyExtent}));
  const int64_t width = x.extent(3);
  ASSAY_TRY(const double theta, reader.Finite("rope_theta", 10000));
  ASSAY_TRY(const int64_t offset, reader.Int("rotary_offset", 0, 0, width));
  ASSAY_TRY(const int64_t rotary_dim, reader.Int("rotary_dim", width - offset, 0, width - offset));
  const std::string pairing = conformance_case.Str("pairing", "halves");
  const std::string order = conformance_case.Str("output_order", "in_place");
  if (pairing != "halves" && pairing != "pairs") return Unsupported(fmt::format("pairing '{}'; known: halves, pairs", pairing));
  if (order != "in_place" && order != "evens_then_odds") return Unsupported(fmt::format("output_order '{}'; known: in_place, evens_then_odds", order));
  ASSAY_TRY(const Array positions, ReadPositions(reader, x.extent(0), x.extent(2)));
  RotateHeads(positions, module_math::PlainRope(theta, rotary_dim, pairing == "pairs" ? Rope::Pairing::kPairs : Rope::Pairing::kHalves, offset), &x);
  if (order == "evens_then_odds") {
    const Array turned = x;
    const int64_t n = rotary_dim / 2;
    for (int64_t b = 0; b < x.extent(0); ++b) {
      for (int64_t h = 0; h < x.extent(1); ++h) {
        for (int64_t t = 0; t < x.extent(2); ++t) {
          for (int64_t i = 0; i < n; ++i) {
            x(b, h, t, offset + i) = turned(b, h, t, offset + 2 * i);
            x(b, h, t, offset + n + i) = turned(b, h, t, offset + 2 * i + 1);
          }
        }
      }
    }
  }
  CaseOutputs outputs;
  AddOutput(&outputs, "output", x);
  return outputs;
}

Result<std::vector<double>> ReadFactors(const CaseReader& reader, std::string_view name) {
  ASSAY_TRY(const Array factors, reader.GetOptional(name, {kAnyExtent}));
  return std::vector<double>(factors.data(), factors.data() + factors.count());
}

Result<module_math::RopeScaling> ReadScaling(const CaseReader& reader) {
  module_math::RopeScaling scaling;
  scaling.type = reader.source().Str("rope_type", "default");
  ASSAY_TRY(scaling.head_dim, reader.Int("head_dim", 0, 2, 65536));
  ASSAY_TRY(scaling.theta, reader.Finite("rope_theta", scaling.theta));
  ASSAY_TRY(scaling.partial_rotary_factor, reader.Finite("partial_rotary_factor", scaling.partial_rotary_factor));
  ASSAY_TRY(scaling.attention_factor, reader.Finite("attention_factor", scaling.attention_factor));
  ASSAY_RETURN_IF_ERROR(reader.ReadScaling("", &scaling));
  ASSAY_TRY(scaling.short_factor, ReadFactors(reader, "short_factor"));
  ASSAY_TRY(scaling.long_factor, ReadFactors(reader, "long_factor"));
  return scaling;
}

Result<CaseOutputs> RunRopeScaling(const ConformanceCase& conformance_case, const Attend&) {
  const CaseReader reader(conformance_case);
  ASSAY_TRY(module_math::RopeScaling scaling, ReadScaling(reader));
  ASSAY_TRY(Array x, reader.Get("x", {kAnyExtent, kAnyExtent, kAnyExtent, scaling.head_dim}));
  ASSAY_TRY(const Array positions, ReadPositions(reader, x.extent(0), x.extent(2)));
  for (int64_t i = 0; i < positions.count(); ++i) scaling.longest_position = std::max(scaling.longest_position, positions.data()[i]);
  ASSAY_TRY(const Rope rope, module_math::ScaledRope(scaling));
  RotateHeads(positions, rope, &x);

  const int64_t tokens = x.extent(2);
  const auto n = static_cast<int64_t>(rope.inverse_frequency.size());
  Array inverse_frequency({n});
  Array cosine({tokens, n});
  Array sine({tokens, n});
  for (int64_t i = 0; i < n; ++i) {
    inverse_frequency(i) = rope.inverse_frequency[static_cast<size_t>(i)];
    for (int64_t t = 0; t < tokens && positions.count() > 0; ++t) {
      cosine(t, i) = std::cos(positions(0, t) * inverse_frequency(i)) * rope.attention_factor;
      sine(t, i) = std::sin(positions(0, t) * inverse_frequency(i)) * rope.attention_factor;
    }
  }
  Array factor({1});
  factor(0) = rope.attention_factor;
  CaseOutputs outputs;
  AddOutput(&outputs, "inv_freq", inverse_frequency);
  AddOutput(&outputs, "cos", cosine);
  AddOutput(&outputs, "sin", sine);
  AddOutput(&outputs, "attention_factor", factor);
  AddOutput(&outputs, "output", x);
  return outputs;
}

// ONNX RotaryEmbedding: cosines and sines come as a cache [positions, n] with position_ids, or ready for each token as [B, T, n].
Result<CaseOutputs> RunOnnxRotary(const ConformanceCase& conformance_case, const Attend&) {
  const CaseReader reader(conformance_case);
  const TensorView* given = conformance_case.Input(0);
  if (given == nullptr || (given->rank != 3 && given->rank != 4)) return BadInput("input 0 must have 3 or 4 dimensions");
  Array x = Array::From(*given);
  const bool flat = given->rank == 3;
  if (flat) {
    ASSAY_TRY(const int64_t heads, reader.Int("num_heads", 0, 1, 1 << 20));
    if (x.extent(2) % heads != 0) return BadInput(fmt::format("{} channels are no multiple of {} heads", x.extent(2), heads));
    x = x.Reshaped({x.extent(0), x.extent(1), heads, x.extent(2) / heads}).Transposed({0, 2, 1, 3});
  }
  const int64_t batch = x.extent(0);
  const int64_t tokens = x.extent(2);
  const int64_t width = x.extent(3);
  ASSAY_TRY(const int64_t interleaved, reader.Int("interleaved", 0, 0, 1));
  ASSAY_TRY(int64_t rotary_dim, reader.Int("rotary_embedding_dim", 0, 0, width));
  if (rotary_dim == 0) rotary_dim = width;
  const int64_t n = rotary_dim / 2;
  const bool cached = conformance_case.Input("position_ids") != nullptr;
  Array positions;
  if (cached) {
    ASSAY_TRY(positions, ReadPositions(reader, batch, tokens));
  }
  const auto angles = [&](std::string_view name) -> Result<Array> {
    if (!cached) return reader.Get(name, {batch, tokens, n});
    ASSAY_TRY(const Array cache, reader.Get(name, {kAnyExtent, n}));
    Array picked({batch, tokens, n});
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t t = 0; t < tokens; ++t) {
        const auto position = static_cast<int64_t>(positions(b, t));
        if (position < 0 || position >= cache.extent(0)) return BadInput(fmt::format("position {} lies outside a cache of {}", position, cache.extent(0)));
        for (int64_t i = 0; i < n; ++i) picked(b, t, i) = cache(position, i);
      }
    }
    return picked;
  };
  ASSAY_TRY(const Array cosine, angles("cos_cache"));
  ASSAY_TRY(const Array sine, angles("sin_cache"));
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < x.extent(1); ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t i = 0; i < n; ++i) {
          double& first = x(b, h, t, interleaved == 1 ? 2 * i : i);
          double& second = x(b, h, t, interleaved == 1 ? 2 * i + 1 : i + n);
          const double turned = first * cosine(b, t, i) - second * sine(b, t, i);
          second = first * sine(b, t, i) + second * cosine(b, t, i);
          first = turned;
        }
      }
    }
  }
  if (flat) x = x.Transposed({0, 2, 1, 3}).Reshaped({batch, tokens, x.extent(1) * width});
  CaseOutputs outputs;
  AddOutput(&outputs, conformance_case.outputs.front().name, x);
  return outputs;
}

// ---- Norm, cache update, convolution

Result<CaseOutputs> RunRmsNormalization(const ConformanceCase& conformance_case, const Attend&) {
  const CaseReader reader(conformance_case);
  const TensorView* given = conformance_case.Input(0);
  const TensorView* scale_view = conformance_case.Input(1);
  if (given == nullptr || scale_view == nullptr || given->rank < 1) return BadInput("RMSNormalization needs X and scale");
  Array x = Array::From(*given);
  const int rank = x.rank();
  ASSAY_TRY(const int64_t axis_given, reader.Int("axis", -1, -rank, rank - 1));
  ASSAY_TRY(const double epsilon, reader.Finite("epsilon", 1e-5));
  const int64_t axis = axis_given < 0 ? axis_given + rank : axis_given;
  int64_t width = 1;
  for (int64_t i = axis; i < rank; ++i) width *= x.shape()[static_cast<size_t>(i)];
  const Array scale = Array::From(*scale_view);
  if (scale.count() != width && scale.count() != 1) return BadInput(fmt::format("scale has {} values for {} normalised elements", scale.count(), width));
  Array weight({width});
  for (int64_t i = 0; i < width; ++i) weight(i) = scale.data()[scale.count() == 1 ? 0 : i];
  const std::vector<int64_t> shape = x.shape();
  if (width > 0) {
    x = x.Reshaped({x.count() / width, width});
    module_math::RmsNorm(x, &weight, {.epsilon = epsilon});
    x = x.Reshaped(shape);
  }
  CaseOutputs outputs;
  AddOutput(&outputs, conformance_case.outputs.front().name, x);
  return outputs;
}

// ONNX TensorScatter: `update` written into the past cache along `axis`, at write_indices[b], wrapping round in circular mode.
Result<CaseOutputs> RunTensorScatter(const ConformanceCase& conformance_case, const Attend&) {
  const CaseReader reader(conformance_case);
  const TensorView* past = conformance_case.Input(0);
  const TensorView* update = conformance_case.Input(1);
  if (past == nullptr || update == nullptr || past->rank < 2 || update->rank != past->rank) return BadInput("TensorScatter needs a cache and an update of one rank >= 2");
  Array cache = Array::From(*past);
  const Array fresh = Array::From(*update);
  const int rank = cache.rank();
  ASSAY_TRY(int64_t axis, reader.Int("axis", -2, -rank, rank - 1));
  if (axis < 0) axis += rank;
  if (axis == 0) return BadInput("TensorScatter's axis 0 is the batch");
  const std::string mode = conformance_case.Str("mode", "linear");
  if (mode != "linear" && mode != "circular") return Unsupported(fmt::format("mode '{}'; known: linear, circular", mode));
  for (int i = 0; i < rank; ++i) {
    if (i != axis && cache.extent(i) != fresh.extent(i)) return BadInput("cache and update disagree outside the axis");
  }
  const int64_t batch = cache.extent(0);
  Array start({batch});
  if (conformance_case.Input("write_indices") != nullptr) {
    ASSAY_TRY(start, reader.Get("write_indices", {batch}));
  }
  const int64_t slots = cache.extent(static_cast<int>(axis));
  const int64_t tokens = fresh.extent(static_cast<int>(axis));
  int64_t middle = 1;  // axes between the batch and the axis
  for (int i = 1; i < axis; ++i) middle *= cache.extent(i);
  int64_t inner = 1;
  for (int i = static_cast<int>(axis) + 1; i < rank; ++i) inner *= cache.extent(i);
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t m = 0; m < middle; ++m) {
      for (int64_t t = 0; t < tokens; ++t) {
        int64_t slot = static_cast<int64_t>(start(b)) + t;
        if (mode == "circular" && slots > 0) slot = (slot % slots + slots) % slots;
        if (slot < 0 || slot >= slots) return BadInput(fmt::format("write index {} lies outside a cache of {}", slot, slots));
        std::copy_n(fresh.data() + ((b * middle + m) * tokens + t) * inner, inner, cache.data() + ((b * middle + m) * slots + slot) * inner);
      }
    }
  }
  CaseOutputs outputs;
  AddOutput(&outputs, conformance_case.outputs.front().name, cache);
  return outputs;
}

// ONNX CausalConvWithState: x [B, C, T], weight [C, 1, K], bias [C], past_state [B, C, K - 1].
Result<CaseOutputs> RunCausalConv(const ConformanceCase& conformance_case, const Attend&) {
  const CaseReader reader(conformance_case);
  const TensorView* given = conformance_case.Input(0);
  const TensorView* weight_view = conformance_case.Input(1);
  if (given == nullptr || given->rank != 3 || weight_view == nullptr || weight_view->rank != 3) return BadInput("CausalConvWithState needs X [B,C,T] and W [C,1,K]");
  const int64_t batch = given->shape[0];
  const int64_t channels = given->shape[1];
  const int64_t taps = weight_view->shape[2];
  if (weight_view->shape[0] != channels || weight_view->shape[1] != 1 || taps < 1) return BadInput("CausalConvWithState's W is [C,1,K]");
  const std::string activation = conformance_case.Str("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish") return Unsupported(fmt::format("activation '{}'; known: none, silu, swish", activation));
  const TensorView* bias_view = conformance_case.Input(2);
  const TensorView* past_view = conformance_case.Input(3);
  if (bias_view != nullptr && (bias_view->rank != 1 || bias_view->shape[0] != channels)) return BadInput("CausalConvWithState's bias is [C]");
  if (past_view != nullptr && (past_view->rank != 3 || past_view->shape[0] != batch || past_view->shape[1] != channels || past_view->shape[2] != taps - 1)) {
    return BadInput("CausalConvWithState's past state is [B,C,K-1]");
  }
  const double elements = static_cast<double>(given->count());
  ASSAY_RETURN_IF_ERROR(CheckWork(elements * static_cast<double>(taps), elements));
  const Array x = Array::From(*given).Transposed({0, 2, 1});
  const Array weight = Array::From(*weight_view).Reshaped({channels, taps});
  const Array bias = bias_view != nullptr ? Array::From(*bias_view) : Array();
  const Array past = past_view != nullptr ? Array::From(*past_view) : Array();
  Array y = module_math::CausalConv(x, weight, OrNull(bias), OrNull(past));
  if (activation != "none") {
    for (int64_t i = 0; i < y.count(); ++i) y.data()[i] = module_math::Silu(y.data()[i]);
  }
  CaseOutputs outputs;
  for (const formats::CaseTensor& expected : conformance_case.outputs) {
    if (expected.index == 0) AddOutput(&outputs, expected.name, y.Transposed({0, 2, 1}));
    if (expected.index == 1) AddOutput(&outputs, expected.name, module_math::ConvTail(x, OrNull(past), taps - 1));
  }
  return outputs;
}

constexpr CaseAdapter kCases[] = {
    {"RotaryEmbedding", RunOnnxRotary},       {"RotaryEmbeddingApply", RunRotaryApply},     {"RopeScaling", RunRopeScaling},
    {"RMSNormalization", RunRmsNormalization}, {"TensorScatter", RunTensorScatter},          {"CausalConvWithState", RunCausalConv},
};

}  // namespace

std::span<const CaseAdapter> PlainCases() { return kCases; }

}  // namespace assay
