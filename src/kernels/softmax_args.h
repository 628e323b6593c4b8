// What the softmax driver (softmax_kernel.cc) hands to a backend's softmax kernel (softmax-inl.h): plain pointers and sizes. No standard
// header beyond stdint.h, because backends include it (simd.h says why).
#pragma once

#include <stdint.h>

namespace assay {

// Keys come in pages of 64 tokens (kv_layout.h). A block is the unit of one maximum test; a segment the unit of an exact merge, and of a
// split over threads. Both are counted from the sequence's first key, so that a row's bits depend on nothing but the row and its keys.
inline constexpr int kSoftmaxPageTokens = 64;
inline constexpr int kSoftmaxBlockPages = 4;
inline constexpr int kSoftmaxSegmentPages = 32;
inline constexpr int kSoftmaxTileRows = 6;
inline constexpr int kSoftmaxBlockRows = 96;  // rows of a work item: a query token and head each, heads of a group adjacent

enum class PageElement : int { kF32, kBf16, kF16, kE4m3, kI8, kI4 };
inline constexpr int kPageElements = 6;
enum class PageScale : int { kNone, kPerToken, kPerPageChannel, kPerGroup32 };  // ScaleGranularity's numbers (problem.h)
inline constexpr int kSoftmaxScaleGroup = 32;  // channels

// Bits of the note that each head keeps in a page: V holds a NaN or an infinity, weights of 0 must not meet it; K holds an e4m3 NaN, which
// decoding would turn into a number.
inline constexpr unsigned kNoteValues = 1;
inline constexpr unsigned kNoteKeys = 2;

// A strided axis pair (token, head) with channels, in elements.
struct RowAccess {
  void* data = nullptr;
  int dtype = 0;  // DType
  int64_t token_stride = 0;
  int64_t head_stride = 0;
  int64_t channel_stride = 0;
};

// A mask broadcast to [Hq, T, S] for one sequence.
struct MaskAccess {
  const void* data = nullptr;  // nullptr: no mask
  int dtype = 0;
  int64_t head_stride = 0;
  int64_t query_stride = 0;
  int64_t key_stride = 0;
  int64_t keys = 0;  // keys it covers; the rest is not visible
};

struct SoftmaxSequence {
  RowAccess q;  // of this sequence's first token
  RowAccess o;
  RowAccess lse;  // data nullptr: not wanted
  MaskAccess mask_bool;
  MaskAccess mask_add;
  int64_t query_tokens = 0;
  int64_t key_tokens = 0;
  int64_t alignment = 0;                     // position of query 0 where query_position is null
  const int64_t* query_position = nullptr;   // [query_tokens]
  const int64_t* key_position = nullptr;     // [key_tokens]; null: the key's index
  const int64_t* page_position_min = nullptr;  // [pages], with key_position only
  const int64_t* page_position_max = nullptr;
  const unsigned char* const* pages = nullptr;  // in key order
  // Selected pages, ascending, of (key/value head, query token): list h * query_tokens + t has page_counts entries and begins
  // page_list_stride after the one before. Null: every page. Items then hold rows of one token.
  const int32_t* page_lists = nullptr;
  const int32_t* page_counts = nullptr;
  int64_t page_list_stride = 0;
};

struct SoftmaxArgs {
  const SoftmaxSequence* sequences = nullptr;
  int64_t query_heads = 0;
  int64_t group = 0;  // query heads per key/value head
  int64_t head_dim = 0;
  int64_t v_head_dim = 0;
  int64_t padded_v = 0;  // columns of a V row in a page, a multiple of 16
  int64_t head_bytes = 0;
  int64_t v_offset = 0;     // bytes from a head's K block to its V block
  int64_t note_offset = 0;  // to its note
  PageElement element = PageElement::kF32;
  int page_dtype = 0;           // the same as a DType
  PageScale k_scale = PageScale::kNone;
  PageScale v_scale = PageScale::kNone;
  int64_t k_scale_offset = 0;  // to its scales, floats
  int64_t v_scale_offset = 0;
  bool short_products = false;  // integer pages only: the variant of softmax_shorts-inl.h
  int epilogue = 0;
  float scale = 0;
  float softcap = 0;
  float parameter[4] = {0, 0, 0, 0};
  bool causal = false;
  int64_t window_left = -1;
  int64_t window_right = -1;
  RowAccess sink;    // head_stride only; data nullptr: none
  RowAccess alibi;
  double (*load)(const void* data, int dtype, int64_t index) = nullptr;  // any dtype, any sign of index: for the rare ones
  void (*store)(void* data, int dtype, int64_t index, double value) = nullptr;
};

// What the driver must know of an epilogue (epilogue.h).
struct EpilogueTraits {
  bool normalised;
  bool unit_rows;
  float extra_logit;
};

struct SoftmaxItem {
  int32_t sequence = 0;
  int32_t kv_head = 0;
  int64_t row_begin = 0;  // rows are (query token, head of the group), heads fastest
  int32_t row_count = 0;
  int32_t segment_begin = 0;
  int32_t segment_end = 0;
  float* partial = nullptr;  // where to leave (max, sum, O) of every row; nullptr: finish the rows and write O and LSE
};

// Floats that a partial of one row takes: maximum, sum and the accumulator.
inline constexpr int64_t kPartialHeader = 2;

// Scratch of one worker, in floats from a 64-byte aligned block; SoftmaxScratchFloats says how many.
struct SoftmaxScratch {
  float* data = nullptr;
};

// Computes one item; merges partials of the same rows and finishes them.
using SoftmaxRun = void (*)(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept;
using SoftmaxMerge = void (*)(const SoftmaxArgs& args, const SoftmaxItem& rows, const float* const* partials, int64_t partial_count,
                              SoftmaxScratch scratch) noexcept;

int64_t SoftmaxScratchFloats(const SoftmaxArgs& args);

}  // namespace assay
