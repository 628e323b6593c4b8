// The AVX2 backend of simd.h: 8 lanes, FMA and F16C. bf16 pairs are widened to float by a shift and a mask.
#pragma once

#include <immintrin.h>

namespace assay::ASSAY_SIMD_NAMESPACE {

using V = __m256;
using M = __m256;
using VP = __m256i;
using VI = __m256i;

inline constexpr int kLanes = 8;
inline constexpr int kRegisters = 16;
inline constexpr bool kNativePairs = false;
inline constexpr char kName[] = "avx2";

ASSAY_INLINE V Zero() { return _mm256_setzero_ps(); }
ASSAY_INLINE V Set(float x) { return _mm256_set1_ps(x); }
ASSAY_INLINE V Load(const float* p) { return _mm256_loadu_ps(p); }
ASSAY_INLINE void Store(float* p, V v) { _mm256_storeu_ps(p, v); }
ASSAY_INLINE __m256i FirstLanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
ASSAY_INLINE V LoadPartial(const float* p, int count) { return _mm256_maskload_ps(p, FirstLanes(count)); }
ASSAY_INLINE void StorePartial(float* p, V v, int count) { _mm256_maskstore_ps(p, FirstLanes(count), v); }

ASSAY_INLINE V Add(V a, V b) { return _mm256_add_ps(a, b); }
ASSAY_INLINE V Sub(V a, V b) { return _mm256_sub_ps(a, b); }
ASSAY_INLINE V Mul(V a, V b) { return _mm256_mul_ps(a, b); }
ASSAY_INLINE V Div(V a, V b) { return _mm256_div_ps(a, b); }
ASSAY_INLINE V Fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
ASSAY_INLINE V Max(V a, V b) { return _mm256_max_ps(a, b); }
ASSAY_INLINE V Min(V a, V b) { return _mm256_min_ps(a, b); }
ASSAY_INLINE V Abs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
ASSAY_INLINE V Sqrt(V a) { return _mm256_sqrt_ps(a); }
ASSAY_INLINE V Floor(V a) { return _mm256_floor_ps(a); }
ASSAY_INLINE V Ceil(V a) { return _mm256_ceil_ps(a); }
ASSAY_INLINE V Round(V a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
ASSAY_INLINE V Iota() { return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7); }

ASSAY_INLINE M Less(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
ASSAY_INLINE M Equal(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
ASSAY_INLINE M IsNan(V a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
ASSAY_INLINE M And(M a, M b) { return _mm256_and_ps(a, b); }
ASSAY_INLINE M Or(M a, M b) { return _mm256_or_ps(a, b); }
ASSAY_INLINE V Select(M m, V yes, V no) { return _mm256_blendv_ps(no, yes, m); }
ASSAY_INLINE bool Any(M m) { return _mm256_movemask_ps(m) != 0; }

ASSAY_INLINE V ScaleByPow2(V v, V n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

ASSAY_INLINE float ReduceAdd(V v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
ASSAY_INLINE float ReduceMax(V v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

ASSAY_INLINE V LoadBf16(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
// Round to nearest even; NaN becomes the quiet NaN of its sign.
ASSAY_INLINE void StoreBf16(uint16_t* p, V v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i high = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
  high = _mm256_blendv_epi8(high, quiet, _mm256_castps_si256(IsNan(v)));
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
ASSAY_INLINE V LoadF16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
ASSAY_INLINE V LoadI8(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

ASSAY_INLINE VP LoadPairs(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
ASSAY_INLINE VP SetPair(uint32_t pair) { return _mm256_set1_epi32(static_cast<int>(pair)); }
ASSAY_INLINE V LowOfPair(VP v) { return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)); }
ASSAY_INLINE V HighOfPair(VP v) { return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(static_cast<int>(0xffff0000u)))); }
ASSAY_INLINE V DotPairs(V acc, VP a, VP b) { return Fma(HighOfPair(a), HighOfPair(b), Fma(LowOfPair(a), LowOfPair(b), acc)); }

template <int kBit, int kBits>
ASSAY_INLINE V SignedField(VP v) {
  if constexpr (kBit + kBits < 32) v = _mm256_slli_epi32(v, 32 - kBit - kBits);
  return _mm256_cvtepi32_ps(_mm256_srai_epi32(v, 32 - kBits));
}
// The low halves of four units beside their high halves in each 128-bit half, then all low halves beside all high ones.
ASSAY_INLINE void HalvesToFloat(VP v, V& low, V& high) {
  const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,  //
                                         0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  const __m256i apart = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(v, order), 0xd8);
  low = _mm256_cvtph_ps(_mm256_castsi256_si128(apart));
  high = _mm256_cvtph_ps(_mm256_extracti128_si256(apart, 1));
}
// Exponent and mantissa move to where binary16 has them; the biases, 7 and 15, leave the factor 2^-8. NaN becomes a number.
ASSAY_INLINE VP EvenFp8AsHalves(VP v) {
  const __m256i magnitude = _mm256_slli_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0x007f007f)), 7);
  return _mm256_or_si256(magnitude, _mm256_slli_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0x00800080)), 8));
}
ASSAY_INLINE VP OddFp8AsHalves(VP v) {
  const __m256i magnitude = _mm256_srli_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0x7f007f00)), 1);
  return _mm256_or_si256(magnitude, _mm256_and_si256(v, _mm256_set1_epi32(static_cast<int>(0x80008000u))));
}

ASSAY_INLINE VI ZeroInts() { return _mm256_setzero_si256(); }
ASSAY_INLINE VI LoadBytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
ASSAY_INLINE VI SetBytes(uint32_t four) { return _mm256_set1_epi32(static_cast<int>(four)); }
// acc + sum over the four bytes of each lane. Widened to 16 bits first: maddubs alone saturates at 2 * 255 * 127.
ASSAY_INLINE VI DotBytes(VI acc, VI u8, VI i8) {
  const __m256i mask = _mm256_set1_epi16(0xff);
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(u8, mask), _mm256_srai_epi16(_mm256_slli_epi16(i8, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u8, 8), _mm256_srai_epi16(i8, 8));
  return _mm256_add_epi32(acc, _mm256_add_epi32(even, odd));
}
template <int kBit, int kBits>
ASSAY_INLINE VI ShortField(VI v) {
  if constexpr (kBit + kBits < 16) v = _mm256_slli_epi16(v, 16 - kBit - kBits);
  return _mm256_srai_epi16(v, 16 - kBits);
}
ASSAY_INLINE VI DotShorts(VI acc, VI a, VI b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }
ASSAY_INLINE V ToFloat(VI v) { return _mm256_cvtepi32_ps(v); }
ASSAY_INLINE void StoreInts(int32_t* p, VI v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

ASSAY_INLINE void Prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
ASSAY_INLINE void PrefetchFar(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }  // into the second-level cache

}  // namespace assay::ASSAY_SIMD_NAMESPACE
