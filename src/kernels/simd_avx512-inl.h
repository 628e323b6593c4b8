// The AVX-512 backend of simd.h: 16 lanes, with F, BW, DQ, VL, VNNI and BF16. CPUs that have AVX-512 without BF16 run the AVX2 backend:
// one more variant would help machines of 2017 to 2019 only.
#pragma once

#ifndef ASSAY_SIMD_EMULATED  // tests run this file on any x86 CPU through SIMDe (simd_emulation.h)
#include <immintrin.h>
#define ASSAY_AS_BF16(v) reinterpret_cast<__m512bh>(v)
#endif

namespace assay::ASSAY_SIMD_NAMESPACE {

using V = __m512;
using M = __mmask16;
using VP = __m512i;
using VI = __m512i;

inline constexpr int kLanes = 16;
inline constexpr int kRegisters = 32;
inline constexpr bool kNativePairs = true;
#ifdef ASSAY_SIMD_EMULATED
inline constexpr char kName[] = "avx512_emulated";
#else
inline constexpr char kName[] = "avx512";
#endif

ASSAY_INLINE V Zero() { return _mm512_setzero_ps(); }
ASSAY_INLINE V Set(float x) { return _mm512_set1_ps(x); }
ASSAY_INLINE V Load(const float* p) { return _mm512_loadu_ps(p); }
ASSAY_INLINE void Store(float* p, V v) { _mm512_storeu_ps(p, v); }
ASSAY_INLINE M FirstLanes(int count) { return static_cast<M>((1u << count) - 1u); }
ASSAY_INLINE V LoadPartial(const float* p, int count) { return _mm512_maskz_loadu_ps(FirstLanes(count), p); }
ASSAY_INLINE void StorePartial(float* p, V v, int count) { _mm512_mask_storeu_ps(p, FirstLanes(count), v); }

ASSAY_INLINE V Add(V a, V b) { return _mm512_add_ps(a, b); }
ASSAY_INLINE V Sub(V a, V b) { return _mm512_sub_ps(a, b); }
ASSAY_INLINE V Mul(V a, V b) { return _mm512_mul_ps(a, b); }
ASSAY_INLINE V Div(V a, V b) { return _mm512_div_ps(a, b); }
ASSAY_INLINE V Fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
ASSAY_INLINE V Max(V a, V b) { return _mm512_max_ps(a, b); }
ASSAY_INLINE V Min(V a, V b) { return _mm512_min_ps(a, b); }
ASSAY_INLINE V Abs(V a) { return _mm512_abs_ps(a); }
ASSAY_INLINE V Sqrt(V a) { return _mm512_sqrt_ps(a); }
ASSAY_INLINE V Floor(V a) { return _mm512_roundscale_ps(a, 0x09); }
ASSAY_INLINE V Ceil(V a) { return _mm512_roundscale_ps(a, 0x0a); }
ASSAY_INLINE V Round(V a) { return _mm512_roundscale_ps(a, 0x08); }
ASSAY_INLINE V Iota() { return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

ASSAY_INLINE M Less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
ASSAY_INLINE M Equal(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
ASSAY_INLINE M IsNan(V a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
ASSAY_INLINE M And(M a, M b) { return static_cast<M>(a & b); }
ASSAY_INLINE M Or(M a, M b) { return static_cast<M>(a | b); }
ASSAY_INLINE V Select(M m, V yes, V no) { return _mm512_mask_blend_ps(m, no, yes); }
ASSAY_INLINE bool Any(M m) { return m != 0; }

// scalef would keep subnormal results; the other backends give 0 at -127, and so does this one.
ASSAY_INLINE V ScaleByPow2(V v, V n) {
  const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_mul_ps(v, _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23)));
}

ASSAY_INLINE float ReduceAdd(V v) { return _mm512_reduce_add_ps(v); }
ASSAY_INLINE float ReduceMax(V v) { return _mm512_reduce_max_ps(v); }

ASSAY_INLINE V LoadBf16(const uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
// By integers and not by vcvtneps2bf16, which would flush subnormals that memory holds exactly.
ASSAY_INLINE void StoreBf16(uint16_t* p, V v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
  const __m512i high = _mm512_mask_blend_epi32(IsNan(v), rounded, quiet);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(high));
}
ASSAY_INLINE V LoadF16(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
ASSAY_INLINE V LoadI8(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

ASSAY_INLINE VP LoadPairs(const uint32_t* p) { return _mm512_loadu_si512(p); }
ASSAY_INLINE VP SetPair(uint32_t pair) { return _mm512_set1_epi32(static_cast<int>(pair)); }
ASSAY_INLINE V LowOfPair(VP v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); }
ASSAY_INLINE V HighOfPair(VP v) { return _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(0xffff0000u)))); }
ASSAY_INLINE V DotPairs(V acc, VP a, VP b) {
  return _mm512_dpbf16_ps(acc, ASSAY_AS_BF16(a), ASSAY_AS_BF16(b));
}

template <int kBit, int kBits>
ASSAY_INLINE V SignedField(VP v) {
  if constexpr (kBit + kBits < 32) v = _mm512_slli_epi32(v, 32 - kBit - kBits);
  return _mm512_cvtepi32_ps(_mm512_srai_epi32(v, 32 - kBits));
}
ASSAY_INLINE void HalvesToFloat(VP v, V& low, V& high) {
  low = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
  high = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(v, 16)));
}
// Exponent and mantissa move to where binary16 has them; the biases, 7 and 15, leave the factor 2^-8. NaN becomes a number.
ASSAY_INLINE VP EvenFp8AsHalves(VP v) {
  const __m512i magnitude = _mm512_slli_epi32(_mm512_and_si512(v, _mm512_set1_epi32(0x007f007f)), 7);
  return _mm512_or_si512(magnitude, _mm512_slli_epi32(_mm512_and_si512(v, _mm512_set1_epi32(0x00800080)), 8));
}
ASSAY_INLINE VP OddFp8AsHalves(VP v) {
  const __m512i magnitude = _mm512_srli_epi32(_mm512_and_si512(v, _mm512_set1_epi32(0x7f007f00)), 1);
  return _mm512_or_si512(magnitude, _mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(0x80008000u))));
}

ASSAY_INLINE VI ZeroInts() { return _mm512_setzero_si512(); }
ASSAY_INLINE VI LoadBytes(const void* p) { return _mm512_loadu_si512(p); }
ASSAY_INLINE VI SetBytes(uint32_t four) { return _mm512_set1_epi32(static_cast<int>(four)); }
ASSAY_INLINE VI DotBytes(VI acc, VI u8, VI i8) { return _mm512_dpbusd_epi32(acc, u8, i8); }
template <int kBit, int kBits>
ASSAY_INLINE VI ShortField(VI v) {
  if constexpr (kBit + kBits < 16) v = _mm512_slli_epi16(v, 16 - kBit - kBits);
  return _mm512_srai_epi16(v, 16 - kBits);
}
ASSAY_INLINE VI DotShorts(VI acc, VI a, VI b) { return _mm512_dpwssd_epi32(acc, a, b); }
ASSAY_INLINE V ToFloat(VI v) { return _mm512_cvtepi32_ps(v); }
ASSAY_INLINE void StoreInts(int32_t* p, VI v) { _mm512_storeu_si512(p, v); }

ASSAY_INLINE void Prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }
ASSAY_INLINE void PrefetchFar(const void* p) { __builtin_prefetch(p, 0, 2); }  // into the second-level cache

}  // namespace assay::ASSAY_SIMD_NAMESPACE
