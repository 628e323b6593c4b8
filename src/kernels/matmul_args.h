// What the matmul driver (matmul.cc) hands to a backend's kernel (matmul-inl.h). No standard header beyond stdint.h (simd.h says why).
#pragma once

#include <stdint.h>

#include "kernels/softmax_args.h"

namespace assay {

// A work item is up to kMatmulRows rows of A; its sums for kMatmulColumns columns and kMatmulDepth of the summed axis at a time stay in the
// second-level cache, as do the rows of A; a strip of weights stays in the first.
inline constexpr int64_t kMatmulRows = 96;
inline constexpr int64_t kMatmulColumns = 256;
inline constexpr int64_t kMatmulDepth = 256;

struct MatmulArgs {
  RowAccess a;  // token_stride from row to row; head_stride unused
  RowAccess o;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t depth = 0;  // the summed axis
  // Weights in strips of 16 columns, units in order of the sum, as a page holds keys (kv_layout.h): [column / 16][depth / n][column % 16][n].
  const unsigned char* weights = nullptr;
  const float* scales = nullptr;  // a float a column, or null
  // Weights in blocks: a code has a scale, and perhaps an offset, for each `group` elements of the summed axis of its column. Value = scale x
  // code + offset. Both in strips as the weights are: [column / 16][group][column % 16].
  int64_t group = 0;  // 0: no blocks
  const float* group_scales = nullptr;
  const float* group_offsets = nullptr;  // or null
  PageElement element = PageElement::kF32;
  double (*load)(const void* data, int dtype, int64_t index) = nullptr;
  void (*store)(void* data, int dtype, int64_t index, double value) = nullptr;
};

struct MatmulItem {
  int64_t row_begin = 0;
  int64_t row_count = 0;     // at most kMatmulRows
  int64_t column_begin = 0;  // a multiple of kMatmulColumns
  int64_t column_end = 0;
};

inline constexpr int64_t kMatmulLeastGroup = 16;

// `scratch` is 64-byte aligned and of MatmulScratchFloats.
using MatmulRun = void (*)(const MatmulArgs& args, const MatmulItem& item, float* scratch) noexcept;
inline int64_t MatmulScratchFloats(int64_t depth) {
  return kMatmulRows * ((depth + 15) / 16 * 16) + kMatmulRows * kMatmulColumns + kMatmulDepth +
         kMatmulRows * (depth / kMatmulLeastGroup);
}

}  // namespace assay
