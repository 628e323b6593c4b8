// Scores and weighted values of pages that hold a cheaper cache: binary16, e4m3, and integers of 8 and 4 bits with scales. Units are decoded
// in registers (tile-inl.h), so memory gives what the cache holds and no more. Scales never meet a single element:
//     K   per token: the finished score is multiplied; per group: each group's part of it; per page channel: the query is.
//     V   per token: the weight is multiplied; per group: a copy of the weights a group; per page channel: the page's finished sum.
// Sums are fp32, in the same order for every tile shape. An infinite scale of K makes the scores of its keys NaN, never -inf.
#pragma once

#include "kernels/softmax_page-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

// Scores with a scale for each token and group of `group_steps` steps.
template <class Unit, int kRows>
void ScoreScaledPage(const float* q, const unsigned char* k, const float* scales, int64_t steps, int64_t group_steps, ptrdiff_t ahead,
                     float* scores) {
  constexpr int kVectors = kStripVectors<Unit, kRows>;
  const Columns at = {.step = 16, .strip = steps * 16, .ahead = ahead};
  for (int column = 0; column < kSoftmaxPageTokens; column += kVectors * kLanes) {
    const uint32_t* units = reinterpret_cast<const uint32_t*>(k) + ColumnOffset(at, column);
    V total[kRows][kVectors];
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) total[r][v] = Zero();
    }
    const float* group_scales = scales + column;
    for (int64_t first = 0; first < steps; first += group_steps, group_scales += kSoftmaxPageTokens) {
      const int64_t count = steps - first < group_steps ? steps - first : group_steps;
      V acc[kRows][kVectors];
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) {
        ASSAY_UNROLL
        for (int v = 0; v < kVectors; ++v) acc[r][v] = Zero();
      }
      MultiplyAdd<Unit, kRows, kVectors, 1, kSoftmaxTileRows, true>(acc, q + first * Unit::kElements * kSoftmaxTileRows,
                                                                    units + first * at.step, at, count);
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const V scale = Mul(Load(group_scales + v * kLanes), Set(Unit::kFactor));
        ASSAY_UNROLL
        for (int r = 0; r < kRows; ++r) total[r][v] = Fma(acc[r][v], scale, total[r][v]);
      }
    }
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) Store(scores + r * kBlockKeys + column + v * kLanes, total[r][v]);
    }
  }
}

// Index of an element in a page's block: `summed` counts along the summed-over axis of `units` units (kv_layout.h).
template <class Unit>
ASSAY_INLINE int64_t UnitIndex(int64_t units, int64_t summed, int64_t column) {
  return ((column / 16 * units + summed / Unit::kElements) * 16 + column % 16) * Unit::kElements + summed % Unit::kElements;
}

// A key with a NaN scores NaN, which the fast way through binary16 does not know.
template <class Unit>
void MarkNanKeys(const SoftmaxArgs& args, const Block& block, int page, int rows, int64_t steps, float* scores) {
  for (int key = 0; key < block.valid[page]; ++key) {
    bool nan = false;
    for (int64_t c = 0; c < args.head_dim; ++c) {
      const double value = args.load(block.head[page], args.page_dtype, UnitIndex<Unit>(steps, c, key));
      nan = nan || value != value;
    }
    for (int r = 0; nan && r < rows; ++r) scores[r * kBlockKeys + key] = __builtin_nanf("");
  }
}

template <class Unit>
void ScoreDecoded(const SoftmaxArgs& args, const Block& block, int page, int rows, const float* q, const RowState& state, float* scores) {
  const int64_t steps = (args.head_dim + Unit::kElements - 1) / Unit::kElements;
  const unsigned char* k = block.head[page];
  const ptrdiff_t ahead = block.keys_ahead[page];
  const auto* scales = reinterpret_cast<const float*>(k + args.k_scale_offset);
  if (args.k_scale == PageScale::kPerToken || args.k_scale == PageScale::kPerGroup32) {
    const int64_t group_steps = args.k_scale == PageScale::kPerToken ? steps : kSoftmaxScaleGroup / Unit::kElements;
#define ASSAY_SCORE(n) ScoreScaledPage<Unit, n>(q, k, scales, steps, group_steps, ahead, scores)
    ASSAY_DISPATCH_ROWS(rows, ASSAY_SCORE)
#undef ASSAY_SCORE
  } else {
    if (args.k_scale == PageScale::kPerPageChannel) {
      for (int64_t c = 0; c < steps * Unit::kElements; ++c) {
        const float scale = c < args.head_dim ? scales[c] : 0.0f;
        for (int lane = 0; lane < kSoftmaxTileRows; ++lane) {
          state.scaled_q[c * kSoftmaxTileRows + lane] = q[c * kSoftmaxTileRows + lane] * scale;
        }
      }
      q = state.scaled_q;
    }
#define ASSAY_SCORE(n) ScorePage<Unit, n>(q, k, steps, ahead, scores)
    ASSAY_DISPATCH_ROWS(rows, ASSAY_SCORE)
#undef ASSAY_SCORE
  }
  if (block.nan_keys[page]) MarkNanKeys<Unit>(args, block, page, rows, steps, scores);
}

// state.scaled = the weights of a block times the values' scales of group `group`, times what decoding left out.
template <class Unit>
void ScaleWeights(const SoftmaxArgs& args, const Block& block, int rows, int64_t group, const RowState& state) {
  const V factor = Set(Unit::kFactor);
  for (int page = 0; page < block.count; ++page) {
    if (block.unsafe[page]) continue;
    const auto* scales = reinterpret_cast<const float*>(block.head[page] + args.v_scale_offset) + group * kSoftmaxPageTokens;
    for (int key = 0; key < kSoftmaxPageTokens; key += kLanes) {
      const V scale = args.v_scale == PageScale::kNone ? factor : Mul(Load(scales + key), factor);
      for (int r = 0; r < rows; ++r) {
        const int64_t at = r * kBlockKeys + page * kSoftmaxPageTokens + key;
        Store(state.scaled + at, Mul(Load(state.scores + at), scale));
      }
    }
  }
}

template <class Unit>
void DecodedValues(const SoftmaxArgs& args, const Block& block, int rows, const RowState& state, float* o) {
  if (args.v_scale == PageScale::kPerPageChannel) {
#define ASSAY_VALUES(n) ValueColumns<Unit, n, kStripVectors<Unit, n>, true>(args, block, state.scores, o, 0, args.padded_v)
    ASSAY_DISPATCH_ROWS(rows, ASSAY_VALUES)
#undef ASSAY_VALUES
    return;
  }
  const bool scaled = args.v_scale != PageScale::kNone || Unit::kFactor != 1.0f;
  const float* weights = scaled ? state.scaled : state.scores;
  const int64_t group_columns = args.v_scale == PageScale::kPerGroup32 ? kSoftmaxScaleGroup : args.padded_v;
  for (int64_t column = 0; column < args.padded_v; column += group_columns) {
    const int64_t end = column + group_columns < args.padded_v ? column + group_columns : args.padded_v;
    if (scaled) ScaleWeights<Unit>(args, block, rows, column / group_columns, state);
#define ASSAY_VALUES(n) ValueColumns<Unit, n, kStripVectors<Unit, n>>(args, block, weights, o, column, end)
    ASSAY_DISPATCH_ROWS(rows, ASSAY_VALUES)
#undef ASSAY_VALUES
  }
}

// Values of kLanes columns of one key with their scales, NaN and infinities included.
template <class Unit>
ASSAY_INLINE V ExactValues(const SoftmaxArgs& args, const unsigned char* head, int key, int64_t column) {
  const auto* scales = reinterpret_cast<const float*>(head + args.v_scale_offset);
  float values[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const int64_t channel = column + i;
    double scale = 1;
    switch (args.v_scale) {
      case PageScale::kNone: break;
      case PageScale::kPerToken: scale = static_cast<double>(scales[key]); break;
      case PageScale::kPerPageChannel: scale = channel < args.v_head_dim ? static_cast<double>(scales[channel]) : 0; break;
      case PageScale::kPerGroup32:
        scale = channel < args.v_head_dim ? static_cast<double>(scales[channel / kSoftmaxScaleGroup * kSoftmaxPageTokens + key]) : 0;
        break;
    }
    const int64_t index = UnitIndex<Unit>(kSoftmaxPageTokens / Unit::kElements, key, channel);
    values[i] = static_cast<float>(args.load(head + args.v_offset, args.page_dtype, index) * scale);
  }
  return Load(values);
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
