// The matrix tile every kernel here is made of: a few rows of A, broadcast element by element, times vectors of B, accumulated in
// registers. One element of the result is one chain of FMAs over the steps in order, whatever the tile's shape, so shapes may be chosen
// for speed alone: 2 FMA ports x 4 cycles latency need 8 chains in flight.
#pragma once

#include "kernels/simd.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

// B holds one float a 32-bit unit; a step is one row of B.
struct F32Unit {
  static constexpr int kElements = 1;
  static constexpr bool kPairs = false;
  static constexpr bool kDecoded = false;
};
// B holds two bf16 a unit. With native pairs A does too; otherwise A stays float and B is widened, which is exact.
struct Bf16Unit {
  static constexpr int kElements = 2;
  static constexpr bool kPairs = true;
  static constexpr bool kDecoded = false;
};
// Units of a cheaper cache, decoded in registers, two elements at a time, exactly; A stays float. Part p holds the elements kFirst<p> and
// kSecond<p> of the unit. A value of the cache is kFactor times what is decoded (and times its scale).
struct F16Unit {
  static constexpr int kElements = 2;
  static constexpr bool kPairs = false;
  static constexpr bool kDecoded = true;
  static constexpr float kFactor = 1.0f;
  template <int kPart> static constexpr int kFirst = 0;
  template <int kPart> static constexpr int kSecond = 1;
  template <int kPart>
  static ASSAY_INLINE void Part(VP unit, V& first, V& second) {
    HalvesToFloat(unit, first, second);
  }
};
struct E4m3Unit {
  static constexpr int kElements = 4;
  static constexpr bool kPairs = false;
  static constexpr bool kDecoded = true;
  static constexpr float kFactor = 256.0f;  // EvenFp8AsHalves
  template <int kPart> static constexpr int kFirst = kPart;
  template <int kPart> static constexpr int kSecond = kPart + 2;
  template <int kPart>
  static ASSAY_INLINE void Part(VP unit, V& first, V& second) {
    HalvesToFloat(kPart == 0 ? EvenFp8AsHalves(unit) : OddFp8AsHalves(unit), first, second);
  }
};
template <int kBits>
struct IntegerUnit {
  static constexpr int kElements = 32 / kBits;
  static constexpr bool kPairs = false;
  static constexpr bool kDecoded = true;
  static constexpr float kFactor = 1.0f;
  template <int kPart> static constexpr int kFirst = 2 * kPart;
  template <int kPart> static constexpr int kSecond = 2 * kPart + 1;
  template <int kPart>
  static ASSAY_INLINE void Part(VP unit, V& first, V& second) {
    first = SignedField<2 * kPart * kBits, kBits>(unit);
    second = SignedField<(2 * kPart + 1) * kBits, kBits>(unit);
  }
};

// Vectors of a strip for a tile of kRows rows: fill the registers, and keep 8 chains in flight where few rows would not. Decoding takes
// registers for a unit and two elements a vector; with a row or two it takes longer than the multiply-adds, which need fewer chains then.
template <class Unit, int kRows>
inline constexpr int kStripVectors = kRegisters == 32 ? (Unit::kDecoded && kRows > 4 ? 2 : 4)
                                     : Unit::kDecoded ? (kRows <= 1 ? 4 : 2)
                                     : kRows <= 1     ? 8
                                     : kRows == 2     ? 4
                                                      : 2;

// Where B lies, in 32-bit units. Pages store strips of 16 columns one after the other (kv_layout.h), so that a tile reads memory in order;
// a plain row-major matrix is the case strip = 16. `ahead` bytes further on lies what will be read next: it is prefetched line by line.
struct Columns {
  ptrdiff_t step;        // from a step to the next
  ptrdiff_t strip = 16;  // from 16 columns to the next 16
  ptrdiff_t ahead = 0;
};

// What lies this far on in the same strip is moved to the first-level cache: a streamed page comes from the second level in time only then
// (decode of 4k tokens from L3 gains about a tenth).
inline constexpr ptrdiff_t kNearBytes = 1024;

// Units from column `column` of a strip-wise B to the one v vectors later; both multiples of kLanes.
ASSAY_INLINE ptrdiff_t ColumnOffset(const Columns& b, int64_t column) { return column / 16 * b.strip + column % 16; }

// The multiply-adds of one step on a decoded unit, from part kPart on.
template <class Unit, int kRows, int kVectors, int kRowStride, int kStepStride, int kPart = 0>
ASSAY_INLINE void MultiplyAddParts(V (&acc)[kRows][kVectors], const float* a, const VP (&units)[kVectors]) {
  V first[kVectors], second[kVectors];
  ASSAY_UNROLL
  for (int v = 0; v < kVectors; ++v) Unit::template Part<kPart>(units[v], first[v], second[v]);
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const V row = Set(a[r * kRowStride + Unit::template kFirst<kPart> * kStepStride]);
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = Fma(row, first[v], acc[r][v]);
  }
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const V row = Set(a[r * kRowStride + Unit::template kSecond<kPart> * kStepStride]);
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = Fma(row, second[v], acc[r][v]);
  }
  if constexpr (kPart + 1 < Unit::kElements / 2) MultiplyAddParts<Unit, kRows, kVectors, kRowStride, kStepStride, kPart + 1>(acc, a, units);
}

// acc[r][v] += sum over steps of A(r, step) * B(step, v). A's element (r, e) lies at a[r * kRowStride + e * kStepStride], counted in
// floats, or in 32-bit pairs where the tile runs on native pairs (e is then the step).
template <class Unit, int kRows, int kVectors, int kRowStride, int kStepStride, bool kAhead = false>
ASSAY_INLINE void MultiplyAdd(V (&acc)[kRows][kVectors], const void* a_memory, const uint32_t* b, const Columns& at, int64_t steps) {
  const ptrdiff_t b_stride = at.step;
  const auto prefetch = [&] {
    if constexpr (kAhead) {
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; v += 16 / kLanes) {
        PrefetchFar(reinterpret_cast<const char*>(b + ColumnOffset(at, v * kLanes)) + at.ahead);
        Prefetch(reinterpret_cast<const char*>(b + ColumnOffset(at, v * kLanes)) + kNearBytes);
      }
    }
  };
  if constexpr (Unit::kPairs && kNativePairs) {
    const auto* a = static_cast<const uint32_t*>(a_memory);
    for (int64_t step = 0; step < steps; ++step, b += b_stride, a += kStepStride) {
      prefetch();
      VP column[kVectors];
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) column[v] = LoadPairs(b + ColumnOffset(at, v * kLanes));
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const VP row = SetPair(a[r * kRowStride]);
        ASSAY_UNROLL
        for (int v = 0; v < kVectors; ++v) acc[r][v] = DotPairs(acc[r][v], row, column[v]);
      }
    }
  } else if constexpr (Unit::kPairs) {
    const auto* a = static_cast<const float*>(a_memory);
    for (int64_t step = 0; step < steps; ++step, b += b_stride, a += 2 * kStepStride) {
      prefetch();
      V column[kVectors];
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) column[v] = LowOfPair(LoadPairs(b + ColumnOffset(at, v * kLanes)));
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V row = Set(a[r * kRowStride]);
        ASSAY_UNROLL
        for (int v = 0; v < kVectors; ++v) acc[r][v] = Fma(row, column[v], acc[r][v]);
      }
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) column[v] = HighOfPair(LoadPairs(b + ColumnOffset(at, v * kLanes)));
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V row = Set(a[r * kRowStride + kStepStride]);
        ASSAY_UNROLL
        for (int v = 0; v < kVectors; ++v) acc[r][v] = Fma(row, column[v], acc[r][v]);
      }
    }
  } else if constexpr (Unit::kDecoded) {
    const auto* a = static_cast<const float*>(a_memory);
    for (int64_t step = 0; step < steps; ++step, b += b_stride, a += Unit::kElements * kStepStride) {
      prefetch();
      VP units[kVectors];
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) units[v] = LoadPairs(b + ColumnOffset(at, v * kLanes));
      MultiplyAddParts<Unit, kRows, kVectors, kRowStride, kStepStride>(acc, a, units);
    }
  } else {
    const auto* a = static_cast<const float*>(a_memory);
    for (int64_t step = 0; step < steps; ++step, b += b_stride, a += kStepStride) {
      prefetch();
      V column[kVectors];
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) column[v] = Load(reinterpret_cast<const float*>(b) + ColumnOffset(at, v * kLanes));
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V row = Set(a[r * kRowStride]);
        ASSAY_UNROLL
        for (int v = 0; v < kVectors; ++v) acc[r][v] = Fma(row, column[v], acc[r][v]);
      }
    }
  }
}

// out[r][c] += sum over steps of A(r, step) * B(step, c) for `columns` columns, a multiple of kLanes.
template <class Unit, int kRows, int kRowStride, int kStepStride, int kVectors = kStripVectors<Unit, kRows>>
void MultiplyColumns(const void* a, const uint32_t* b, ptrdiff_t b_stride, int64_t steps, float* out, ptrdiff_t out_stride,
                     int64_t columns) {
  int64_t column = 0;
  for (; column + kVectors * kLanes <= columns; column += kVectors * kLanes) {
    V acc[kRows][kVectors];
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[r][v] = Load(out + r * out_stride + column + v * kLanes);
    }
    MultiplyAdd<Unit, kRows, kVectors, kRowStride, kStepStride>(acc, a, b + column, {.step = b_stride}, steps);
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) Store(out + r * out_stride + column + v * kLanes, acc[r][v]);
    }
  }
  if constexpr (kVectors > 1) {
    if (column < columns) {
      MultiplyColumns<Unit, kRows, kRowStride, kStepStride, kVectors / 2>(a, b + column, b_stride, steps, out + column, out_stride,
                                                                          columns - column);
    }
  }
}

// Calls kFunction<rows> for the run-time row count 1..6.
#define ASSAY_DISPATCH_ROWS(rows, call) \
  switch (rows) {                       \
    case 1: call(1); break;             \
    case 2: call(2); break;             \
    case 3: call(3); break;             \
    case 4: call(4); break;             \
    case 5: call(5); break;             \
    default: call(6); break;            \
  }

}  // namespace assay::ASSAY_SIMD_NAMESPACE
