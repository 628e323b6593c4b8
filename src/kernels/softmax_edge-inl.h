// Which keys of a page a tile of rows sees: skip, full, or edge with a bias row per query row (0, what masks and ALiBi add, or -inf for an
// invisible key). The definition is Visibility's in problem.h, restated here for 64 keys at a time; tests compare the two.
#pragma once

#include "kernels/access-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

enum class PageClass { kSkip, kFull, kEdge };

ASSAY_INLINE int64_t QueryPosition(const SoftmaxSequence& sequence, int64_t token) {
  return sequence.query_position != nullptr ? sequence.query_position[token] : sequence.alignment + token;
}

ASSAY_INLINE int ValidKeys(const SoftmaxSequence& sequence, int64_t page) {
  const int64_t rest = sequence.key_tokens - page * kSoftmaxPageTokens;
  return static_cast<int>(rest < kSoftmaxPageTokens ? rest : kSoftmaxPageTokens);
}

// The list of selected pages of an item's token.
ASSAY_INLINE int64_t PageList(const SoftmaxArgs& args, const SoftmaxSequence& sequence, const SoftmaxItem& item) {
  return item.kv_head * sequence.query_tokens + item.row_begin / args.group;
}
ASSAY_INLINE int64_t PageCount(const SoftmaxArgs& args, const SoftmaxSequence& sequence, const SoftmaxItem& item) {
  if (sequence.page_lists != nullptr) return sequence.page_counts[PageList(args, sequence, item)];
  return (sequence.key_tokens + kSoftmaxPageTokens - 1) / kSoftmaxPageTokens;
}
ASSAY_INLINE int64_t PageAt(const SoftmaxArgs& args, const SoftmaxSequence& sequence, const SoftmaxItem& item, int64_t i) {
  if (sequence.page_lists == nullptr) return i;
  return sequence.page_lists[PageList(args, sequence, item) * sequence.page_list_stride + i];
}

struct TilePositions {
  int64_t lowest;
  int64_t highest;
};

ASSAY_INLINE TilePositions PositionsOf(const SoftmaxArgs& args, const SoftmaxSequence& sequence, int64_t folded_row, int rows) {
  const int64_t first = folded_row / args.group;
  const int64_t last = (folded_row + rows - 1) / args.group;
  TilePositions positions = {QueryPosition(sequence, first), QueryPosition(sequence, last)};
  if (sequence.query_position == nullptr) return positions;
  for (int64_t token = first; token <= last; ++token) {
    const int64_t position = sequence.query_position[token];
    if (position < positions.lowest) positions.lowest = position;
    if (position > positions.highest) positions.highest = position;
  }
  return positions;
}

// By positions alone; masks, ALiBi and a page's unused tail make an edge of what is not skipped.
ASSAY_INLINE PageClass ClassifyPage(const SoftmaxArgs& args, const SoftmaxSequence& sequence, TilePositions tile, int64_t page) {
  const int valid = ValidKeys(sequence, page);
  int64_t low = page * kSoftmaxPageTokens;
  int64_t high = low + valid - 1;
  if (sequence.key_position != nullptr) {
    low = sequence.page_position_min[page];
    high = sequence.page_position_max[page];
  }
  // Keys at position p are seen from [p - right, p + left].
  bool full = valid == kSoftmaxPageTokens && sequence.mask_bool.data == nullptr && sequence.mask_add.data == nullptr &&
              args.alibi.data == nullptr;
  int64_t right = args.window_right;
  if (args.causal && (right < 0 || right > 0)) right = 0;
  if (right >= 0) {
    if (low - tile.highest > right) return PageClass::kSkip;
    if (high - tile.lowest > right) full = false;
  }
  if (args.window_left >= 0) {
    if (tile.lowest - high > args.window_left) return PageClass::kSkip;
    if (tile.highest - low > args.window_left) full = false;
  }
  return full ? PageClass::kFull : PageClass::kEdge;
}

ASSAY_INLINE void MaskRow(const SoftmaxArgs& args, const SoftmaxSequence& sequence, int64_t head, int64_t token, int64_t key_begin,
                          int valid, float* bias) {
  const int64_t position = QueryPosition(sequence, token);
  if (const MaskAccess& mask = sequence.mask_bool; mask.data != nullptr) {
    const int64_t offset = head * mask.head_stride + token * mask.query_stride;
    for (int j = 0; j < valid; ++j) {
      const int64_t key = key_begin + j;
      const bool covered = mask.keys < 0 || key < mask.keys;
      const int64_t index = offset + key * mask.key_stride;
      const bool set = covered && (mask.dtype == kDTypeBool8 ? static_cast<const unsigned char*>(mask.data)[index] != 0
                                                             : args.load(mask.data, mask.dtype, index) != 0);
      if (!set) bias[j] = -kInfinity;
    }
  }
  if (const MaskAccess& mask = sequence.mask_add; mask.data != nullptr) {
    const int64_t offset = head * mask.head_stride + token * mask.query_stride;
    for (int j = 0; j < valid; ++j) {
      const int64_t key = key_begin + j;
      const bool covered = mask.keys < 0 || key < mask.keys;
      // An invisible key stays invisible, whatever its additive mask holds.
      if (bias[j] == -kInfinity) continue;
      bias[j] = covered ? bias[j] + LoadAny(args, mask.data, mask.dtype, offset + key * mask.key_stride) : -kInfinity;
    }
  }
  if (args.alibi.data != nullptr) {
    const float slope = LoadAny(args, args.alibi.data, args.alibi.dtype, head * args.alibi.head_stride);
    for (int j = 0; j < valid; ++j) {
      const int64_t key = key_begin + j;
      const int64_t key_position = sequence.key_position != nullptr ? sequence.key_position[key] : key;
      bias[j] += slope * static_cast<float>(key_position - position);
    }
  }
}

// Bias of `rows` rows over one page, row r at bias + r * row_stride. Reports what the page turned out to be.
ASSAY_INLINE PageClass FillBias(const SoftmaxArgs& args, const SoftmaxSequence& sequence, int64_t kv_head, int64_t folded_row, int rows,
                                int64_t page, float* bias, int64_t row_stride) {
  const int64_t key_begin = page * kSoftmaxPageTokens;
  const int valid = ValidKeys(sequence, page);
  const bool masked = sequence.mask_bool.data != nullptr || sequence.mask_add.data != nullptr || args.alibi.data != nullptr;
  bool any = false;
  for (int r = 0; r < rows; ++r, bias += row_stride) {
    const int64_t token = (folded_row + r) / args.group;
    const int64_t position = QueryPosition(sequence, token);
    // Visible positions are [position - left, position + right].
    const int64_t left = args.window_left >= 0 ? args.window_left : INT64_C(1) << 60;
    int64_t right = args.window_right >= 0 ? args.window_right : INT64_C(1) << 60;
    if (args.causal && right > 0) right = 0;
    if (sequence.key_position == nullptr) {
      int64_t begin = position - left - key_begin;
      int64_t end = position + right + 1 - key_begin;
      begin = begin < 0 ? 0 : begin > kSoftmaxPageTokens ? kSoftmaxPageTokens : begin;
      end = end < 0 ? 0 : end > valid ? valid : end;
      for (int j = 0; j < kSoftmaxPageTokens; ++j) bias[j] = j >= begin && j < end ? 0.0f : -kInfinity;
      any = any || begin < end;
    } else {
      for (int j = 0; j < kSoftmaxPageTokens; ++j) {
        bool seen = j < valid;
        if (seen) {
          const int64_t ahead = sequence.key_position[key_begin + j] - position;
          seen = ahead <= right && -ahead <= left;
        }
        bias[j] = seen ? 0.0f : -kInfinity;
        any = any || seen;
      }
    }
    if (masked) MaskRow(args, sequence, kv_head * args.group + (folded_row + r) % args.group, token, key_begin, valid, bias);
  }
  return any ? PageClass::kEdge : PageClass::kSkip;
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
