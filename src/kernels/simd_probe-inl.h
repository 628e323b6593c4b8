// Test support: runs simd.h's operations of one backend on arrays, behind one plain struct, so that tests compiled for any CPU can call
// them (simd_test.cc).
#pragma once

#include "kernels/simd_probe.h"
#include "kernels/tile-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

template <class Function>
void MapFloats(const float* in, int count, float* out, const Function& function) {
  for (int i = 0; i < count; i += kLanes) {
    const int rest = count - i < kLanes ? count - i : kLanes;
    StorePartial(out + i, function(LoadPartial(in + i, rest)), rest);
  }
}

void Unary(int operation, const float* in, int count, float* out) {
  switch (operation) {
    case 0: return MapFloats(in, count, out, [](V v) { return Exp2<Precision::kPrecise>(v); });
    case 1: return MapFloats(in, count, out, [](V v) { return Exp2<Precision::kFast>(v); });
    case 2: return MapFloats(in, count, out, [](V v) { return Exp(v); });
    case 3: return MapFloats(in, count, out, [](V v) { return Tanh(v); });
    case 4: return MapFloats(in, count, out, [](V v) { return Floor(v); });
    case 5: return MapFloats(in, count, out, [](V v) { return Ceil(v); });
    case 6: return MapFloats(in, count, out, [](V v) { return Round(v); });
    case 7: return MapFloats(in, count, out, [](V v) { return Abs(v); });
    case 8: return MapFloats(in, count, out, [](V v) { return Max(v, Set(1.0f)); });
    case 9: return MapFloats(in, count, out, [](V v) { return Min(Set(1.0f), v); });
    case 10: return MapFloats(in, count, out, [](V v) { return Select(Less(v, Zero()), Set(-1.0f), Select(IsNan(v), Set(2.0f), Set(1.0f))); });
    case 11: return MapFloats(in, count, out, [](V v) { return Softplus(v); });
    default: return;
  }
}

// `count` is a multiple of 16 in these.
void FromBf16(const uint16_t* in, int count, float* out) {
  for (int i = 0; i < count; i += kLanes) Store(out + i, LoadBf16(in + i));
}
void ToBf16(const float* in, int count, uint16_t* out) {
  for (int i = 0; i < count; i += kLanes) StoreBf16(out + i, Load(in + i));
}
void FromF16(const uint16_t* in, int count, float* out) {
  for (int i = 0; i < count; i += kLanes) Store(out + i, LoadF16(in + i));
}
void FromI8(const int8_t* in, int count, float* out) {
  for (int i = 0; i < count; i += kLanes) Store(out + i, LoadI8(in + i));
}
// Per 32-bit unit: the dot product of two pairs, added to out; and of four bytes.
void DotOfPairs(const uint32_t* a, const uint32_t* b, int count, float* out) {
  for (int i = 0; i < count; i += kLanes) Store(out + i, DotPairs(Load(out + i), LoadPairs(a + i), LoadPairs(b + i)));
}
void DotOfBytes(const uint32_t* unsigned_bytes, const uint32_t* signed_bytes, int count, int32_t* out) {
  for (int i = 0; i < count; i += kLanes) StoreInts(out + i, DotBytes(ZeroInts(), LoadBytes(unsigned_bytes + i), LoadBytes(signed_bytes + i)));
}
template <class Unit, int kPart = 0>
void DecodeUnits(const uint32_t* units, int count, float* out) {
  for (int i = 0; i < count; i += kLanes) {
    V first, second;
    Unit::template Part<kPart>(LoadPairs(units + i), first, second);
    Store(out + Unit::template kFirst<kPart> * count + i, Mul(first, Set(Unit::kFactor)));
    Store(out + Unit::template kSecond<kPart> * count + i, Mul(second, Set(Unit::kFactor)));
  }
  if constexpr (kPart + 1 < Unit::kElements / 2) DecodeUnits<Unit, kPart + 1>(units, count, out);
}
void Decode(const uint32_t* units, int count, int bits, bool is_float, float* out) {
  if (bits == 16) return DecodeUnits<F16Unit>(units, count, out);
  if (bits == 8 && is_float) return DecodeUnits<E4m3Unit>(units, count, out);
  bits == 8 ? DecodeUnits<IntegerUnit<8>>(units, count, out) : DecodeUnits<IntegerUnit<4>>(units, count, out);
}
void Reduce(const float* in, float* sum, float* maximum) {
  *sum = ReduceAdd(Load(in));
  *maximum = ReduceMax(Load(in));
}

extern const SimdProbe kProbe;
constinit const SimdProbe kProbe = {kName, kLanes, Unary, FromBf16, ToBf16, FromF16, FromI8, DotOfPairs, DotOfBytes, Decode, Reduce};

}  // namespace assay::ASSAY_SIMD_NAMESPACE
