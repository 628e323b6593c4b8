// Block formats of GGUF weights: a block of neighbours along a row shares scales. The slow, obvious truth that kernels are tested against;
// the layouts are ggml's (ggml-common.h), and a row's length is a multiple of its block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace assay {

enum class BlockFormat : uint8_t { kQ4_0, kQ5_0, kQ8_0, kQ4_K, kQ6_K };

inline constexpr BlockFormat kBlockFormats[] = {BlockFormat::kQ4_0, BlockFormat::kQ5_0, BlockFormat::kQ8_0, BlockFormat::kQ4_K, BlockFormat::kQ6_K};

std::string_view NameOf(BlockFormat format);  // "q4_0", ..., "q6_k"
int64_t BlockElements(BlockFormat format);
int64_t BlockBytes(BlockFormat format);

// Element `index` of a row of blocks.
double LoadBlockElement(const void* row, BlockFormat format, size_t index);

}  // namespace assay
