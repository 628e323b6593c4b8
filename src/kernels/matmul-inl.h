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

template <class Unit, int kRows, int kVectors>
ASSAY_INLINE void MatmulTile(const float* a, const uint32_t* w, const Columns& at, int64_t steps, float* sums) {
  V acc[kRows][kVectors];
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = Load(sums + r * kMatmulColumns + v * kLanes);
  }
  MultiplyAdd<Unit, kRows, kVectors, 1, kSoftmaxTileRows, kRows == 1>(acc, a, w, at, steps);
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) Store(sums + r * kMatmulColumns + v * kLanes, acc[r][v]);
  }
}

// sums[row][column] += A W^T for columns [column, columns), a multiple of 16, over the steps of one depth block; a strip of weights meets all
// tiles before the next.
template <class Unit, int kMostRows, int kVectors>
void MatmulColumns(const float* a, int64_t rows, const uint32_t* w, const Columns& at, int64_t steps, int64_t column, int64_t columns,
                   float* sums) {
  for (; column + kVectors * kLanes <= columns; column += kVectors * kLanes) {
    const uint32_t* strip = w + ColumnOffset(at, column);
    for (int64_t row = 0; row < rows; row += kSoftmaxTileRows) {
      const int64_t left = rows - row;
      const float* tile = a + row * steps * kRowWords<Unit>;
      float* out = sums + row * kMatmulColumns + column;
      if constexpr (kMostRows == 1) {
        MatmulTile<Unit, 1, kVectors>(tile, strip, at, steps, out);
      } else {
#define ASSAY_MATMUL(n) MatmulTile<Unit, n, kVectors>(tile, strip, at, steps, out)
        ASSAY_DISPATCH_ROWS(left, ASSAY_MATMUL)
#undef ASSAY_MATMUL
      }
    }
  }
  if constexpr (kVectors > 1) {
    if (column < columns) MatmulColumns<Unit, kMostRows, kVectors / 2>(a, rows, w, at, steps, column, columns, sums);
  }
}

template <class Unit>
void RunMatmul(const MatmulArgs& args, const MatmulItem& item, float* scratch) {
  const int64_t all_units = (args.depth + Unit::kElements - 1) / Unit::kElements;
  float* packed = scratch;
  float* sums = packed + kMatmulRows * RoundUp(args.depth, 16);
  float* buffer = sums + kMatmulRows * kMatmulColumns;
  PackMatmulRows<Unit>(args, item, buffer, packed);
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
      const uint32_t* block = w + begin / Unit::kElements * at.step;
      if (item.row_count == 1) {
        MatmulColumns<Unit, 1, kStripVectors<Unit, 1>>(a, 1, block, at, steps, 0, padded, sums);
      } else {
        MatmulColumns<Unit, kSoftmaxTileRows, kStripVectors<Unit, kSoftmaxTileRows>>(a, item.row_count, block, at, steps, 0, padded, sums);
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
    case PageElement::kI8: return RunMatmul<IntegerUnit<8>>(args, item, scratch);
    case PageElement::kF16:
    case PageElement::kE4m3:
    case PageElement::kI4: return;  // the driver refuses them
  }
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
