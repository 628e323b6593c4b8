// Blocks of GGUF weights, unpacked into what the matmul tiles multiply: codes with a scale, and perhaps an offset, a group of neighbours.
// Every value is scale x code + offset, exactly, but for q4_k, whose codes are moved by 8 so that four bits hold them: its offset is rounded.
#pragma once

#include <cstdint>

#include "core/block_format.h"

namespace assay {

struct BlockCodes {
  int bits;             // of a code as the tiles hold it: 4 or 8
  int64_t group;        // codes that share a scale
  bool has_offsets;
};
BlockCodes CodesOf(BlockFormat format);

struct UnpackedBlock {
  int8_t codes[256];
  float scales[16];   // a group each
  float offsets[16];
};
void UnpackBlock(BlockFormat format, const uint8_t* block, UnpackedBlock& out);

}  // namespace assay
