// Test support: simd.h's operations of one backend as function pointers.
#pragma once

#include <stdint.h>

namespace assay {

struct SimdProbe {
  const char* name;
  int lanes;
  void (*unary)(int operation, const float* in, int count, float* out);
  void (*from_bf16)(const uint16_t* in, int count, float* out);
  void (*to_bf16)(const float* in, int count, uint16_t* out);
  void (*from_f16)(const uint16_t* in, int count, float* out);
  void (*from_i8)(const int8_t* in, int count, float* out);
  void (*dot_pairs)(const uint32_t* a, const uint32_t* b, int count, float* out);
  void (*dot_bytes)(const uint32_t* unsigned_bytes, const uint32_t* signed_bytes, int count, int32_t* out);
  // Element e of unit i goes to out[e * count + i]; `bits` of an element, and whether it is a float.
  void (*decode)(const uint32_t* units, int count, int bits, bool is_float, float* out);
  void (*reduce)(const float* in, float* sum, float* maximum);
};

}  // namespace assay
