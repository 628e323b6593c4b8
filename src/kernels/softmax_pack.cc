// Pages of the softmax kernel: how K and V of every storage a Problem may have come into the blocked layout.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/driver.h"
#include "kernels/kv_layout.h"
#include "kernels/softmax_plan.h"

namespace assay {

void SoftmaxPlan::PackPage(const PackItem& item) const {
  for (int64_t head = 0; head < extents_.kv_heads; ++head) {
    std::fill_n(item.page.K(layout_, head) + layout_.note_offset(), sizeof(uint32_t), std::byte{});
  }
  ForEachPiece(item, [&](int64_t done, const KvPiece& piece, const KvSource& source) {
    for (int64_t head = 0; head < extents_.kv_heads; ++head) WriteKvTokens(layout_, item.page, done, piece.tokens, source, head);
  });
}

// Pieces of the source that are rows with one stride: all of it, or a page of the caller's.
void SoftmaxPlan::ForEachPiece(const PackItem& item, const auto& body) const {
  const TensorView& k = problem_.Get(Role::kK);
  const TensorView* v = problem_.Find(Role::kV);
  for (int64_t done = 0; done < item.tokens;) {
    const KvPiece piece = PieceAt(item.first_token + done, item.tokens - done, item.sequence);
    const KvSource source{SequenceRows(k, piece, extents_.head_dim), SequenceRows(v != nullptr ? *v : k, piece, extents_.v_head_dim), 0};
    body(done, piece, source);
    done += piece.tokens;
  }
}

SoftmaxPlan::KvPiece SoftmaxPlan::PieceAt(int64_t token, int64_t most, int64_t sequence) const {
  const TensorView& k = problem_.Get(Role::kK);
  if (const TensorView* table = problem_.Find(Role::kPageTable); table != nullptr) {
    const int64_t slot = token % problem_.page_tokens;
    const auto page = static_cast<int64_t>(table->At({sequence, token / problem_.page_tokens}));
    ASSAY_CHECK(page >= 0 && page < k.shape[0], "a page table entry in use names a page of the cache");
    return {page, slot, std::min(most, problem_.page_tokens - slot)};
  }
  if (const TensorView* cu_k = problem_.Find(Role::kCuK); cu_k != nullptr) {
    return {0, static_cast<int64_t>(cu_k->At({sequence})) + token, most};
  }
  return {sequence, token, most};
}

// [tokens, heads, channels] of `view` from a piece on; the outer axis of packed storage does not exist.
TensorView SoftmaxPlan::SequenceRows(const TensorView& view, const KvPiece& piece, int64_t channels) {
  const size_t token_axis = view.rank == 4 ? 1 : 0;
  const int64_t offset = (view.rank == 4 ? piece.outer * view.stride[0] : 0) + piece.token * view.stride[token_axis];
  TensorView rows;
  rows.data = static_cast<char*>(view.data) + offset * BitsOf(view.dtype) / 8;
  rows.dtype = view.dtype;
  rows.rank = 3;
  rows.shape = {piece.tokens, view.shape[token_axis + 1], channels};
  rows.stride = {view.stride[token_axis], view.stride[token_axis + 1], view.stride[token_axis + 2]};
  return rows;
}

void SoftmaxPlan::DequantisePage(const PackItem& item, float* row) const {
  const TokenRows keys(problem_, Role::kK, item.sequence);
  const TokenRows values(problem_, problem_.Has(Role::kV) ? Role::kV : Role::kK, item.sequence);
  const bool unit_rows = table_.epilogue_traits[args_.epilogue].unit_rows;
  for (int64_t head = 0; head < extents_.kv_heads; ++head) {
    std::fill_n(item.page.K(layout_, head) + layout_.note_offset(), sizeof(uint32_t), std::byte{});
    for (int64_t t = 0; t < item.tokens; ++t) {
      double squares = 0;
      for (int64_t c = 0; c < extents_.head_dim; ++c) {
        const double x = keys.At(item.first_token + t, head, c);
        squares += x * x;
        row[c] = static_cast<float>(x);
      }
      // A key of all zeros has no direction: its cosine is 0.
      const auto inverse = static_cast<float>(squares > 0 ? 1 / std::sqrt(squares) : squares);
      for (int64_t c = 0; unit_rows && c < extents_.head_dim; ++c) row[c] *= inverse;
      float* v_row = row + extents_.head_dim;
      for (int64_t c = 0; c < extents_.v_head_dim; ++c) v_row[c] = static_cast<float>(values.At(item.first_token + t, head, c));
      // One head at a time: a head stride of 0 lets every head index find the row.
      TensorView k_view{row, DType::kF32, 3, {1, extents_.kv_heads, extents_.head_dim}, {0, 0, 1}};
      TensorView v_view{v_row, DType::kF32, 3, {1, extents_.kv_heads, extents_.v_head_dim}, {0, 0, 1}};
      WriteKvTokens(layout_, item.page, t, 1, {k_view, v_view, 0}, head);
    }
  }
}

// Codes and scales of a quantised cache, as they are.
void SoftmaxPlan::PackCodes(const PackItem& item) const {
  Problem codes = problem_;
  codes.k_scale = codes.v_scale = ScaleGranularity::kNone;
  const Role value_role = problem_.Has(Role::kV) ? Role::kV : Role::kK;
  const Role value_scale_role = problem_.Has(Role::kV) ? Role::kVScale : Role::kKScale;
  for (int64_t head = 0; head < extents_.kv_heads; ++head) {
    std::fill_n(item.page.K(layout_, head) + layout_.note_offset(), sizeof(uint32_t), std::byte{});
  }
  if (args_.element == PageElement::kI4) {
    const TokenRows keys(codes, Role::kK, item.sequence);
    const TokenRows values(codes, value_role, item.sequence);
    for (int64_t head = 0; head < extents_.kv_heads; ++head) {
      std::byte* k = item.page.K(layout_, head);
      std::byte* v = item.page.V(layout_, head);
      for (int64_t t = 0; t < item.tokens; ++t) {
        for (int64_t c = 0; c < extents_.head_dim; ++c) StoreElement(k, DType::kI4, KeyIndex(layout_, t, c), keys.At(item.first_token + t, head, c));
        for (int64_t c = 0; c < extents_.v_head_dim; ++c) {
          StoreElement(v, DType::kI4, ValueIndex(layout_, t, c), values.At(item.first_token + t, head, c));
        }
      }
    }
  } else {
    ForEachPiece(item, [&](int64_t done, const KvPiece& piece, const KvSource& source) {
      for (int64_t head = 0; head < extents_.kv_heads; ++head) CopyKvCodes(layout_, item.page, done, piece.tokens, source, head);
    });
  }
  PackScales(item, Role::kKScale, layout_.format.k_scale, extents_.head_dim, KeyScale);
  PackScales(item, value_scale_role, layout_.format.v_scale, extents_.v_head_dim, ValueScale);
  for (int64_t head = 0; head < extents_.kv_heads; ++head) {
    NoteKvTokens(layout_, item.page, 0, item.tokens, head);
    // The sign of an infinite scale says nothing of a key whose codes are of both.
    float* scales = reinterpret_cast<float*>(item.page.KScale(layout_, head));
    for (int64_t i = 0; i < layout_.k_scale_bytes / 4; ++i) {
      if (std::isinf(scales[i])) scales[i] = std::numeric_limits<float>::quiet_NaN();
    }
  }
}

void SoftmaxPlan::PackScales(const PackItem& item, Role role, ScaleGranularity granularity, int64_t channels, ScaleSlot slot) const {
  constexpr int64_t kGroup = kSoftmaxScaleGroup;
  if (granularity == ScaleGranularity::kNone) return;
  const TensorView& scales = problem_.Get(role);
  const int64_t step = granularity == ScaleGranularity::kPerToken ? channels : granularity == ScaleGranularity::kPerGroup32 ? kGroup : 1;
  for (int64_t head = 0; head < extents_.kv_heads; ++head) {
    if (granularity == ScaleGranularity::kPerPageChannel) {
      for (int64_t c = 0; c < channels; ++c) {
        slot(layout_, item.page, head, 0, c) = static_cast<float>(scales.At({item.sequence, item.first_token / kKvPageTokens, head, c}));
      }
      continue;
    }
    const TokenRows rows(problem_, role, item.sequence);
    for (int64_t t = 0; t < item.tokens; ++t) {
      for (int64_t c = 0; c < channels; c += step) slot(layout_, item.page, head, t, c) = static_cast<float>(rows.At(item.first_token + t, head, c / step));
    }
  }
}

void SoftmaxPlan::Pack() noexcept {
  const bool codes = IsQuantised(args_.element);
  const bool by_element = problem_.k_scale != ScaleGranularity::kNone || problem_.v_scale != ScaleGranularity::kNone ||
                          BitsOf(problem_.Get(Role::kK).dtype) < 8 || table_.epilogue_traits[args_.epilogue].unit_rows;
  ForEachWorker([&](int worker) {
    const int workers = pool_ == nullptr ? 1 : pool_->workers();
    const ItemRange range = StaticRange(pack_items_.size(), workers, worker);
    float* row = scratch_.data<float>() + worker * scratch_.view().shape[1];
    for (size_t i = range.begin; i < range.end; ++i) {
      const PackItem& item = pack_items_[i];
      codes ? PackCodes(item) : by_element ? DequantisePage(item, row) : PackPage(item);
      for (int64_t head = 0; selection_ && head < extents_.kv_heads; ++head) {
        BoundPage(layout_, item.page, head, item.tokens, item.first_token / kKvPageTokens, BoundsOf(item.sequence, head));
      }
    }
  });
}

}  // namespace assay
