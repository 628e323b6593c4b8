#include "core/dtype.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/check.h"

namespace assay {
namespace {

struct TypeRow {
  DType dtype;
  std::string_view name;
  int bits;
  int mantissa_bits;  // -1 for integers
};

constexpr std::array kTypes = {
    TypeRow{DType::kF64, "f64", 64, 52},  TypeRow{DType::kF32, "f32", 32, 23},   TypeRow{DType::kF16, "f16", 16, 10},
    TypeRow{DType::kBf16, "bf16", 16, 7}, TypeRow{DType::kE4m3, "e4m3", 8, 3},   TypeRow{DType::kE5m2, "e5m2", 8, 2},
    TypeRow{DType::kI8, "i8", 8, -1},     TypeRow{DType::kU8, "u8", 8, -1},      TypeRow{DType::kI4, "i4", 4, -1},
    TypeRow{DType::kU4, "u4", 4, -1},     TypeRow{DType::kI32, "i32", 32, -1},   TypeRow{DType::kI64, "i64", 64, -1},
    TypeRow{DType::kBool8, "bool", 8, -1}};

struct Alias {
  std::string_view name;
  DType dtype;
};

constexpr std::array kAliases = {
    Alias{"float64", DType::kF64},    Alias{"double", DType::kF64},   Alias{"fp32", DType::kF32},
    Alias{"float32", DType::kF32},    Alias{"float", DType::kF32},    Alias{"fp16", DType::kF16},
    Alias{"float16", DType::kF16},    Alias{"half", DType::kF16},     Alias{"bfloat16", DType::kBf16},
    Alias{"fp8", DType::kE4m3},       Alias{"fp8_e4m3", DType::kE4m3}, Alias{"float8_e4m3fn", DType::kE4m3},
    Alias{"fp8_e5m2", DType::kE5m2},  Alias{"float8_e5m2", DType::kE5m2}, Alias{"int8", DType::kI8},
    Alias{"uint8", DType::kU8},       Alias{"int4", DType::kI4},      Alias{"uint4", DType::kU4},
    Alias{"int32", DType::kI32},      Alias{"int64", DType::kI64},    Alias{"bool8", DType::kBool8}};

const TypeRow& RowOf(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  ASSAY_CHECK(index < kTypes.size(), "unknown dtype");
  return kTypes[index];
}

// A minifloat with an implicit leading one and gradual underflow, rounded to nearest even by scaling to integers.
struct Minifloat {
  int exponent_bits;
  int mantissa_bits;
  bool has_infinity;
};

uint32_t EncodeMinifloat(float value, Minifloat format) {
  const int sign_shift = format.exponent_bits + format.mantissa_bits;
  const uint32_t sign = (std::signbit(value) ? 1u : 0u) << sign_shift;
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const uint32_t exponent_mask = (1u << format.exponent_bits) - 1;
  const uint32_t mantissa_mask = (1u << format.mantissa_bits) - 1;
  // Without infinities only the all-ones pattern is NaN; with them every all-ones exponent is special.
  if (std::isnan(value)) {
    return sign | (exponent_mask << format.mantissa_bits) |
           (format.has_infinity ? 1u << (format.mantissa_bits - 1) : mantissa_mask);
  }
  const uint32_t largest = format.has_infinity ? ((exponent_mask - 1) << format.mantissa_bits) | mantissa_mask
                                               : (exponent_mask << format.mantissa_bits) | (mantissa_mask - 1);
  const uint32_t overflow = format.has_infinity ? exponent_mask << format.mantissa_bits : largest;
  const float magnitude = std::fabs(value);
  if (std::isinf(value)) return sign | overflow;
  if (magnitude == 0.0f) return sign;
  int exponent = std::ilogb(magnitude);
  if (exponent < 1 - bias) exponent = 1 - bias;  // subnormal range: a fixed quantum
  // `units` counts quanta of 2^(exponent - mantissa_bits); nearbyint rounds to even in the default mode.
  const double units = std::nearbyint(std::ldexp(static_cast<double>(magnitude), format.mantissa_bits - exponent));
  // Adding as integers lets a mantissa carry into the exponent by itself.
  const auto code = static_cast<uint32_t>(units) +
                    (static_cast<uint32_t>(exponent + bias - 1) << format.mantissa_bits);
  return sign | (code > largest ? overflow : code);
}

float DecodeMinifloat(uint32_t bits, Minifloat format) {
  const uint32_t mantissa = bits & ((1u << format.mantissa_bits) - 1);
  const uint32_t exponent_mask = (1u << format.exponent_bits) - 1;
  const uint32_t exponent = (bits >> format.mantissa_bits) & exponent_mask;
  const bool negative = ((bits >> (format.exponent_bits + format.mantissa_bits)) & 1u) != 0;
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  float magnitude;
  if (exponent == exponent_mask && format.has_infinity) {
    magnitude = mantissa != 0 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
  } else if (exponent == exponent_mask && mantissa == (1u << format.mantissa_bits) - 1) {
    magnitude = std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(mantissa), 1 - bias - format.mantissa_bits);
  } else {
    magnitude = std::ldexp(static_cast<float>(mantissa + (1u << format.mantissa_bits)),
                           static_cast<int>(exponent) - bias - format.mantissa_bits);
  }
  return negative ? -magnitude : magnitude;
}

constexpr Minifloat kHalf{5, 10, true};
constexpr Minifloat kE4m3Format{4, 3, false};
constexpr Minifloat kE5m2Format{5, 2, true};

template <class T>
T Read(const void* data, size_t index) {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + index * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void Write(void* data, size_t index, T value) {
  std::memcpy(static_cast<char*>(data) + index * sizeof(T), &value, sizeof(T));
}

double Saturate(double value, double low, double high) {
  if (std::isnan(value)) return 0;
  const double rounded = std::nearbyint(value);
  return rounded < low ? low : rounded > high ? high : rounded;
}

}  // namespace

int BitsOf(DType dtype) { return RowOf(dtype).bits; }
size_t BytesOf(DType dtype, size_t count) { return (count * static_cast<size_t>(BitsOf(dtype)) + 7) / 8; }
std::string_view NameOf(DType dtype) { return RowOf(dtype).name; }
bool IsFloat(DType dtype) { return RowOf(dtype).mantissa_bits >= 0; }
double EpsilonOf(DType dtype) { return IsFloat(dtype) ? std::ldexp(1.0, -RowOf(dtype).mantissa_bits) : 0.0; }

std::optional<DType> DTypeFromName(std::string_view name) {
  for (const TypeRow& row : kTypes) {
    if (row.name == name) return row.dtype;
  }
  for (const Alias& alias : kAliases) {
    if (alias.name == name) return alias.dtype;
  }
  return std::nullopt;
}

uint16_t F16FromF32(float value) { return static_cast<uint16_t>(EncodeMinifloat(value, kHalf)); }
float F32FromF16(uint16_t bits) { return DecodeMinifloat(bits, kHalf); }
uint8_t E4m3FromF32(float value) { return static_cast<uint8_t>(EncodeMinifloat(value, kE4m3Format)); }
float F32FromE4m3(uint8_t bits) { return DecodeMinifloat(bits, kE4m3Format); }
uint8_t E5m2FromF32(float value) { return static_cast<uint8_t>(EncodeMinifloat(value, kE5m2Format)); }
float F32FromE5m2(uint8_t bits) { return DecodeMinifloat(bits, kE5m2Format); }

uint16_t Bf16FromF32(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40u);  // keep it quiet, keep it NaN
  const uint32_t round_to_even = 0x7fffu + ((bits >> 16) & 1u);
  return static_cast<uint16_t>((bits + round_to_even) >> 16);
}
float F32FromBf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

double LoadElement(const void* data, DType dtype, size_t index) {
  switch (dtype) {
    case DType::kF64: return Read<double>(data, index);
    case DType::kF32: return Read<float>(data, index);
    case DType::kF16: return F32FromF16(Read<uint16_t>(data, index));
    case DType::kBf16: return F32FromBf16(Read<uint16_t>(data, index));
    case DType::kE4m3: return F32FromE4m3(Read<uint8_t>(data, index));
    case DType::kE5m2: return F32FromE5m2(Read<uint8_t>(data, index));
    case DType::kI8: return Read<int8_t>(data, index);
    case DType::kU8: return Read<uint8_t>(data, index);
    case DType::kI32: return Read<int32_t>(data, index);
    case DType::kI64: return static_cast<double>(Read<int64_t>(data, index));
    case DType::kBool8: return Read<uint8_t>(data, index) != 0 ? 1.0 : 0.0;
    case DType::kI4:
    case DType::kU4: {
      const int nibble = (Read<uint8_t>(data, index / 2) >> (index % 2 * 4)) & 15;
      return dtype == DType::kI4 && nibble >= 8 ? nibble - 16 : nibble;
    }
  }
  ASSAY_CHECK(false, "unknown dtype");
}

void StoreElement(void* data, DType dtype, size_t index, double value) {
  const auto narrow = static_cast<float>(value);
  switch (dtype) {
    case DType::kF64: return Write(data, index, value);
    case DType::kF32: return Write(data, index, narrow);
    case DType::kF16: return Write(data, index, F16FromF32(narrow));
    case DType::kBf16: return Write(data, index, Bf16FromF32(narrow));
    case DType::kE4m3: return Write(data, index, E4m3FromF32(narrow));
    case DType::kE5m2: return Write(data, index, E5m2FromF32(narrow));
    case DType::kI8: return Write(data, index, static_cast<int8_t>(Saturate(value, -128, 127)));
    case DType::kU8: return Write(data, index, static_cast<uint8_t>(Saturate(value, 0, 255)));
    case DType::kI32: return Write(data, index, static_cast<int32_t>(Saturate(value, -2147483648.0, 2147483647.0)));
    case DType::kI64: return Write(data, index, static_cast<int64_t>(Saturate(value, -9.2e18, 9.2e18)));
    case DType::kBool8: return Write(data, index, static_cast<uint8_t>(value != 0));
    case DType::kI4:
    case DType::kU4: {
      const double low = dtype == DType::kI4 ? -8 : 0;
      const auto nibble = static_cast<uint8_t>(static_cast<int>(Saturate(value, low, low + 15)) & 15);
      const int shift = static_cast<int>(index % 2) * 4;
      const auto old = Read<uint8_t>(data, index / 2);
      return Write(data, index / 2, static_cast<uint8_t>((old & ~(15 << shift)) | (nibble << shift)));
    }
  }
  ASSAY_CHECK(false, "unknown dtype");
}

}  // namespace assay
