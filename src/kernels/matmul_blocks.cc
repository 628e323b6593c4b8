#include "kernels/matmul_blocks.h"

#include <cstring>

#include "core/check.h"
#include "core/dtype.h"

namespace assay {
namespace {

float HalfAt(const uint8_t* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return F32FromF16(bits);
}

// 16 bytes of nibbles: the low ones, then the high ones.
void Nibbles(const uint8_t* bytes, int count, int8_t* low, int8_t* high) {
  for (int i = 0; i < count; ++i) low[i] = static_cast<int8_t>(bytes[i] & 15);
  for (int i = 0; i < count; ++i) high[i] = static_cast<int8_t>(bytes[i] >> 4);
}

void Shift(int8_t* codes, int count, int by) {
  for (int i = 0; i < count; ++i) codes[i] = static_cast<int8_t>(codes[i] - by);
}

void UnpackQ5_0(const uint8_t* block, UnpackedBlock& out) {
  uint32_t fifth;
  std::memcpy(&fifth, block + 2, sizeof(fifth));
  Nibbles(block + 6, 16, out.codes, out.codes + 16);
  for (int i = 0; i < 32; ++i) out.codes[i] = static_cast<int8_t>(out.codes[i] + (fifth >> i & 1) * 16);
  Shift(out.codes, 32, 16);
}

void UnpackQ4_K(const uint8_t* block, UnpackedBlock& out) {
  const float d = HalfAt(block), d_min = HalfAt(block + 2);
  const uint8_t* packed = block + 4;
  for (int j = 0; j < 8; ++j) {
    const int scale = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) + (packed[j - 4] >> 6) * 16;
    const int minimum = j < 4 ? packed[j + 4] & 63 : (packed[j + 4] >> 4) + (packed[j] >> 6) * 16;
    out.scales[j] = d * static_cast<float>(scale);
    out.offsets[j] = out.scales[j] * 8 - d_min * static_cast<float>(minimum);
  }
  for (int pair = 0; pair < 4; ++pair) Nibbles(block + 16 + pair * 32, 32, out.codes + pair * 64, out.codes + pair * 64 + 32);
  Shift(out.codes, 256, 8);
}

void UnpackQ6_K(const uint8_t* block, UnpackedBlock& out) {
  const float d = HalfAt(block + 208);
  for (int j = 0; j < 16; ++j) out.scales[j] = d * static_cast<float>(static_cast<int8_t>(block[192 + j]));
  for (int half = 0; half < 2; ++half) {
    int8_t* codes = out.codes + half * 128;
    const uint8_t* high = block + 128 + half * 32;
    Nibbles(block + half * 64, 64, codes, codes + 64);
    for (int quarter = 0; quarter < 4; ++quarter) {
      for (int i = 0; i < 32; ++i) codes[quarter * 32 + i] = static_cast<int8_t>(codes[quarter * 32 + i] + (high[i] >> 2 * quarter & 3) * 16);
    }
  }
  Shift(out.codes, 256, 32);
}

}  // namespace

BlockCodes CodesOf(BlockFormat format) {
  switch (format) {
    case BlockFormat::kQ4_0: return {4, 32, false};
    case BlockFormat::kQ5_0: return {8, 32, false};
    case BlockFormat::kQ8_0: return {8, 32, false};
    case BlockFormat::kQ4_K: return {4, 32, true};
    case BlockFormat::kQ6_K: return {8, 16, false};
  }
  ASSAY_CHECK(false, "unknown block format");
}

void UnpackBlock(BlockFormat format, const uint8_t* block, UnpackedBlock& out) {
  switch (format) {
    case BlockFormat::kQ4_0:
      out.scales[0] = HalfAt(block);
      Nibbles(block + 2, 16, out.codes, out.codes + 16);
      return Shift(out.codes, 32, 8);
    case BlockFormat::kQ5_0: out.scales[0] = HalfAt(block); return UnpackQ5_0(block, out);
    case BlockFormat::kQ8_0: out.scales[0] = HalfAt(block); std::memcpy(out.codes, block + 2, 32); return;
    case BlockFormat::kQ4_K: return UnpackQ4_K(block, out);
    case BlockFormat::kQ6_K: return UnpackQ6_K(block, out);
  }
}

}  // namespace assay
