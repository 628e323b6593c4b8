// simd.h: about thirty vector operations that every kernel here is written in, with one backend per instruction set. A translation unit
// (generated: cmake/AssayKernels.cmake) names its namespace in ASSAY_SIMD_NAMESPACE, picks one backend, and then includes the same *-inl.h
// kernels as the others; dispatch.cc chooses among them by CPUID. No standard header with inline functions may be included from here on: the linker
// would keep one copy of such a function, perhaps the one compiled for AVX-512, for the whole program.
//
// A backend provides, for V (kLanes floats), M (a lane mask) and VP (kLanes pairs of bf16 in 32 bits each, low half first):
//   Zero Set Load Store LoadPartial StorePartial        Add Sub Mul Div Fma(a,b,c)=ab+c Max Min Abs Floor Ceil Round
//   Less Equal And Or Select(m,yes,no) Any IsNan         ScaleByPow2(v,n): v 2^n, n integral in [-127, 127], 0 at -127
//   ReduceAdd ReduceMax                                  LoadBf16 StoreBf16 LoadF16 LoadI8
//   LoadPairs SetPair LowOfPair HighOfPair DotPairs      SignedField<bit,bits>(v): that field of every unit as a float
//   HalvesToFloat(v,low,high): two binary16 a unit       EvenFp8AsHalves OddFp8AsHalves: e4m3 as binary16 of 2^-8 its value
//   VI ZeroInts DotBytes(acc,u8,i8) LoadBytes SetBytes ToFloat StoreInts
//   ShortField<bit,bits>(v): that field of every 16-bit half, signed; DotShorts(acc,a,b): acc + the products of both halves
//   Sqrt Iota Prefetch PrefetchFar
// Max(a,b) and Min(a,b) return b when either is NaN, as x86 does: put the value whose NaN must survive second.
// Every order of additions is fixed, so equal inputs give equal bits on one backend whatever the tile shape around them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifndef ASSAY_SIMD_NAMESPACE
#error "a backend's translation unit defines ASSAY_SIMD_NAMESPACE before it includes simd.h"
#endif

#if defined(ASSAY_SIMD_EMULATED) || defined(ASSAY_SIMD_ROLLED)  // only to be right: code of a reasonable size
#define ASSAY_INLINE inline
#define ASSAY_UNROLL
#else
#define ASSAY_INLINE inline __attribute__((always_inline))
#endif
#if defined(ASSAY_SIMD_EMULATED) || defined(ASSAY_SIMD_ROLLED)
#elif defined(__clang__)
#define ASSAY_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ASSAY_UNROLL _Pragma("GCC unroll 64")
#endif

#if defined(ASSAY_SIMD_AVX512)
#include "kernels/simd_avx512-inl.h"
#elif defined(ASSAY_SIMD_AVX2)
#include "kernels/simd_avx2-inl.h"
#else
#include "kernels/simd_generic-inl.h"
#endif

namespace assay::ASSAY_SIMD_NAMESPACE {

inline constexpr float kInfinity = __builtin_inff();
inline constexpr float kLog2E = 1.44269504088896340736f;
inline constexpr float kLn2 = 0.69314718055994530942f;

// 2^x for x <= 127; 0 below -127, NaN stays NaN. x = n + r with integral n and |r| <= 1/2; minimax polynomials in r with value 1 at 0.
// Relative error before rounding: 2e-9 (kPrecise), 9e-8 (kFast: for weights that are rounded to bf16; their unrounded sum makes the LSE).
enum class Precision { kPrecise, kFast };
template <Precision kPrecision>
ASSAY_INLINE V Exp2(V x) {
  x = Max(Set(-127.0f), x);
  const V n = Round(x);
  const V r = Sub(x, n);
  V p;
  if constexpr (kPrecision == Precision::kPrecise) {
    p = Fma(r, Set(0.00015353361959569156f), Set(0.0013398875016719103f));
    p = Fma(p, r, Set(0.00961843691766262f));
    p = Fma(p, r, Set(0.055503323674201965f));
    p = Fma(p, r, Set(0.24022647738456726f));
    p = Fma(p, r, Set(0.6931471824645996f));
  } else {
    p = Fma(r, Set(0.001326472731307149f), Set(0.009671512991189957f));
    p = Fma(p, r, Set(0.05550733581185341f));
    p = Fma(p, r, Set(0.24022242426872253f));
    p = Fma(p, r, Set(0.6931470036506653f));
  }
  return ScaleByPow2(Fma(p, r, Set(1.0f)), n);
}

// e^x, relative error about 1e-7 (Cephes' polynomial). Saturates at e^88.7 and gives 0 below -87.33, where the smallest normal float lies; NaN stays NaN.
ASSAY_INLINE V Exp(V x) {
  const M vanishes = Less(x, Set(-87.33f));
  // The order keeps a NaN: it is the second operand of both.
  x = Min(Set(88.7f), Max(Set(-88.0f), x));
  const V n = Round(Mul(x, Set(kLog2E)));
  // Cody and Waite: ln 2 in two parts, the first exact in few bits.
  V r = Fma(n, Set(-0.693359375f), x);
  r = Fma(n, Set(2.12194440e-4f), r);
  V p = Fma(r, Set(1.9875691500e-4f), Set(1.3981999507e-3f));
  p = Fma(p, r, Set(8.3334519073e-3f));
  p = Fma(p, r, Set(4.1665795894e-2f));
  p = Fma(p, r, Set(1.6666665459e-1f));
  p = Fma(p, r, Set(5.0000001201e-1f));
  p = Fma(p, Mul(r, r), Add(r, Set(1.0f)));
  // Two steps, because 2^128 has no float.
  const V half = Floor(Mul(n, Set(0.5f)));
  return Select(vanishes, Zero(), ScaleByPow2(ScaleByPow2(p, half), Sub(n, half)));
}

// log(1 + e^x), without overflow: max(x, 0) + log1p(e^-|x|), and log1p(u) = 2 atanh(u / (2 + u)) as its series, which for u <= 1 ends below
// a rounding after eight terms.
ASSAY_INLINE V Softplus(V x) {
  const V u = Exp(Sub(Zero(), Abs(x)));
  const V s = Div(u, Add(u, Set(2.0f)));
  const V z = Mul(s, s);
  V p = Fma(z, Set(2.0f / 15), Set(2.0f / 13));
  p = Fma(p, z, Set(2.0f / 11));
  p = Fma(p, z, Set(2.0f / 9));
  p = Fma(p, z, Set(2.0f / 7));
  p = Fma(p, z, Set(2.0f / 5));
  p = Fma(p, z, Set(2.0f / 3));
  p = Fma(p, z, Set(2.0f));
  return Fma(p, s, Max(Zero(), x));
}

// tanh x; Cephes' split at 0.625 keeps the relative error at a few ulp near 0, where 1 - 2 / (e^2x + 1) cancels.
ASSAY_INLINE V Tanh(V x) {
  const V magnitude = Abs(x);
  const V e = Exp(Add(magnitude, magnitude));
  const V large = Sub(Set(1.0f), Div(Set(2.0f), Add(e, Set(1.0f))));
  const V signed_large = Select(Less(x, Zero()), Sub(Zero(), large), large);
  const V z = Mul(x, x);
  V p = Fma(z, Set(-5.70498872745e-3f), Set(2.06390887954e-2f));
  p = Fma(p, z, Set(-5.37397155531e-2f));
  p = Fma(p, z, Set(1.33314422036e-1f));
  p = Fma(p, z, Set(-3.33332819422e-1f));
  const V small = Fma(Mul(p, z), x, x);
  // A NaN compares as not small and arrives through `large`.
  return Select(Less(magnitude, Set(0.625f)), small, signed_large);
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
