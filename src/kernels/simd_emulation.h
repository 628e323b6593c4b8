// The AVX-512 backend on a CPU without AVX-512: the same kernels, their intrinsics emulated by SIMDe, so that its code is tested on every
// x86 machine (GCC; SIMDe 0.7.4 and clang 19 disagree about __bf16). What SIMDe lacks is spelled out below, lane by lane. The units
// that include this first and then a family of kernels are generated (cmake/AssayKernels.cmake).
#pragma once

#include "kernels/test_tables.h"

#ifdef ASSAY_HAS_EMULATION
#define SIMDE_ENABLE_NATIVE_ALIASES
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <simde/x86/avx512.h>
#pragma GCC diagnostic pop
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors stay inside this file

#include <cmath>
#include <cstring>

#include "core/dtype.h"

namespace assay::avx512_emulated {

using __mmask16 = simde__mmask16;

template <class To, class From>
To Bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
template <class T, int n>
struct Lanes {
  T at[n];
};
template <class ToLane, class FromLane, int n, class To, class From, class Function>
To Map(const From& from, const Function& function) {
  const auto in = Bits<Lanes<FromLane, n>>(from);
  Lanes<ToLane, n> out;
  for (int i = 0; i < n; ++i) out.at[i] = function(in.at[i]);
  return Bits<To>(out);
}

// Named apart from SIMDe's own: which of these it has depends on its version.
namespace lanes {
inline __m512i cvtps_epi32(__m512 v) {
  return Map<int32_t, float, 16, __m512i>(v, [](float x) {
    return std::isfinite(x) && std::fabs(x) < 2e9f ? static_cast<int32_t>(std::nearbyint(x)) : INT32_MIN;
  });
}
inline __m512 cvtepi32_ps(__m512i v) {
  return Map<float, int32_t, 16, __m512>(v, [](int32_t x) { return static_cast<float>(x); });
}
inline __m512i srai_epi32(__m512i v, int bits) {
  return Map<int32_t, int32_t, 16, __m512i>(v, [bits](int32_t x) { return x >> bits; });
}
inline __m512i cvtepi8_epi32(__m128i v) {
  return Map<int32_t, int8_t, 16, __m512i>(v, [](int8_t x) { return static_cast<int32_t>(x); });
}
inline __m512i cvtepu16_epi32(__m256i v) {
  return Map<uint32_t, uint16_t, 16, __m512i>(v, [](uint16_t x) { return static_cast<uint32_t>(x); });
}
inline __m256i cvtepi32_epi16(__m512i v) {
  return Map<uint16_t, uint32_t, 16, __m256i>(v, [](uint32_t x) { return static_cast<uint16_t>(x); });
}
inline __m512 cvtph_ps(__m256i v) {
  return Map<float, uint16_t, 16, __m512>(v, [](uint16_t x) { return F32FromF16(x); });
}
inline float reduce_add_ps(__m512 v) {
  auto lanes = Bits<Lanes<float, 16>>(v);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes.at[i] += lanes.at[i + half];
  }
  return lanes.at[0];
}
inline float reduce_max_ps(__m512 v) {
  const auto lanes = Bits<Lanes<float, 16>>(v);
  float most = lanes.at[0];
  for (const float lane : lanes.at) most = most > lane ? most : lane;
  return most;
}

inline __m512 maskz_loadu_ps(__mmask16 mask, const float* p) {
  Lanes<float, 16> lanes{};
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i & 1) != 0) lanes.at[i] = p[i];
  }
  return Bits<__m512>(lanes);
}
inline void mask_storeu_ps(float* p, __mmask16 mask, __m512 v) {
  const auto lanes = Bits<Lanes<float, 16>>(v);
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i & 1) != 0) p[i] = lanes.at[i];
  }
}
}  // namespace lanes

}  // namespace assay::avx512_emulated

#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32 lanes::cvtps_epi32
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps lanes::cvtepi32_ps
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 lanes::srai_epi32
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32 lanes::cvtepi8_epi32
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32 lanes::cvtepu16_epi32
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16 lanes::cvtepi32_epi16
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps lanes::cvtph_ps
#undef _mm512_reduce_add_ps
#define _mm512_reduce_add_ps lanes::reduce_add_ps
#undef _mm512_reduce_max_ps
#define _mm512_reduce_max_ps lanes::reduce_max_ps
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps lanes::maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps lanes::mask_storeu_ps

#define ASSAY_AS_BF16(v) Bits<simde__m512bh>(v)
#define ASSAY_SIMD_NAMESPACE avx512_emulated
#define ASSAY_SIMD_AVX512
#define ASSAY_SIMD_EMULATED
#endif
