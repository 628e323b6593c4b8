// Dense matmul, O = A W^T, on the tiles that attention uses: rows of A are packed once an item, weights lie in strips already. One element of
// O is one chain of fp32 multiply-adds over the summed axis in order, so its bits depend on its row and its column only: not on the number of
// rows, on threads or on blocks.
#pragma once

#include "kernels/access-inl.h"
#include "kernels/matmul_args.h"
#include "kernels/tile-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

// 32-bit words that one row's unit takes in packed A.
template <class Unit>
inline constexpr int64_t kRowWords = Unit::kPairs && kNativePairs ? 1 : Unit::kElements;

// Packs the rows of an item as [depth block][tile][depth][6].
template <class Unit>
void PackMatmulRows(const MatmulArgs& args, const MatmulItem& item, float* buffer, float* packed) {
  for (int64_t begin = 0; begin < args.depth; begin += kMatmulDepth) {
    const int64_t count = args.depth - begin < kMatmulDepth ? args.depth - begin : kMatmulDepth;
    const int64_t units = (count + Unit::kElements - 1) / Unit::kElements;
    const int64_t padded = units * Unit::kElements;
    for (int64_t row = 0; row < item.row_count; ++row) {
      const int64_t offset = (item.row_begin + row) * args.a.token_stride + begin * args.a.channel_stride;
      LoadRow(args, args.a.data, args.a.dtype, offset, args.a.channel_stride, count, buffer);
      for (int64_t k = count; k < padded; ++k) buffer[k] = 0;
      float* tile = packed + row / kSoftmaxTileRows * kSoftmaxTileRows * units * kRowWords<Unit>;
      const int64_t lane = row % kSoftmaxTileRows;
      if constexpr (Unit::kPairs && kNativePairs) {
        auto* pairs = reinterpret_cast<uint16_t*>(tile);
        for (int64_t k = 0; k < padded; ++k) pairs[(k / 2 * kSoftmaxTileRows + lane) * 2 + k % 2] = ScalarBf16(buffer[k]);
      } else {
        for (int64_t k = 0; k < padded; ++k) tile[k * kSoftmaxTileRows + lane] = buffer[k];
      }
    }
    packed += RoundUp(item.row_count, kSoftmaxTileRows) * units * kRowWords<Unit>;
  }
}

// One depth block of weights, and what meets it.
struct MatmulBlock {
  const float* a;  // packed rows
  int64_t rows;
  const uint32_t* w;
  Columns at;
  int64_t steps;
  float* sums;  // [row][kMatmulColumns]
  // Weights in blocks (matmul_args.h), from this depth block on.
  int64_t group_steps = 0;
  const float* scales = nullptr;
  const float* offsets = nullptr;
  ptrdiff_t scale_strip = 0;         // from 16 columns to the next
  const float* row_sums = nullptr;  // [group][kMatmulRows]: sums of A over each group
};

// acc += scale (A codes) + offset (sum of A), group by group: scales meet a group's finished sum, never a single element.
template <class Unit, int kRows, int kVectors>
ASSAY_INLINE void MultiplyAddGroups(V (&acc)[kRows][kVectors], const MatmulBlock& block, int64_t row, const float* a, const uint32_t* w,
                                    int64_t column) {
  const ptrdiff_t offset = column / 16 * block.scale_strip + column % 16;
  const auto beside = [&block](int v) { return v * kLanes / 16 * block.scale_strip + v * kLanes % 16; };
  int64_t group = 0;
  for (int64_t first = 0; first < block.steps; first += block.group_steps, ++group) {
    V part[kRows][kVectors];
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) part[r][v] = Zero();
    }
    MultiplyAdd<Unit, kRows, kVectors, 1, kSoftmaxTileRows, kRows == 1>(part, a + first * Unit::kElements * kSoftmaxTileRows,
                                                                        w + first * block.at.step, block.at, block.group_steps);
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const V scale = Load(block.scales + group * 16 + offset + beside(v));
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) acc[r][v] = Fma(part[r][v], scale, acc[r][v]);
    }
    if (block.offsets == nullptr) continue;
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const V added = Load(block.offsets + group * 16 + offset + beside(v));
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) acc[r][v] = Fma(Set(block.row_sums[group * kMatmulRows + row + r]), added, acc[r][v]);
    }
  }
}

template <class Unit, int kRows, int kVectors, bool kGroups>
ASSAY_INLINE void MatmulTile(const MatmulBlock& block, int64_t row, int64_t column) {
  const float* a = block.a + row * block.steps * kRowWords<Unit>;
  const uint32_t* w = block.w + ColumnOffset(block.at, column);
  float* sums = block.sums + row * kMatmulColumns + column;
  V acc[kRows][kVectors];
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = Load(sums + r * kMatmulColumns + v * kLanes);
  }
  if constexpr (kGroups) {
    MultiplyAddGroups<Unit, kRows, kVectors>(acc, block, row, a, w, column);
  } else {
    MultiplyAdd<Unit, kRows, kVectors, 1, kSoftmaxTileRows, kRows == 1>(acc, a, w, block.at, block.steps);
  }
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) Store(sums + r * kMatmulColumns + v * kLanes, acc[r][v]);
  }
}

// sums[row][column] += A W^T for columns [column, columns), a multiple of 16, over one depth block; a strip of weights meets all tiles
// before the next.
template <class Unit, int kMostRows, int kVectors, bool kGroups>
void MatmulColumns(const MatmulBlock& block, int64_t column, int64_t columns) {
  for (; column + kVectors * kLanes <= columns; column += kVectors * kLanes) {
    for (int64_t row = 0; row < block.rows; row += kSoftmaxTileRows) {
      const int64_t left = block.rows - row;
      if constexpr (kMostRows == 1) {
        MatmulTile<Unit, 1, kVectors, kGroups>(block, row, column);
      } else {
#define ASSAY_MATMUL(n) MatmulTile<Unit, n, kVectors, kGroups>(block, row, column)
        ASSAY_DISPATCH_ROWS(left, ASSAY_MATMUL)
#undef ASSAY_MATMUL
      }
    }
  }
  if constexpr (kVectors > 1) {
    if (column < columns) MatmulColumns<Unit, kMostRows, kVectors / 2, kGroups>(block, column, columns);
  }
}

// Sums of A over each group of weights, for their offsets.
inline void SumRowGroups(const MatmulArgs& args, const MatmulItem& item, float* buffer, float* row_sums) {
  for (int64_t group = 0; group < args.depth / args.group; ++group) {
    for (int64_t row = 0; row < item.row_count; ++row) {
      const int64_t offset = (item.row_begin + row) * args.a.token_stride + group * args.group * args.a.channel_stride;
      LoadRow(args, args.a.data, args.a.dtype, offset, args.a.channel_stride, args.group, buffer);
      float sum = 0;
      for (int64_t k = 0; k < args.group; ++k) sum += buffer[k];
      row_sums[group * kMatmulRows + row] = sum;
    }
  }
}

template <class Unit, bool kGroups = false>
void RunMatmul(const MatmulArgs& args, const MatmulItem& item, float* scratch) {
  const int64_t all_units = (args.depth + Unit::kElements - 1) / Unit::kElements;
  float* packed = scratch;
  float* sums = packed + kMatmulRows * RoundUp(args.depth, 16);
  float* buffer = sums + kMatmulRows * kMatmulColumns;
  float* row_sums = buffer + kMatmulDepth;
  PackMatmulRows<Unit>(args, item, buffer, packed);
  if (kGroups && args.group_offsets != nullptr) SumRowGroups(args, item, buffer, row_sums);
  constexpr ptrdiff_t kAheadBytes = 4096;
  const Columns at = {.step = 16, .strip = all_units * 16, .ahead = kAheadBytes};
  for (int64_t first = item.column_begin; first < item.column_end; first += kMatmulColumns) {
    const int64_t count = item.column_end - first < kMatmulColumns ? item.column_end - first : kMatmulColumns;
    const int64_t padded = RoundUp(count, 16);
    const auto* w = reinterpret_cast<const uint32_t*>(args.weights) + first / 16 * at.strip;
    __builtin_memset(sums, 0, static_cast<size_t>(item.row_count * kMatmulColumns) * sizeof(float));
    const float* a = packed;
    for (int64_t begin = 0; begin < args.depth; begin += kMatmulDepth) {
      const int64_t depth = args.depth - begin < kMatmulDepth ? args.depth - begin : kMatmulDepth;
      const int64_t steps = (depth + Unit::kElements - 1) / Unit::kElements;
      MatmulBlock block = {.a = a, .rows = item.row_count, .w = w + begin / Unit::kElements * at.step, .at = at, .steps = steps, .sums = sums};
      if constexpr (kGroups) {
        const int64_t group = begin / args.group;
        block.group_steps = args.group / Unit::kElements;
        block.scale_strip = args.depth / args.group * 16;
        const int64_t offset = first / 16 * block.scale_strip + group * 16;
        block.scales = args.group_scales + offset;
        if (args.group_offsets != nullptr) block.offsets = args.group_offsets + offset;
        block.row_sums = row_sums + group * kMatmulRows;
      }
      if (item.row_count == 1) {
        MatmulColumns<Unit, 1, kStripVectors<Unit, 1>, kGroups>(block, 0, padded);
      } else {
        MatmulColumns<Unit, kSoftmaxTileRows, kStripVectors<Unit, kSoftmaxTileRows>, kGroups>(block, 0, padded);
      }
      a += RoundUp(item.row_count, kSoftmaxTileRows) * steps * kRowWords<Unit>;
    }
    for (int64_t row = 0; row < item.row_count; ++row) {
      float* out = sums + row * kMatmulColumns;
      for (int64_t c = 0; args.scales != nullptr && c < count; ++c) out[c] *= args.scales[first + c];
      const int64_t offset = (item.row_begin + row) * args.o.token_stride + first * args.o.channel_stride;
      StoreRow(args, args.o.data, args.o.dtype, offset, args.o.channel_stride, count, out);
    }
  }
}

void RunMatmulItem(const MatmulArgs& args, const MatmulItem& item, float* scratch) noexcept {
  switch (args.element) {
    case PageElement::kF32: return RunMatmul<F32Unit>(args, item, scratch);
    case PageElement::kBf16: return RunMatmul<Bf16Unit>(args, item, scratch);
    case PageElement::kI8:
      if (args.group > 0) return RunMatmul<IntegerUnit<8>, true>(args, item, scratch);
      return RunMatmul<IntegerUnit<8>>(args, item, scratch);
    case PageElement::kI4: return RunMatmul<IntegerUnit<4>, true>(args, item, scratch);  // blocks only
    case PageElement::kF16:
    case PageElement::kE4m3: return;  // the driver refuses them
  }
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
