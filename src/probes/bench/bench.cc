#include "probes/bench/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "core/random.h"
#include "kernels/matmul.h"
#include "kernels/recurrence_kernel.h"
#include "kernels/softmax_kernel.h"
#include "machine/roofline.h"

namespace assay {
namespace {

using machine::CeilingKind;

// A shape of the bench. Softmax rows: queries x keys per sequence; recurrences: `queries` tokens; matmul: `queries` rows x `keys` columns,
// summed over `head_dim`.
struct Shape {
  std::string_view name;
  enum class Family { kPrefill, kDecode, kRecurrentChunk, kRecurrentStep, kMatmul } family;
  int64_t sequences, queries, keys, query_heads, kv_heads, head_dim, v_head_dim;
  DType dtype;
  Causal causal;
  DType cache = DType::kF32;  // of K and V where not kF32; else `dtype`
  ScaleGranularity k_scale = ScaleGranularity::kNone;
  ScaleGranularity v_scale = ScaleGranularity::kNone;
  IntegerProducts products = IntegerProducts::kExact;

  [[nodiscard]] DType kv_dtype() const { return cache == DType::kF32 ? dtype : cache; }
};

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

// Bytes of one token and head of a cache, scales included.
double CacheBytes(const Shape& s, int64_t width, ScaleGranularity granularity) {
  const auto channels = static_cast<double>(width);
  double scales = 0;
  if (granularity == ScaleGranularity::kPerToken) scales = 4;
  if (granularity == ScaleGranularity::kPerPageChannel) scales = 4 * channels / 64;
  if (granularity == ScaleGranularity::kPerGroup32) scales = 4 * channels / 32;
  return channels * BitsOf(s.kv_dtype()) / 8.0 + scales;
}

// Work that any implementation must do: multiply-adds of visible pairs, and what must be read or written once.
machine::UsefulWork WorkOf(const Shape& s, const machine::Fingerprint& fingerprint, int threads) {
  machine::UsefulWork work;
  const auto d = static_cast<double>(s.head_dim), dv = static_cast<double>(s.v_head_dim);
  const auto batch = static_cast<double>(s.sequences), heads = static_cast<double>(s.query_heads), t = static_cast<double>(s.queries);
  const double element = BitsOf(s.dtype) / 8.0;
  if (s.family == Shape::Family::kMatmul) {
    const auto columns = static_cast<double>(s.keys);
    work.arithmetic = s.dtype == DType::kBf16 ? CeilingKind::kBf16 : CeilingKind::kFp32;
    work.ops = 2 * t * columns * d;
    work.bytes = element * (t * d + columns * d + t * columns);
    work.bandwidth = machine::ReadLevelFor(fingerprint, work.bytes / threads, threads);
    return work;
  }
  work.arithmetic = s.kv_dtype() == DType::kBf16 ? CeilingKind::kBf16 : CeilingKind::kFp32;
  if (!IsRecurrent(s)) {
    const auto keys = static_cast<double>(s.keys);
    const double pairs = s.causal == Causal::kNone ? t * keys : t * (keys - t) + t * (t + 1) / 2;
    work.ops = 2 * batch * heads * pairs * (d + dv);
    // Absorbed latent attention reads its values within its keys.
    const bool latent = s.kv_heads == 1 && s.head_dim > s.v_head_dim;
    const double row = CacheBytes(s, s.head_dim, s.k_scale) + (latent ? 0 : CacheBytes(s, s.v_head_dim, s.v_scale));
    work.bytes = batch * (keys * static_cast<double>(s.kv_heads) * row + element * t * heads * (d + dv));
  } else if (s.family == Shape::Family::kRecurrentChunk) {
    constexpr double kChunk = 64;
    const double macs = kChunk * (kChunk - 1) / 2 * (d + dv) + kChunk * (kChunk + 1) / 2 * (d + dv) + 3 * kChunk * d * dv;
    work.ops = 2 * batch * heads * (t / kChunk) * macs;
    work.bytes = batch * heads * t * element * 2 * (d + dv);
  } else {
    work.ops = 2 * batch * heads * t * 3 * d * dv;
    work.bytes = 2 * batch * heads * d * dv * 4;
    work.arithmetic = CeilingKind::kFp32;
  }
  work.bandwidth = machine::ReadLevelFor(fingerprint, work.bytes / threads, threads);
  return work;
}

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

Result<std::unique_ptr<Plan>> PrepareShape(const Shape& s, const Problem& p, const KernelEnv& env) {
  const Kernel kernel{.id = "bench"};
  switch (s.family) {
    case Shape::Family::kPrefill:
    case Shape::Family::kDecode: return PrepareSoftmaxTile(p, kernel, env);
    case Shape::Family::kRecurrentChunk: return PrepareRecurrenceChunk(p, kernel, env);
    case Shape::Family::kRecurrentStep: return PrepareRecurrenceStep(p, kernel, env);
    case Shape::Family::kMatmul: return PrepareMatmul({.a = p.Get(Role::kQ), .w = p.Get(Role::kK), .w_scale = {}, .o = p.Get(Role::kO)}, env);
  }
  return Unsupported("a family of shapes without a kernel");
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

// What the plan keeps in memory beside the caller's tensors, roughly, in bytes.
double PackedBytes(const Shape& s) {
  return static_cast<double>(s.sequences * s.keys * s.kv_heads) *
         (CacheBytes(s, s.head_dim, s.k_scale) + CacheBytes(s, s.v_head_dim, s.v_scale));
}

Result<BenchRow> RunRow(const Shape& shape, const BenchOptions& options, const machine::Fingerprint& fingerprint, ThreadPool& pool) {
  if (2 * PackedBytes(shape) > 0.5 * static_cast<double>(fingerprint.usable_memory_bytes())) {
    return EnvironmentError(fmt::format("needs about {:.1f} GB of memory, twice what it may use of this machine's", 2e-9 * PackedBytes(shape)));
  }
  Rng rng(DeriveSeed(options.seed, fmt::format("bench/{}", shape.name)));
  OwnedProblem owned = MakeProblem(shape, rng);
  ASSAY_TRY(const std::unique_ptr<Plan> plan, PrepareShape(shape, owned.problem, {.pool = &pool, .products = shape.products}));
  BenchRow row;
  if (!IsRecurrent(shape)) {
    plan->Pack();  // the first touch of its pages is not packing
    const auto start = std::chrono::steady_clock::now();
    plan->Pack();
    row.pack_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  const machine::UsefulWork work = WorkOf(shape, fingerprint, pool.workers());
  ASSAY_TRY(const auto ceilings, machine::Ceilings::Make(fingerprint, pool, {.kinds = {work.arithmetic, work.bandwidth}}));
  const machine::TimedSubject subject{
      .name = std::string(shape.name),
      .run = [&plan] { plan->Run(); },
      .check = [&]() -> Status {
        row.row_error = ErrorOf(shape, owned.problem, rng);
        // Half a unit in the last place of O, and the roundings of the sums: far below what a wrong convention would give.
        const double allowed = 4 * EpsilonOf(shape.dtype) + 1e-4;
        if (row.row_error <= allowed) return Ok();
        return NotHeld(fmt::format("{}: the answer is off by {:.2g} of its magnitude ({:.2g} allowed); not timed", shape.name, row.row_error, allowed));
      }};
  ASSAY_TRY(const machine::PairedResult result,
            machine::RunPaired({subject}, ceilings.get(),
                               {.min_rounds = options.rounds, .max_rounds = options.rounds, .repeats = shape.queries >= 2048 ? 1 : 3,
                                .threads = pool.workers(), .seed = options.seed, .stop = options.stop}));
  ASSAY_TRY(const machine::CeilingShare share, machine::ShareOfCeiling(result, 0, work));
  row.name = shape.name;
  row.family = FamilyName(shape);
  row.shape = ShapeText(shape);
  row.dtype = NameOf(shape.kv_dtype());
  row.implementation = plan->target();
  row.threads = pool.workers();
  row.median_ms = share.milliseconds;
  row.rate = share.rate;
  row.rate_unit = machine::UnitOf(share.ceiling);
  row.ceiling = share.ceiling_rate;
  row.ceiling_kind = machine::NameOf(share.ceiling);
  row.ceiling_instruction = ceilings->info(share.ceiling).instruction;
  row.share_of_ceiling = share.share;
  row.share_q1 = share.share_q1;
  row.share_q3 = share.share_q3;
  row.rounds = static_cast<int>(result.rounds.size());
  row.flags = result.flags();
  return row;
}

}  // namespace

std::vector<std::string> BenchRowNames() {
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

Result<BenchReport> RunBench(const BenchOptions& options) {
  if (options.rounds < 2) return BadInput(fmt::format("{} rounds; quartiles need at least 2", options.rounds));
  std::vector<const Shape*> chosen;
  for (const Shape& shape : kShapes) {
    if (shape.name.find(options.filter) != std::string_view::npos) chosen.push_back(&shape);
  }
  if (chosen.empty()) return BadInput(fmt::format("no row of the bench has '{}' in its name; there are: {}", options.filter, fmt::join(BenchRowNames(), ", ")));
  const machine::Fingerprint fingerprint = machine::TakeFingerprint();
  const int most = static_cast<int>(AllowedCpus().size());
  if (options.threads < 0 || options.threads > most) return BadInput(fmt::format("{} threads; this process may use {}", options.threads, most));
  ThreadPool pool(options.threads == 0 ? most : options.threads);
  BenchReport report;
  for (const Shape* shape : chosen) {
    if (options.stop && options.stop()) {
      report.stopped = true;
      break;
    }
    if (options.progress) options.progress(shape->name);
    Result<BenchRow> row = RunRow(*shape, options, fingerprint, pool);
    if (row.ok()) {
      report.rows.push_back(std::move(row).value());
    } else if (row.error().kind == ErrorKind::kNotHeld || row.error().kind == ErrorKind::kInternal) {
      return std::move(row).TakeError();
    } else {
      report.refused.push_back({std::string(shape->name), row.error().message});
    }
  }
  return report;
}

}  // namespace assay
