// Reading and writing the caller's tensors: element by element in any dtype, and fast for contiguous rows of f32 and bf16.
#pragma once

#include "kernels/simd.h"
#include "kernels/softmax_args.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

// DType's numbers (core/dtype.h, frozen by the ABI), repeated because a backend includes no header with inline functions.
inline constexpr int kDTypeF32 = 1;
inline constexpr int kDTypeF16 = 2;
inline constexpr int kDTypeBf16 = 3;
inline constexpr int kDTypeBool8 = 12;

ASSAY_INLINE int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

ASSAY_INLINE uint16_t ScalarBf16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  if (value != value) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Args is any of the *Args structs: it brings load and store for the rare dtypes.
template <class Args>
ASSAY_INLINE float LoadAny(const Args& args, const void* data, int dtype, int64_t index) {
  if (dtype == kDTypeF32) return static_cast<const float*>(data)[index];
  if (dtype == kDTypeBf16) {
    const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(data)[index]) << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof(value));
    return value;
  }
  return static_cast<float>(args.load(data, dtype, index));
}

template <class Args>
ASSAY_INLINE void StoreAny(const Args& args, void* data, int dtype, int64_t index, double value) {
  if (dtype == kDTypeF32) {
    static_cast<float*>(data)[index] = static_cast<float>(value);
  } else if (dtype == kDTypeBf16) {
    static_cast<uint16_t*>(data)[index] = ScalarBf16(static_cast<float>(value));
  } else {
    args.store(data, dtype, index, value);
  }
}

// `count` elements from `offset` on, `stride` apart, as floats.
template <class Args>
ASSAY_INLINE void LoadRow(const Args& args, const void* data, int dtype, int64_t offset, int64_t stride, int64_t count, float* out) {
  int64_t c = 0;
  if (stride == 1 && dtype == kDTypeF32) {
    const auto* row = static_cast<const float*>(data) + offset;
    for (; c + kLanes <= count; c += kLanes) Store(out + c, Load(row + c));
  } else if (stride == 1 && dtype == kDTypeBf16) {
    const auto* row = static_cast<const uint16_t*>(data) + offset;
    for (; c + kLanes <= count; c += kLanes) Store(out + c, LoadBf16(row + c));
  } else if (stride == 1 && dtype == kDTypeF16) {
    const auto* row = static_cast<const uint16_t*>(data) + offset;
    for (; c + kLanes <= count; c += kLanes) Store(out + c, LoadF16(row + c));
  }
  for (; c < count; ++c) out[c] = LoadAny(args, data, dtype, offset + c * stride);
}

template <class Args>
ASSAY_INLINE void StoreRow(const Args& args, void* data, int dtype, int64_t offset, int64_t stride, int64_t count, const float* row) {
  int64_t c = 0;
  if (stride == 1 && dtype == kDTypeF32) {
    auto* out = static_cast<float*>(data) + offset;
    for (; c + kLanes <= count; c += kLanes) Store(out + c, Load(row + c));
  } else if (stride == 1 && dtype == kDTypeBf16) {
    auto* out = static_cast<uint16_t*>(data) + offset;
    for (; c + kLanes <= count; c += kLanes) StoreBf16(out + c, Load(row + c));
  }
  for (; c < count; ++c) StoreAny(args, data, dtype, offset + c * stride, static_cast<double>(row[c]));
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
