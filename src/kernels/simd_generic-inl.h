// The generic backend of simd.h: compiler vector extensions of 4 lanes, for any CPU (SSE2, NEON, and what comes). It is the one that
// must be right everywhere, so it uses no intrinsic at all.
#pragma once

namespace assay::ASSAY_SIMD_NAMESPACE {

typedef float V __attribute__((vector_size(16)));
typedef int32_t VI __attribute__((vector_size(16)));
typedef uint32_t VP __attribute__((vector_size(16)));
using M = VI;

inline constexpr int kLanes = 4;
inline constexpr int kRegisters = 16;
inline constexpr bool kNativePairs = false;
inline constexpr char kName[] = "generic";

ASSAY_INLINE V Zero() { return V{0, 0, 0, 0}; }
ASSAY_INLINE V Set(float x) { return V{x, x, x, x}; }
ASSAY_INLINE V Load(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
ASSAY_INLINE void Store(float* p, V v) { __builtin_memcpy(p, &v, sizeof(v)); }
ASSAY_INLINE V LoadPartial(const float* p, int count) {
  V v = Zero();
  for (int i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
ASSAY_INLINE void StorePartial(float* p, V v, int count) {
  for (int i = 0; i < count; ++i) p[i] = v[i];
}

ASSAY_INLINE V Add(V a, V b) { return a + b; }
ASSAY_INLINE V Sub(V a, V b) { return a - b; }
ASSAY_INLINE V Mul(V a, V b) { return a * b; }
ASSAY_INLINE V Div(V a, V b) { return a / b; }
ASSAY_INLINE V Fma(V a, V b, V c) { return a * b + c; }  // one rounding or two, as the target's -ffp-contract decides
ASSAY_INLINE M Less(V a, V b) { return a < b; }
ASSAY_INLINE M Equal(V a, V b) { return a == b; }
ASSAY_INLINE M IsNan(V a) { return a != a; }
ASSAY_INLINE M And(M a, M b) { return a & b; }
ASSAY_INLINE M Or(M a, M b) { return a | b; }
ASSAY_INLINE V Select(M m, V yes, V no) {
  return reinterpret_cast<V>((m & reinterpret_cast<VI>(yes)) | (~m & reinterpret_cast<VI>(no)));
}
ASSAY_INLINE bool Any(M m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
ASSAY_INLINE V Max(V a, V b) { return Select(a > b, a, b); }
ASSAY_INLINE V Min(V a, V b) { return Select(a < b, a, b); }
ASSAY_INLINE V Abs(V a) { return reinterpret_cast<V>(reinterpret_cast<VI>(a) & 0x7fffffff); }
ASSAY_INLINE V Sqrt(V a) {
  for (int i = 0; i < 4; ++i) a[i] = __builtin_sqrtf(a[i]);
  return a;
}
// Adding and subtracting 1.5 * 2^23 rounds to nearest even; beyond 2^22 a float of interest here is integral or infinite already.
ASSAY_INLINE V Round(V a) {
  const V magic = Set(12582912.0f);
  return Select(Abs(a) < Set(4194304.0f), (a + magic) - magic, a);
}
ASSAY_INLINE V Floor(V a) {
  const V r = Round(a);
  return Select(r > a, r - Set(1.0f), r);
}
ASSAY_INLINE V Ceil(V a) {
  const V r = Round(a);
  return Select(r < a, r + Set(1.0f), r);
}
ASSAY_INLINE V Iota() { return V{0, 1, 2, 3}; }

// n + 1.5 * 2^23 holds n in its low mantissa bits, in two's complement.
ASSAY_INLINE V ScaleByPow2(V v, V n) {
  const VP bits = reinterpret_cast<VP>(n + Set(12582912.0f)) + 127u;
  return v * reinterpret_cast<V>(bits << 23);
}

ASSAY_INLINE float ReduceAdd(V v) { return (v[0] + v[2]) + (v[1] + v[3]); }
ASSAY_INLINE float ReduceMax(V v) {
  const float a = v[0] > v[2] ? v[0] : v[2];
  const float b = v[1] > v[3] ? v[1] : v[3];
  return a > b ? a : b;
}

ASSAY_INLINE V LoadBf16(const uint16_t* p) {
  const VP wide = {p[0], p[1], p[2], p[3]};
  return reinterpret_cast<V>(wide << 16);
}
ASSAY_INLINE void StoreBf16(uint16_t* p, V v) {
  const VP bits = reinterpret_cast<VP>(v);
  const VP rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const VP quiet = (bits >> 16) | 0x40u;
  for (int i = 0; i < 4; ++i) p[i] = static_cast<uint16_t>(v[i] != v[i] ? quiet[i] : rounded[i]);
}
// binary16 without hardware: place exponent and mantissa as in binary32, then correct the bias by a multiplication, which also
// normalises subnormals; infinity and NaN need their exponent filled.
ASSAY_INLINE V F16Bits(VP wide) {
  const V magnitude = reinterpret_cast<V>((wide & 0x7fffu) << 13) * Set(0x1p112f);
  const VP special = reinterpret_cast<VP>((wide & 0x7c00u) == 0x7c00u) & 0x7f800000u;
  return reinterpret_cast<V>(reinterpret_cast<VP>(magnitude) | special | ((wide & 0x8000u) << 16));
}
ASSAY_INLINE V LoadF16(const uint16_t* p) { return F16Bits(VP{p[0], p[1], p[2], p[3]}); }
ASSAY_INLINE V LoadI8(const int8_t* p) {
  return V{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), static_cast<float>(p[3])};
}

ASSAY_INLINE VP LoadPairs(const uint32_t* p) {
  VP v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
ASSAY_INLINE VP SetPair(uint32_t pair) { return VP{pair, pair, pair, pair}; }
ASSAY_INLINE V LowOfPair(VP v) { return reinterpret_cast<V>(v << 16); }
ASSAY_INLINE V HighOfPair(VP v) { return reinterpret_cast<V>(v & 0xffff0000u); }
ASSAY_INLINE V DotPairs(V acc, VP a, VP b) { return Fma(HighOfPair(a), HighOfPair(b), Fma(LowOfPair(a), LowOfPair(b), acc)); }

template <int kBit, int kBits>
ASSAY_INLINE V SignedField(VP v) {
  return __builtin_convertvector(reinterpret_cast<VI>(v << (32 - kBit - kBits)) >> (32 - kBits), V);
}
ASSAY_INLINE void HalvesToFloat(VP v, V& low, V& high) {
  low = F16Bits(v & 0xffffu);
  high = F16Bits(v >> 16);
}
// Exponent and mantissa move to where binary16 has them; the biases, 7 and 15, leave the factor 2^-8. NaN becomes a number.
ASSAY_INLINE VP EvenFp8AsHalves(VP v) { return ((v & 0x007f007fu) << 7) | ((v & 0x00800080u) << 8); }
ASSAY_INLINE VP OddFp8AsHalves(VP v) { return ((v & 0x7f007f00u) >> 1) | (v & 0x80008000u); }

ASSAY_INLINE VI ZeroInts() { return VI{0, 0, 0, 0}; }
ASSAY_INLINE VI LoadBytes(const void* p) {
  VI v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
ASSAY_INLINE VI SetBytes(uint32_t four) {
  const auto lane = static_cast<int32_t>(four);
  return VI{lane, lane, lane, lane};
}
ASSAY_INLINE VI DotBytes(VI acc, VI u8, VI i8) {
  const VP unsigned_bytes = reinterpret_cast<VP>(u8);
  const VP signed_bytes = reinterpret_cast<VP>(i8);
  for (int byte = 0; byte < 4; ++byte) {
    const VI a = reinterpret_cast<VI>((unsigned_bytes >> (8 * byte)) & 0xffu);
    const VI b = reinterpret_cast<VI>(signed_bytes << (24 - 8 * byte)) >> 24;
    acc += a * b;
  }
  return acc;
}
template <int kBit, int kBits>
ASSAY_INLINE VI ShortField(VI v) {
  typedef int16_t Shorts __attribute__((vector_size(16)));
  typedef uint16_t Bits __attribute__((vector_size(16)));
  return reinterpret_cast<VI>(reinterpret_cast<Shorts>(reinterpret_cast<Bits>(v) << (16 - kBit - kBits)) >> (16 - kBits));
}
ASSAY_INLINE VI DotShorts(VI acc, VI a, VI b) {
  const auto low = [](VI v) { return reinterpret_cast<VI>(reinterpret_cast<VP>(v) << 16) >> 16; };
  return acc + low(a) * low(b) + (a >> 16) * (b >> 16);
}
ASSAY_INLINE V ToFloat(VI v) { return __builtin_convertvector(v, V); }
ASSAY_INLINE void StoreInts(int32_t* p, VI v) { __builtin_memcpy(p, &v, sizeof(v)); }

ASSAY_INLINE void Prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }
ASSAY_INLINE void PrefetchFar(const void* p) { __builtin_prefetch(p, 0, 2); }  // into the second-level cache

}  // namespace assay::ASSAY_SIMD_NAMESPACE
