// KvLayout, KvPage, KvCache: the blocked cache layout of this lab's kernels. Layout decides decode speed, so it is a first-class object:
// 64 tokens a page. Within a page, per key/value head, K and V are made of 32-bit units that hold n neighbours of the summed-over axis (channels
// of K, tokens of V), as dot-product instructions want them (f32: 1, bf16 and f16: 2, i8 and e4m3: 4, i4: 8, low nibble first). The
// other axis (tokens of K, channels of V) is cut into strips of 16 columns, 64 bytes, and a strip holds its units in order of the sum:
//     K [token / 16][channel / n][token % 16][n]        V [channel / 16][token / n][channel % 16][n]
// so that a tile of any width streams through memory. V is padded to 16 channels.
//
// A plain token-major cache is repacked into this form; the time is charged and shown apart.
#pragma once

#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "core/result.h"
#include "core/tensor.h"
#include "kernels/problem.h"

namespace assay {

constexpr int kKvPageTokens = 64;

struct KvFormat {
  DType dtype = DType::kBf16;
  ScaleGranularity k_scale = ScaleGranularity::kNone;
  ScaleGranularity v_scale = ScaleGranularity::kNone;
};

// Sizes and offsets of one page, computed once. All bytes; every block is 64-byte aligned.
struct KvLayout {
  KvFormat format;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t v_head_dim = 0;

  int64_t k_block_bytes = 0;  // of one head in one page
  int64_t v_block_bytes = 0;
  int64_t k_scale_bytes = 0;
  int64_t v_scale_bytes = 0;
  int64_t head_bytes = 0;  // K, V, scales and the note of one head, in that order
  int64_t padded_v = 0;    // channels of a row of V, a multiple of 16
  int64_t page_bytes = 0;

  // Fails for widths the blocks cannot hold, with the remedy.
  static Result<KvLayout> Make(KvFormat format, int64_t kv_heads, int64_t head_dim, int64_t v_head_dim);
  // What one more token of one layer costs in this layout, scales included, partial pages not.
  [[nodiscard]] double bytes_per_token() const;
  // From a head's K block to its note: 32 bits, kNoteValues and kNoteKeys of softmax_args.h. What they say may be over, never missing.
  [[nodiscard]] int64_t note_offset() const { return k_block_bytes + v_block_bytes + k_scale_bytes + v_scale_bytes; }
};

// One page of one layer: all heads of 64 tokens.
struct KvPage {
  std::byte* data = nullptr;
  [[nodiscard]] std::byte* K(const KvLayout& layout, int64_t head) const { return data + head * layout.head_bytes; }
  [[nodiscard]] std::byte* V(const KvLayout& layout, int64_t head) const { return K(layout, head) + layout.k_block_bytes; }
  [[nodiscard]] std::byte* KScale(const KvLayout& layout, int64_t head) const { return V(layout, head) + layout.v_block_bytes; }
  [[nodiscard]] std::byte* VScale(const KvLayout& layout, int64_t head) const { return KScale(layout, head) + layout.k_scale_bytes; }
};

// Index of an element in its block, in elements.
size_t KeyIndex(const KvLayout& layout, int64_t token, int64_t channel);
size_t ValueIndex(const KvLayout& layout, int64_t token, int64_t channel);

// Rows to write: token `token` on, of K [tokens, kv_heads, head_dim] and V [tokens, kv_heads, v_head_dim].
struct KvSource {
  TensorView k;
  TensorView v;
  int64_t token = 0;
};
// Writes `rows` tokens of one head into slots [first, first + rows) of a page, quantising on the way. What Append and Plan::Pack share.
void WriteKvTokens(const KvLayout& layout, const KvPage& page, int64_t first, int64_t rows, const KvSource& source, int64_t head);
// The same for rows that hold the codes of the layout's format already: they are copied bit by bit. Their scales are the caller's to put
// (KeyScale, ValueScale), and then NoteKvTokens to call. Not for i4, whose rows need not begin at a byte: StoreElement at KeyIndex and ValueIndex.
void CopyKvCodes(const KvLayout& layout, const KvPage& page, int64_t first, int64_t rows, const KvSource& source, int64_t head);
// The scales of token slot `token` for `channel`, or for its group.
float& KeyScale(const KvLayout& layout, const KvPage& page, int64_t head, int64_t token, int64_t channel);
float& ValueScale(const KvLayout& layout, const KvPage& page, int64_t head, int64_t token, int64_t channel);
// Notes what rows [first, first + rows) hold that is not finite.
void NoteKvTokens(const KvLayout& layout, const KvPage& page, int64_t first, int64_t rows, int64_t head);

// The cache of one layer for a batch of sequences: a pool of pages and a page table. Not thread-safe for appends to one sequence.
class KvCache {
 public:
  static Result<KvCache> Make(const KvLayout& layout, int64_t sequences, int64_t max_pages);

  // Appends tokens to a sequence, quantising on the way: k is [tokens, kv_heads, head_dim], v [tokens, kv_heads, v_head_dim], any float
  // type, any strides. Padding of a partial page stays zero, so that kernels may read whole pages.
  Status Append(int64_t sequence, const TensorView& k, const TensorView& v);
  // Forgets the tokens from `tokens` on (rejected drafts, a ring that moved).
  void Truncate(int64_t sequence, int64_t tokens);

  [[nodiscard]] const KvLayout& layout() const { return layout_; }
  [[nodiscard]] int64_t tokens(int64_t sequence) const { return tokens_[static_cast<size_t>(sequence)]; }
  // The pages of a sequence, in order; ceil(tokens / 64) of them.
  [[nodiscard]] const std::vector<KvPage>& pages(int64_t sequence) const { return pages_[static_cast<size_t>(sequence)]; }
  // One element as the cache holds it, dequantised: the truth that kernels on this cache are compared with.
  [[nodiscard]] double K(int64_t sequence, int64_t token, int64_t head, int64_t channel) const;
  [[nodiscard]] double V(int64_t sequence, int64_t token, int64_t head, int64_t channel) const;

 private:
  KvLayout layout_;
  Tensor memory_;
  std::vector<std::byte*> free_;
  std::vector<int64_t> tokens_;
  std::vector<std::vector<KvPage>> pages_;
};

}  // namespace assay
