// Pages of int8 and int4 multiplied as integers: the variant "-q16". Queries and weights are rounded to 16-bit integers with a scale of their
// own, products of pairs are summed in 32 bits, and nothing is decoded to float: half the instructions of the exact variant (one in
// three with VNNI).
//     Queries  a scale a row (and page, where the page's channel scales have been multiplied in). An element is off by at most 2^-16 of the
//              row's largest, which lies near 3 deviations: a score's error has the deviation 2^-15 |q| |k| / sqrt(channels).
//     Weights  times the values' scales; a scale a row and page: off by at most 2^-16 of the page's largest weight. O is off by 2^-13 of the
//              largest sum_j p_j |v_j| of the row's channels where roundings fall at random, by 2^-10 at the very worst.
// Far below what int8 itself costs (2^-8 of the largest element), yet more than fp32: the exact variant stays the default (kernel.h).
// Weights below about 2^-115 vanish. A row with a NaN or an infinity gives NaN, as always. A row's bits depend on its own numbers and its keys only.
#pragma once

#include "kernels/softmax_decoded-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

template <class Unit>
inline constexpr int kShortParts = Unit::kElements / 2;  // pairs of a unit
inline constexpr float kLargestShort = 32767.0f;
inline constexpr float kSmallestLargest = 1e-30f;  // a scale below would have an infinite inverse

// Sums of `elements` products with codes of up to 128 stay within 32 bits.
ASSAY_INLINE float LargestShort(int64_t elements) {
  const float most = 2147483647.0f / (128.0f * static_cast<float>(elements));
  return most < kLargestShort ? __builtin_floorf(most) : kLargestShort;
}

// Vectors of a strip: as kStripVectors, decoded.
template <int kRows>
inline constexpr int kShortVectors = kStripVectors<IntegerUnit<8>, kRows>;

// The products of one step with pair kPart of every unit, and with those after it.
template <class Unit, int kRows, int kVectors, int kRowStride, int kPairStride, int kPart = 0>
ASSAY_INLINE void MultiplyAddPairs(VI (&acc)[kRows][kVectors], const uint32_t* a, const VI (&units)[kVectors]) {
  constexpr int kBits = 32 / Unit::kElements;
  VI shorts[kVectors];
  ASSAY_UNROLL
  for (int v = 0; v < kVectors; ++v) shorts[v] = ShortField<kPart * kBits, kBits>(units[v]);
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const VI pair = SetBytes(a[r * kRowStride + kPart * kPairStride]);
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = DotShorts(acc[r][v], shorts[v], pair);
  }
  if constexpr (kPart + 1 < kShortParts<Unit>) MultiplyAddPairs<Unit, kRows, kVectors, kRowStride, kPairStride, kPart + 1>(acc, a, units);
}

// acc[r][v] += the integer products of a strip; A's pair (r, p) lies at a[r * kRowStride + p * kPairStride], a unit's pairs in order.
template <class Unit, int kRows, int kVectors, int kRowStride, int kPairStride>
ASSAY_INLINE void MultiplyAddShorts(VI (&acc)[kRows][kVectors], const uint32_t* a, const uint32_t* b, const Columns& at, int64_t steps) {
  for (int64_t step = 0; step < steps; ++step, b += at.step, a += kShortParts<Unit> * kPairStride) {
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; v += 16 / kLanes) {
      PrefetchFar(reinterpret_cast<const char*>(b + ColumnOffset(at, v * kLanes)) + at.ahead);
      Prefetch(reinterpret_cast<const char*>(b + ColumnOffset(at, v * kLanes)) + kNearBytes);
    }
    VI units[kVectors];
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) units[v] = LoadBytes(b + ColumnOffset(at, v * kLanes));
    MultiplyAddPairs<Unit, kRows, kVectors, kRowStride, kPairStride>(acc, a, units);
  }
}

// Rounds `count` floats, a multiple of 16, to integers of at most `largest`, and says what one integer stands for: NaN if one is not finite.
ASSAY_INLINE float RoundToShorts(const float* values, int64_t count, float largest, int16_t* out) {
  V magnitude = Zero();
  V sum = Zero();  // NaN and infinities reach it: Max may drop a NaN
  for (int64_t i = 0; i < count; i += kLanes) {
    const V v = Load(values + i);
    magnitude = Max(Abs(v), magnitude);
    sum = Add(sum, Mul(v, Zero()));
  }
  float most = ReduceMax(magnitude);
  const float finite = ReduceAdd(sum);
  if (finite != finite) {
    __builtin_memset(out, 0, static_cast<size_t>(count) * sizeof(int16_t));
    return __builtin_nanf("");
  }
  if (most < kSmallestLargest) most = kSmallestLargest;
  const V inverse = Set(largest / most);
  for (int64_t i = 0; i < count; i += kLanes) {
    float rounded[kLanes];
    Store(rounded, Round(Mul(Load(values + i), inverse)));
    for (int lane = 0; lane < kLanes; ++lane) out[i + lane] = static_cast<int16_t>(static_cast<int32_t>(rounded[lane]));
  }
  return most / largest;
}

// Pair p of a unit: its elements p and p + kShortParts, the first in the low half.
template <class Unit>
ASSAY_INLINE uint32_t PairOf(const int16_t* unit, int p) {
  return static_cast<uint16_t>(unit[p]) | static_cast<uint32_t>(static_cast<uint16_t>(unit[p + kShortParts<Unit>])) << 16;
}

// Rounds the queries of a tile, times `channel_scales` where given, into state.short_q [pair][6] and state.q_scale.
template <class Unit>
void RoundQueries(const SoftmaxArgs& args, const float* row_q, int rows, const float* channel_scales, uint32_t* short_q, float* q_scale,
                  float* scaled, int16_t* shorts) {
  const int64_t padded = RoundUp(args.head_dim, 16);
  for (int r = 0; r < rows; ++r, row_q += padded) {
    const float* from = row_q;
    if (channel_scales != nullptr) {
      for (int64_t c = 0; c < padded; c += kLanes) Store(scaled + c, Mul(Load(row_q + c), Load(channel_scales + c)));
      from = scaled;
    }
    q_scale[r] = RoundToShorts(from, padded, LargestShort(args.head_dim), shorts);
    const int64_t units = (args.head_dim + Unit::kElements - 1) / Unit::kElements;
    uint32_t* to = short_q + r;
    for (int64_t unit = 0; unit < units; ++unit) {
      for (int p = 0; p < kShortParts<Unit>; ++p, to += kSoftmaxTileRows) *to = PairOf<Unit>(shorts + unit * Unit::kElements, p);
    }
  }
}

// Row-major queries of an item, and their integers where no page changes them.
template <class Unit>
void RoundItemQueries(const SoftmaxArgs& args, const SoftmaxItem& item, const RowState& state) {
  const int64_t padded = RoundUp(args.head_dim, 16);
  const int64_t packed = RoundUp(args.head_dim, Unit::kElements);
  for (int64_t row = 0; row < item.row_count; ++row) {
    const float* from = state.q + row / kSoftmaxTileRows * kSoftmaxTileRows * packed + row % kSoftmaxTileRows;
    float* to = state.row_q + row * padded;
    for (int64_t c = 0; c < padded; ++c) to[c] = c < args.head_dim ? from[c * kSoftmaxTileRows] : 0.0f;
  }
  if (args.k_scale == PageScale::kPerPageChannel) return;
  for (int64_t row = 0; row < item.row_count; row += kSoftmaxTileRows) {
    const int rows = static_cast<int>(item.row_count - row < kSoftmaxTileRows ? item.row_count - row : kSoftmaxTileRows);
    RoundQueries<Unit>(args, state.row_q + row * padded, rows, nullptr, state.short_q + row * padded / 2, state.q_scale + row, state.scaled_q,
                       state.shorts);
  }
}

// Scores of a page; `scales` of tokens, a vector a group of `group_steps` steps, or null.
template <class Unit, int kRows>
void ScoreShortPage(const uint32_t* q, const float* q_scale, const unsigned char* k, const float* scales, int64_t steps, int64_t group_steps,
                    ptrdiff_t ahead, float* scores) {
  constexpr int kVectors = kShortVectors<kRows>;
  const Columns at = {.step = 16, .strip = steps * 16, .ahead = ahead};
  for (int column = 0; column < kSoftmaxPageTokens; column += kVectors * kLanes) {
    const uint32_t* units = reinterpret_cast<const uint32_t*>(k) + ColumnOffset(at, column);
    V total[kRows][kVectors];
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) total[r][v] = Zero();
    }
    int64_t group = 0;
    for (int64_t first = 0; first < steps; first += group_steps, ++group) {
      VI acc[kRows][kVectors];
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) {
        ASSAY_UNROLL
        for (int v = 0; v < kVectors; ++v) acc[r][v] = ZeroInts();
      }
      MultiplyAddShorts<Unit, kRows, kVectors, 1, kSoftmaxTileRows>(acc, q + first * kShortParts<Unit> * kSoftmaxTileRows, units + first * at.step, at,
                                                                    steps - first < group_steps ? steps - first : group_steps);
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const V scale = scales == nullptr ? Set(1.0f) : Load(scales + group * kSoftmaxPageTokens + column + v * kLanes);
        ASSAY_UNROLL
        for (int r = 0; r < kRows; ++r) total[r][v] = Fma(ToFloat(acc[r][v]), scale, total[r][v]);
      }
    }
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const V scale = Set(q_scale[r]);
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) Store(scores + r * kBlockKeys + column + v * kLanes, Mul(total[r][v], scale));
    }
  }
}

template <class Unit>
void ScoreShorts(const SoftmaxArgs& args, const Block& block, int page, int64_t first_row, int rows, const RowState& state, float* scores) {
  const int64_t steps = (args.head_dim + Unit::kElements - 1) / Unit::kElements;
  const int64_t padded = RoundUp(args.head_dim, 16);
  const unsigned char* k = block.head[page];
  const auto* scales = reinterpret_cast<const float*>(k + args.k_scale_offset);
  const uint32_t* q = state.short_q + first_row * padded / 2;
  const float* q_scale = state.q_scale + first_row;
  int64_t group_steps = steps;
  if (args.k_scale == PageScale::kPerPageChannel) {  // their padding is 0 (kv_layout.h)
    RoundQueries<Unit>(args, state.row_q + first_row * padded, rows, scales, state.short_q, state.q_scale, state.scaled_q, state.shorts);
    q = state.short_q;
    q_scale = state.q_scale;
    scales = nullptr;
  } else if (args.k_scale == PageScale::kPerGroup32) {
    group_steps = kSoftmaxScaleGroup / Unit::kElements;
  }
#define ASSAY_SCORE(n) ScoreShortPage<Unit, n>(q, q_scale, k, scales, steps, group_steps, block.keys_ahead[page], scores)
  ASSAY_DISPATCH_ROWS(rows, ASSAY_SCORE)
#undef ASSAY_SCORE
}

// Weights of a block as integers: state.short_w [row][page][32 pairs], state.w_scale [row][page].
template <class Unit>
void RoundWeights(const Block& block, int rows, const float* weights, const RowState& state) {
  int16_t shorts[kSoftmaxPageTokens];
  for (int r = 0; r < rows; ++r) {
    for (int page = 0; page < block.count; ++page) {
      if (block.unsafe[page]) continue;
      const int64_t at = r * kBlockKeys + page * kSoftmaxPageTokens;
      state.w_scale[r * kSoftmaxBlockPages + page] = RoundToShorts(weights + at, kSoftmaxPageTokens, kLargestShort, shorts);
      uint32_t* to = state.short_w + at / 2;
      for (int unit = 0; unit < kSoftmaxPageTokens / Unit::kElements; ++unit) {
        for (int p = 0; p < kShortParts<Unit>; ++p) *to++ = PairOf<Unit>(shorts + unit * Unit::kElements, p);
      }
    }
  }
}

template <class Unit, int kRows, int kVectors>
ASSAY_INLINE void ShortValueStrip(const SoftmaxArgs& args, const Block& block, const RowState& state, float* o, int64_t column) {
  V acc[kRows][kVectors];
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = Load(o + r * args.padded_v + column + v * kLanes);
  }
  for (int page = 0; page < block.count; ++page) {
    if (block.unsafe[page]) continue;
    const Columns at = {.step = 16, .strip = kValueStrip<Unit>, .ahead = block.values_ahead[page]};
    const auto* v_block = reinterpret_cast<const uint32_t*>(block.head[page] + args.v_offset) + ColumnOffset(at, column);
    VI part[kRows][kVectors];
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) part[r][v] = ZeroInts();
    }
    MultiplyAddShorts<Unit, kRows, kVectors, kBlockKeys / 2, 1>(part, state.short_w + page * (kSoftmaxPageTokens / 2), v_block, at,
                                                                (block.valid[page] + Unit::kElements - 1) / Unit::kElements);
    const float* channel_scales = reinterpret_cast<const float*>(block.head[page] + args.v_scale_offset) + column;
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const V scale = args.v_scale == PageScale::kPerPageChannel ? Load(channel_scales + v * kLanes) : Set(1.0f);
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) {
        acc[r][v] = Fma(ToFloat(part[r][v]), Mul(Set(state.w_scale[r * kSoftmaxBlockPages + page]), scale), acc[r][v]);
      }
    }
  }
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) Store(o + r * args.padded_v + column + v * kLanes, acc[r][v]);
  }
}

template <class Unit, int kRows, int kVectors>
void ShortValueColumns(const SoftmaxArgs& args, const Block& block, const RowState& state, float* o, int64_t column, int64_t end) {
  for (; column + kVectors * kLanes <= end; column += kVectors * kLanes) ShortValueStrip<Unit, kRows, kVectors>(args, block, state, o, column);
  if constexpr (kVectors > 1) {
    if (column < end) ShortValueColumns<Unit, kRows, kVectors / 2>(args, block, state, o, column, end);
  }
}

template <class Unit>
void ShortValues(const SoftmaxArgs& args, const Block& block, int rows, const RowState& state, float* o) {
  const int64_t group_columns = args.v_scale == PageScale::kPerGroup32 ? kSoftmaxScaleGroup : args.padded_v;
  for (int64_t column = 0; column < args.padded_v; column += group_columns) {
    const int64_t end = column + group_columns < args.padded_v ? column + group_columns : args.padded_v;
    const bool scaled = args.v_scale != PageScale::kPerPageChannel;
    if (scaled) ScaleWeights<Unit>(args, block, rows, column / group_columns, state);
    RoundWeights<Unit>(block, rows, scaled ? state.scaled : state.scores, state);
#define ASSAY_VALUES(n) ShortValueColumns<Unit, n, kShortVectors<n>>(args, block, state, o, column, end)
    ASSAY_DISPATCH_ROWS(rows, ASSAY_VALUES)
#undef ASSAY_VALUES
  }
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
