// One tile of rows against the pages of a block: what a work item keeps while it runs, scores of a page, and sums of weighted values.
// Masks, weights and merges are softmax-inl.h's.
#pragma once

#include "kernels/softmax_edge-inl.h"
#include "kernels/tile-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

// The rows of a work item while it runs.
struct RowState {
  float* q;        // [tile][channel][6]: floats, or bf16 pairs where the tile runs on native pairs
  float* o;        // [row][padded_v] of the running segment
  float* maximum;  // [row], integers or -inf
  float* sums;     // [row][16] lane sums
  float* total_o;  // merged segments
  float* total_maximum;
  float* total_sum;
  float* scores;   // [6][256], then the weights
  float* bias;     // [6][256]
  uint32_t* pairs;  // [6][128] weights rounded to bf16, for native pairs
  float* scaled;    // [6][256] weights times the scales of values
  float* scaled_q;  // [channel][6] queries times the scales of a page's channels
  // Of the variant that multiplies integers (softmax_shorts-inl.h), else null.
  float* row_q;       // [row][padded channels]
  uint32_t* short_q;  // [tile][pair][6]
  float* q_scale;     // [row]
  int16_t* shorts;    // [padded channels]
  uint32_t* short_w;  // [6][128] pairs
  float* w_scale;     // [6][4]
};

inline constexpr int64_t kBlockKeys = kSoftmaxBlockPages * kSoftmaxPageTokens;

ASSAY_INLINE RowState LayOut(SoftmaxScratch scratch, const SoftmaxArgs& args) {
  const int64_t head_dim = args.head_dim, padded_v = args.padded_v;
  RowState state = {};
  float* next = scratch.data;
  const auto take = [&next](int64_t floats) {
    float* taken = next;
    next += RoundUp(floats, 16);
    return taken;
  };
  state.q = take(kSoftmaxBlockRows * RoundUp(head_dim, 8));
  state.o = take(kSoftmaxBlockRows * padded_v);
  state.total_o = take(kSoftmaxBlockRows * padded_v);
  state.maximum = take(kSoftmaxBlockRows);
  state.total_maximum = take(kSoftmaxBlockRows);
  state.total_sum = take(kSoftmaxBlockRows);
  state.sums = take(kSoftmaxBlockRows * 16);
  state.scores = take(kSoftmaxTileRows * kBlockKeys);
  state.bias = take(kSoftmaxTileRows * kBlockKeys);
  state.pairs = reinterpret_cast<uint32_t*>(take(kSoftmaxTileRows * kBlockKeys / 2));
  state.scaled = take(kSoftmaxTileRows * kBlockKeys);
  state.scaled_q = take(kSoftmaxTileRows * RoundUp(head_dim, 16));
  if (!args.short_products) return state;
  const int64_t padded = RoundUp(head_dim, 16);
  state.row_q = take(kSoftmaxBlockRows * padded);
  state.short_q = reinterpret_cast<uint32_t*>(take(kSoftmaxBlockRows * padded / 2));
  state.q_scale = take(kSoftmaxBlockRows);
  state.shorts = reinterpret_cast<int16_t*>(take(padded / 2));
  state.short_w = reinterpret_cast<uint32_t*>(take(kSoftmaxTileRows * kBlockKeys / 2));
  state.w_scale = take(kSoftmaxTileRows * kSoftmaxBlockPages);
  return state;
}

// Scores of one tile against one page, into rows of kBlockKeys floats.
template <class Unit, int kRows>
void ScorePage(const float* q, const unsigned char* k, int64_t steps, ptrdiff_t ahead, float* scores) {
  constexpr int kVectors = kStripVectors<Unit, kRows>;
  const auto* units = reinterpret_cast<const uint32_t*>(k);
  for (int column = 0; column < kSoftmaxPageTokens; column += kVectors * kLanes) {
    V acc[kRows][kVectors];
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[r][v] = Zero();
    }
    const Columns at = {.step = 16, .strip = steps * 16, .ahead = ahead};
    MultiplyAdd<Unit, kRows, kVectors, 1, kSoftmaxTileRows, true>(acc, q, units + ColumnOffset(at, column), at, steps);
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (Unit::kDecoded) acc[r][v] = Mul(acc[r][v], Set(Unit::kFactor));
        Store(scores + r * kBlockKeys + column + v * kLanes, acc[r][v]);
      }
    }
  }
}

// The pages of a block that some row of a tile sees.
struct Block {
  int count = 0;
  const unsigned char* head[kSoftmaxBlockPages];
  int64_t key_begin[kSoftmaxBlockPages];
  int valid[kSoftmaxBlockPages];  // keys in use
  bool edge[kSoftmaxBlockPages];
  bool unsafe[kSoftmaxBlockPages];  // V holds a NaN or an infinity: 0 * NaN must not reach a row that does not see it
  bool nan_keys[kSoftmaxBlockPages];  // K holds NaN that decoding would lose
  const unsigned char* next = nullptr;  // the page read after this block, if one is likely
  // Bytes from each page's K, and V, to what is read next: the keys of the block, then its values. 0 where several tiles share the
  // block, because the first has brought it into the cache.
  ptrdiff_t keys_ahead[kSoftmaxBlockPages] = {};
  ptrdiff_t values_ahead[kSoftmaxBlockPages] = {};

  void PlanAhead(int64_t v_offset) {
    for (int page = 0; page < count; ++page) {
      const bool last = page + 1 == count;
      keys_ahead[page] = (last ? head[0] + v_offset : head[page + 1]) - head[page];
      if (!last) values_ahead[page] = head[page + 1] - head[page];
      if (last && next != nullptr) values_ahead[page] = next - (head[page] + v_offset);
    }
  }
};

// Units of 16 columns of V in a page.
template <class Unit>
inline constexpr ptrdiff_t kValueStrip = kSoftmaxPageTokens / Unit::kElements * 16;

// kChannelScales: the values of a page have one scale a channel, which multiplies the page's sum.
template <class Unit, int kRows, int kVectors, bool kChannelScales>
ASSAY_INLINE void ValueStrip(const SoftmaxArgs& args, const Block& block, const void* weights, float* o, int64_t column) {
  // Weights are floats, or bf16 pairs of half as many units.
  constexpr int kUnits = Unit::kPairs && kNativePairs ? 2 : 1;
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
    const auto* a = static_cast<const float*>(weights) + page * (kSoftmaxPageTokens / kUnits);
    const int64_t steps = (block.valid[page] + Unit::kElements - 1) / Unit::kElements;
    if constexpr (kChannelScales) {
      V part[kRows][kVectors];
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) {
        ASSAY_UNROLL
        for (int v = 0; v < kVectors; ++v) part[r][v] = Zero();
      }
      MultiplyAdd<Unit, kRows, kVectors, kBlockKeys / kUnits, 1, true>(part, a, v_block, at, steps);
      const auto* scales = reinterpret_cast<const float*>(block.head[page] + args.v_scale_offset) + column;
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const V scale = Mul(Load(scales + v * kLanes), Set(Unit::kFactor));
        ASSAY_UNROLL
        for (int r = 0; r < kRows; ++r) acc[r][v] = Fma(part[r][v], scale, acc[r][v]);
      }
    } else {
      MultiplyAdd<Unit, kRows, kVectors, kBlockKeys / kUnits, 1, true>(acc, a, v_block, at, steps);
    }
  }
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) Store(o + r * args.padded_v + column + v * kLanes, acc[r][v]);
  }
}

// Columns [column, end) of P V, both multiples of 16.
template <class Unit, int kRows, int kVectors, bool kChannelScales = false>
void ValueColumns(const SoftmaxArgs& args, const Block& block, const void* weights, float* o, int64_t column, int64_t end) {
  for (; column + kVectors * kLanes <= end; column += kVectors * kLanes) {
    ValueStrip<Unit, kRows, kVectors, kChannelScales>(args, block, weights, o, column);
  }
  if constexpr (kVectors > 1) {
    if (column < end) ValueColumns<Unit, kRows, kVectors / 2, kChannelScales>(args, block, weights, o, column, end);
  }
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
