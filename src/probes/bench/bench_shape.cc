#include "probes/bench/bench_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace assay::bench {
namespace {

constexpr Shape kShapes[] = {
    {"prefill_512_bf16", Shape::Family::kPrefill, 1, 512, 512, 32, 8, 128, 128, DType::kBf16, Causal::kBottomRight},
    {"prefill_2048_bf16", Shape::Family::kPrefill, 1, 2048, 2048, 32, 8, 128, 128, DType::kBf16, Causal::kBottomRight},
    {"prefill_8192_bf16", Shape::Family::kPrefill, 1, 8192, 8192, 32, 8, 128, 128, DType::kBf16, Causal::kBottomRight},
    {"prefill_2048_fp32", Shape::Family::kPrefill, 1, 2048, 2048, 32, 8, 128, 128, DType::kF32, Causal::kBottomRight},
    {"encoder_8x512_bf16", Shape::Family::kPrefill, 8, 512, 512, 12, 12, 64, 64, DType::kBf16, Causal::kNone},
    {"decode_32k_b1_bf16", Shape::Family::kDecode, 1, 1, 32768, 32, 8, 128, 128, DType::kBf16, Causal::kBottomRight},
    {"decode_32k_b8_bf16", Shape::Family::kDecode, 8, 1, 32768, 32, 8, 128, 128, DType::kBf16, Causal::kBottomRight},
    {"decode_32k_b1_int8", Shape::Family::kDecode, 1, 1, 32768, 32, 8, 128, 128, DType::kBf16, Causal::kBottomRight, DType::kI8,
     ScaleGranularity::kPerToken, ScaleGranularity::kPerToken},
    {"decode_32k_b1_int8_q16", Shape::Family::kDecode, 1, 1, 32768, 32, 8, 128, 128, DType::kBf16, Causal::kBottomRight, DType::kI8,
     ScaleGranularity::kPerToken, ScaleGranularity::kPerToken, IntegerProducts::kShorts},
    {"decode_32k_b1_int4", Shape::Family::kDecode, 1, 1, 32768, 32, 8, 128, 128, DType::kBf16, Causal::kBottomRight, DType::kI4,
     ScaleGranularity::kPerPageChannel, ScaleGranularity::kPerToken},
    {"decode_32k_b1_int4_q16", Shape::Family::kDecode, 1, 1, 32768, 32, 8, 128, 128, DType::kBf16, Causal::kBottomRight, DType::kI4,
     ScaleGranularity::kPerPageChannel, ScaleGranularity::kPerToken, IntegerProducts::kShorts},
    {"decode_4k_b1_bf16", Shape::Family::kDecode, 1, 1, 4096, 32, 8, 128, 128, DType::kBf16, Causal::kBottomRight},
    {"mla_decode_4k_bf16", Shape::Family::kDecode, 1, 1, 4096, 16, 1, 576, 512, DType::kBf16, Causal::kBottomRight},
    {"gdn_prefill_4096_bf16", Shape::Family::kRecurrentChunk, 1, 4096, 4096, 16, 16, 128, 128, DType::kBf16, Causal::kNone},
    {"gdn_decode_b8_fp32", Shape::Family::kRecurrentStep, 8, 1, 1, 16, 16, 128, 128, DType::kF32, Causal::kNone},
    {"matmul_4096_bf16", Shape::Family::kMatmul, 1, 4096, 4096, 1, 1, 4096, 0, DType::kBf16, Causal::kNone},
};

}  // namespace

std::span<const Shape> AllShapes() { return kShapes; }

bool IsRecurrent(const Shape& shape) {
  return shape.family == Shape::Family::kRecurrentChunk || shape.family == Shape::Family::kRecurrentStep;
}

std::string_view FamilyName(const Shape& shape) {
  switch (shape.family) {
    case Shape::Family::kPrefill: return "prefill";
    case Shape::Family::kDecode: return "decode";
    case Shape::Family::kRecurrentChunk:
    case Shape::Family::kRecurrentStep: return "recurrence";
    case Shape::Family::kMatmul: return "matmul";
  }
  return "";
}

namespace {

// Values in [-1, 1), or codes of an integer type: a long random stretch, repeated with a period that divides no row, because drawing gigabytes one by one takes minutes.
void FillRandom(const TensorView& view, Rng& rng) {
  constexpr int64_t kPeriod = 65521;
  std::vector<double> stretch(static_cast<size_t>(std::min(kPeriod, view.count())));
  const double largest = view.dtype == DType::kI8 ? 127 : view.dtype == DType::kI4 ? 7 : 1;
  for (double& value : stretch) value = rng.Uniform(-largest, largest);
  for (int64_t i = 0; i < view.count(); ++i) {
    StoreElement(view.data, view.dtype, static_cast<size_t>(i), stretch[static_cast<size_t>(i % kPeriod)]);
  }
}

// A token-wise tensor [sequences, tokens, heads, channels]; one sequence's memory serves all where `shared`.
TensorView AddRows(OwnedProblem& owned, Role role, DType dtype, std::array<int64_t, 4> extents, bool shared, Rng& rng) {
  const TensorView own = owned.Add(role, dtype, {shared ? 1 : extents[0], extents[1], extents[2], extents[3]});
  FillRandom(own, rng);
  TensorView& view = owned.problem.arguments.back().tensor;
  view.shape[0] = extents[0];
  if (shared) view.stride[0] = 0;
  return view;
}

// Scales that bring codes back to about [-1, 1).
void AddScales(OwnedProblem& owned, Role role, const Shape& shape, ScaleGranularity granularity, int64_t channels, Rng& rng) {
  if (granularity == ScaleGranularity::kNone) return;
  const int64_t pages = (shape.keys + 63) / 64;
  const TensorView view =
      granularity == ScaleGranularity::kPerToken         ? owned.Add(role, DType::kF32, {shape.sequences, shape.keys, shape.kv_heads})
      : granularity == ScaleGranularity::kPerPageChannel ? owned.Add(role, DType::kF32, {shape.sequences, pages, shape.kv_heads, channels})
                                                         : owned.Add(role, DType::kF32, {shape.sequences, shape.keys, shape.kv_heads, (channels + 31) / 32});
  const double step = shape.cache == DType::kI4 ? 1.0 / 7 : 1.0 / 127;
  for (int64_t i = 0; i < view.count(); ++i) StoreElement(view.data, view.dtype, static_cast<size_t>(i), step * rng.Uniform(0.8, 1.2));
}

}  // namespace

OwnedProblem MakeProblem(const Shape& shape, Rng& rng) {
  OwnedProblem owned;
  Problem& p = owned.problem;
  p.mechanism = "bench";
  p.phase = shape.family == Shape::Family::kDecode ? Phase::kDecode : Phase::kPrefill;
  p.scale = 4 / std::sqrt(static_cast<double>(shape.head_dim));  // scores of deviation about 4/3 on uniform data
  p.causal = shape.causal;
  if (shape.family == Shape::Family::kMatmul) {
    FillRandom(owned.Add(Role::kQ, shape.dtype, {shape.queries, shape.head_dim}), rng);
    FillRandom(owned.Add(Role::kK, shape.dtype, {shape.keys, shape.head_dim}), rng);
    owned.Add(Role::kO, shape.dtype, {shape.queries, shape.keys});
    return owned;
  }
  // The packed cache of a sequence is its own; the plain rows it is packed from need not be.
  const bool shared = shape.family == Shape::Family::kDecode;
  AddRows(owned, Role::kQ, shape.dtype, {shape.sequences, shape.queries, shape.query_heads, shape.head_dim}, false, rng);
  AddRows(owned, Role::kK, shape.kv_dtype(), {shape.sequences, shape.keys, shape.kv_heads, shape.head_dim}, shared, rng);
  AddRows(owned, Role::kV, shape.kv_dtype(), {shape.sequences, shape.keys, shape.kv_heads, shape.v_head_dim}, shared, rng);
  AddRows(owned, Role::kO, shape.dtype, {shape.sequences, shape.queries, shape.query_heads, shape.v_head_dim}, false, rng);
  p.k_scale = shape.k_scale;
  p.v_scale = shape.v_scale;
  AddScales(owned, Role::kKScale, shape, shape.k_scale, shape.head_dim, rng);
  AddScales(owned, Role::kVScale, shape, shape.v_scale, shape.v_head_dim, rng);
  if (!IsRecurrent(shape)) return owned;
  p.scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  const TensorView k = p.Get(Role::kK);
  // Keys of norm 1, as the models have: |k|^2 of uniform data is head_dim / 3.
  const double norm = std::sqrt(static_cast<double>(shape.head_dim) / 3);
  for (int64_t i = 0; i < k.count(); ++i) {
    StoreElement(k.data, k.dtype, static_cast<size_t>(i), LoadElement(k.data, k.dtype, static_cast<size_t>(i)) / norm);
  }
  const TensorView decay = owned.Add(Role::kLogDecay, DType::kF32, {shape.sequences, shape.queries, shape.query_heads});
  const TensorView beta = owned.Add(Role::kBeta, DType::kF32, {shape.sequences, shape.queries, shape.query_heads});
  for (int64_t i = 0; i < decay.count(); ++i) {
    StoreElement(decay.data, decay.dtype, static_cast<size_t>(i), -0.2 * rng.Uniform());
    StoreElement(beta.data, beta.dtype, static_cast<size_t>(i), rng.Uniform());
  }
  FillRandom(owned.Add(Role::kStateIn, DType::kF32, {shape.sequences, shape.query_heads, shape.head_dim, shape.v_head_dim}), rng);
  owned.Add(Role::kStateOut, DType::kF32, {shape.sequences, shape.query_heads, shape.head_dim, shape.v_head_dim});
  return owned;
}

std::string ShapeText(const Shape& s) {
  if (s.family == Shape::Family::kMatmul) return fmt::format("{} x {} times {} x {}", s.queries, s.head_dim, s.head_dim, s.keys);
  const std::string heads = s.query_heads == s.kv_heads ? fmt::format("{} heads", s.query_heads) : fmt::format("{}/{} heads", s.query_heads, s.kv_heads);
  const std::string width = s.head_dim == s.v_head_dim ? fmt::format("{}", s.head_dim) : fmt::format("{}/{}", s.head_dim, s.v_head_dim);
  const auto scales = [](ScaleGranularity granularity) {
    return granularity == ScaleGranularity::kPerToken ? "token" : granularity == ScaleGranularity::kPerPageChannel ? "page channel" : "group of 32";
  };
  const std::string cache = s.k_scale == ScaleGranularity::kNone
                                ? ""
                                : fmt::format(", {} with scales per {} (K) and per {} (V)", NameOf(s.cache), scales(s.k_scale), scales(s.v_scale));
  return fmt::format("{} x {} queries, {} keys, {} x {}, {}{}", s.sequences, s.queries, s.keys, heads, width,
                     s.causal == Causal::kNone ? "not masked" : "causal", cache);
}

double CacheBytes(const Shape& s, int64_t width, ScaleGranularity granularity) {
  const auto channels = static_cast<double>(width);
  double scales = 0;
  if (granularity == ScaleGranularity::kPerToken) scales = 4;
  if (granularity == ScaleGranularity::kPerPageChannel) scales = 4 * channels / 64;
  if (granularity == ScaleGranularity::kPerGroup32) scales = 4 * channels / 32;
  return channels * BitsOf(s.kv_dtype()) / 8.0 + scales;
}

namespace {

// Largest error of some rows of a softmax problem against fp64, over sum_j p_j |v_j|.
double SoftmaxError(const Shape& s, const Problem& p, Rng& rng) {
  const TensorView &q = p.Get(Role::kQ), &o = p.Get(Role::kO);
  double worst = 0;
  for (int sample = 0; sample < 4; ++sample) {
    const auto b = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(s.sequences)));
    const auto t = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(s.queries)));
    const auto h = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(s.query_heads)));
    const int64_t kv = h * s.kv_heads / s.query_heads;
    const TokenRows k(p, Role::kK, b), v(p, Role::kV, b);
    const int64_t seen = s.causal == Causal::kNone ? s.keys : s.keys - s.queries + t + 1;
    std::vector<double> score(static_cast<size_t>(seen));
    double maximum = -std::numeric_limits<double>::infinity();
    for (int64_t j = 0; j < seen; ++j) {
      double dot = 0;
      for (int64_t c = 0; c < s.head_dim; ++c) dot += q.At({b, t, h, c}) * k.At(j, kv, c);
      maximum = std::max(maximum, score[static_cast<size_t>(j)] = dot * p.scale);
    }
    double sum = 0;
    for (double& z : score) sum += z = std::exp(z - maximum);
    for (int64_t c = 0; c < s.v_head_dim; ++c) {
      double want = 0, magnitude = 0;
      for (int64_t j = 0; j < seen; ++j) {
        const double term = score[static_cast<size_t>(j)] / sum * v.At(j, kv, c);
        want += term;
        magnitude += std::fabs(term);
      }
      const double error = std::fabs(o.At({b, t, h, c}) - want) / magnitude;
      worst = std::isfinite(error) ? std::max(worst, error) : std::numeric_limits<double>::infinity();
    }
  }
  return worst;
}

// The same for one head of a recurrence, all its tokens; over the largest output.
double RecurrenceError(const Shape& s, const Problem& p, Rng& rng) {
  const auto b = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(s.sequences)));
  const auto h = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(s.query_heads)));
  const int64_t d = s.head_dim, dv = s.v_head_dim;
  std::vector<double> state(static_cast<size_t>(d * dv)), answer(static_cast<size_t>(dv)), output(static_cast<size_t>(dv));
  for (int64_t i = 0; i < d * dv; ++i) state[static_cast<size_t>(i)] = p.Get(Role::kStateIn).At({b, h, i / dv, i % dv});
  double worst = 0, largest = 0;
  for (int64_t t = 0; t < s.queries; ++t) {
    const double decay = std::exp(p.Get(Role::kLogDecay).At({b, t, h})), beta = p.Get(Role::kBeta).At({b, t, h});
    for (double& cell : state) cell *= decay;
    std::fill(answer.begin(), answer.end(), 0.0);
    std::fill(output.begin(), output.end(), 0.0);
    for (int64_t i = 0; i < d; ++i) {
      const double key = p.Get(Role::kK).At({b, t, h, i});
      for (int64_t j = 0; j < dv; ++j) answer[static_cast<size_t>(j)] += key * state[static_cast<size_t>(i * dv + j)];
    }
    for (int64_t j = 0; j < dv; ++j) answer[static_cast<size_t>(j)] = beta * (p.Get(Role::kV).At({b, t, h, j}) - answer[static_cast<size_t>(j)]);
    for (int64_t i = 0; i < d; ++i) {
      const double key = p.Get(Role::kK).At({b, t, h, i}), query = p.Get(Role::kQ).At({b, t, h, i}) * p.scale;
      for (int64_t j = 0; j < dv; ++j) {
        double& cell = state[static_cast<size_t>(i * dv + j)];
        cell += key * answer[static_cast<size_t>(j)];
        output[static_cast<size_t>(j)] += query * cell;
      }
    }
    for (int64_t j = 0; j < dv; ++j) {
      const double error = std::fabs(p.Get(Role::kO).At({b, t, h, j}) - output[static_cast<size_t>(j)]);
      worst = std::isfinite(error) ? std::max(worst, error) : std::numeric_limits<double>::infinity();
      largest = std::max(largest, std::fabs(output[static_cast<size_t>(j)]));
    }
  }
  return worst / largest;
}

// Largest error of some elements of a matmul (A as Q, W as K) against fp64, over the sum of magnitudes.
double MatmulError(const Shape& s, const Problem& p, Rng& rng) {
  double worst = 0;
  for (int sample = 0; sample < 64; ++sample) {
    const auto row = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(s.queries)));
    const auto column = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(s.keys)));
    double want = 0, magnitude = 0;
    for (int64_t k = 0; k < s.head_dim; ++k) {
      const double term = p.Get(Role::kQ).At({row, k}) * p.Get(Role::kK).At({column, k});
      want += term;
      magnitude += std::fabs(term);
    }
    const double error = std::fabs(p.Get(Role::kO).At({row, column}) - want) / magnitude;
    worst = std::isfinite(error) ? std::max(worst, error) : std::numeric_limits<double>::infinity();
  }
  return worst;
}

}  // namespace

double ErrorOf(const Shape& s, const Problem& p, Rng& rng) {
  switch (s.family) {
    case Shape::Family::kPrefill:
    case Shape::Family::kDecode: return SoftmaxError(s, p, rng);
    case Shape::Family::kRecurrentChunk:
    case Shape::Family::kRecurrentStep: return RecurrenceError(s, p, rng);
    case Shape::Family::kMatmul: return MatmulError(s, p, rng);
  }
  return std::numeric_limits<double>::infinity();
}

}  // namespace assay::bench
