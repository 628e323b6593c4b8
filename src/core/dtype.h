// Element types of tensors and caches, their sizes, and scalar conversions (the slow, obvious truth that kernels are tested against).
// The numbering equals assay_dtype in include/assay/assay_kernel.h and never changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace assay {

enum class DType : uint8_t {
  kF64 = 0,
  kF32 = 1,
  kF16 = 2,
  kBf16 = 3,
  kE4m3 = 4,  // OCP fp8 e4m3fn: no infinity, NaN is 0x7f, largest value 448
  kE5m2 = 5,
  kI8 = 6,
  kU8 = 7,
  kI4 = 8,  // two values a byte, low nibble first
  kU4 = 9,
  kI32 = 10,
  kI64 = 11,
  kBool8 = 12,
};

// Bits of one element (4 for kI4 and kU4).
int BitsOf(DType dtype);
// Bytes of `count` elements, rounded up to a whole byte.
size_t BytesOf(DType dtype, size_t count);
// "bf16", "e4m3", ...; the name users write in use cases and on the command line.
std::string_view NameOf(DType dtype);
// Accepts the names above and the aliases float32, float16, bfloat16, float64, fp8, int8, int4, bool, ...
std::optional<DType> DTypeFromName(std::string_view name);
bool IsFloat(DType dtype);

// Scalar conversions, round to nearest even. NaN stays NaN; overflow goes to infinity where the type has one, else saturates.
uint16_t F16FromF32(float value);
float F32FromF16(uint16_t bits);
uint16_t Bf16FromF32(float value);
float F32FromBf16(uint16_t bits);
uint8_t E4m3FromF32(float value);  // saturates at 448
float F32FromE4m3(uint8_t bits);
uint8_t E5m2FromF32(float value);
float F32FromE5m2(uint8_t bits);

// Element `index` of an array of `dtype`, as a double, and its inverse (rounds, saturates integers).
double LoadElement(const void* data, DType dtype, size_t index);
void StoreElement(void* data, DType dtype, size_t index, double value);

// Distance between 1.0 and the next value of the type: 2^-mantissa_bits. 0 for integers.
double EpsilonOf(DType dtype);

}  // namespace assay
