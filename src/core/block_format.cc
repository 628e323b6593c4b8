#include "core/block_format.h"

#include "core/check.h"
#include "core/dtype.h"

namespace assay {
namespace {

double Half(const uint8_t* bytes) { return static_cast<double>(F32FromF16(static_cast<uint16_t>(bytes[0] | bytes[1] << 8))); }

// half d; uint8 q[16]: element i is the low nibble of q[i], element 16 + i its high one; d (q - 8)
double Q4_0(const uint8_t* block, int i) {
  const uint8_t* q = block + 2;
  const int code = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
  return Half(block) * (code - 8);
}

// half d; uint32 h; uint8 q[16]: as q4_0, with bit i of h as the fifth bit of element i; d (q - 16)
double Q5_0(const uint8_t* block, int i) {
  const uint8_t* h = block + 2;
  const uint8_t* q = block + 6;
  const int low = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
  const int high = h[i / 8] >> i % 8 & 1;
  return Half(block) * ((high << 4 | low) - 16);
}

// half d; int8 q[32]: d q
double Q8_0(const uint8_t* block, int i) { return Half(block) * static_cast<int8_t>(block[2 + i]); }

// half d, d_min; 12 bytes of eight scales and eight minima of 6 bits; uint8 q[128]. Sub-block j of 32 elements: d scale_j q - d_min min_j.
// Sub-blocks 2n and 2n + 1 are the low and the high nibbles of q[32 n ..].
double Q4_K(const uint8_t* block, int i) {
  const uint8_t* packed = block + 4;
  const uint8_t* q = block + 16;
  const int j = i / 32;
  const uint8_t byte = q[j / 2 * 32 + i % 32];
  const int code = j % 2 == 0 ? byte & 15 : byte >> 4;
  int scale, minimum;
  if (j < 4) {
    scale = packed[j] & 63;
    minimum = packed[j + 4] & 63;
  } else {  // four low bits in the last third, two high bits atop the first two
    scale = (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
    minimum = packed[j + 4] >> 4 | packed[j] >> 6 << 4;
  }
  return Half(block) * scale * code - Half(block + 2) * minimum;
}

// uint8 low[128], high[64]; int8 scale[16]; half d: d scale_(i / 16) (q - 32). A half block of 128 elements has 64 bytes of low: quarters
// 0 and 1 are their low nibbles, 2 and 3 their high ones; quarter n has bits 2n of its 32 bytes of high.
double Q6_K(const uint8_t* block, int i) {
  const uint8_t* low = block + i / 128 * 64;
  const uint8_t* high = block + 128 + i / 128 * 32;
  const auto* scales = reinterpret_cast<const int8_t*>(block + 192);
  const int quarter = i % 128 / 32, lane = i % 32;
  const uint8_t byte = low[quarter % 2 * 32 + lane];
  const int code = (quarter < 2 ? byte & 15 : byte >> 4) | (high[lane] >> 2 * quarter & 3) << 4;
  return Half(block + 208) * scales[i / 16] * (code - 32);
}

}  // namespace

std::string_view NameOf(BlockFormat format) {
  switch (format) {
    case BlockFormat::kQ4_0: return "q4_0";
    case BlockFormat::kQ5_0: return "q5_0";
    case BlockFormat::kQ8_0: return "q8_0";
    case BlockFormat::kQ4_K: return "q4_k";
    case BlockFormat::kQ6_K: return "q6_k";
  }
  ASSAY_CHECK(false, "unknown block format");
}

int64_t BlockElements(BlockFormat format) { return format == BlockFormat::kQ4_K || format == BlockFormat::kQ6_K ? 256 : 32; }

int64_t BlockBytes(BlockFormat format) {
  switch (format) {
    case BlockFormat::kQ4_0: return 2 + 16;
    case BlockFormat::kQ5_0: return 2 + 4 + 16;
    case BlockFormat::kQ8_0: return 2 + 32;
    case BlockFormat::kQ4_K: return 2 + 2 + 12 + 128;
    case BlockFormat::kQ6_K: return 128 + 64 + 16 + 2;
  }
  ASSAY_CHECK(false, "unknown block format");
}

double LoadBlockElement(const void* row, BlockFormat format, size_t index) {
  const auto elements = static_cast<size_t>(BlockElements(format));
  const auto* block = static_cast<const uint8_t*>(row) + index / elements * static_cast<size_t>(BlockBytes(format));
  const int i = static_cast<int>(index % elements);
  switch (format) {
    case BlockFormat::kQ4_0: return Q4_0(block, i);
    case BlockFormat::kQ5_0: return Q5_0(block, i);
    case BlockFormat::kQ8_0: return Q8_0(block, i);
    case BlockFormat::kQ4_K: return Q4_K(block, i);
    case BlockFormat::kQ6_K: return Q6_K(block, i);
  }
  ASSAY_CHECK(false, "unknown block format");
}

}  // namespace assay
