// SoftmaxPlan: a prepared problem of the softmax kernel. Internal to src/kernels; others hold it as a Plan (softmax_kernel.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"
#include "kernels/kernel.h"
#include "kernels/kernel_table.h"
#include "kernels/kv_layout.h"
#include "kernels/page_select.h"

namespace assay {

// Codes stay codes in pages of these.
inline bool IsQuantised(PageElement element) { return element == PageElement::kE4m3 || element == PageElement::kI8 || element == PageElement::kI4; }

class SoftmaxPlan : public Plan {
 public:
  SoftmaxPlan(const Problem& problem, const Kernel& self, const Extents& extents, const KernelTable& table, ThreadPool* pool);
  // With a selection, only the pages it chooses are read (page_select.h).
  Status Prepare(const PageSelection* selection = nullptr, IntegerProducts products = IntegerProducts::kExact);

  void Pack() noexcept override;
  void Run() noexcept override;
  [[nodiscard]] std::string_view target() const override { return target_; }

 private:
  struct PackItem {
    int64_t sequence;
    int64_t first_token;
    int64_t tokens;
    KvPage page;
  };
  // Source rows of a sequence that share one stride.
  struct KvPiece {
    int64_t outer;  // sequence or page
    int64_t token;
    int64_t tokens;
  };

  Status AllocatePages();
  void DescribeSequences();
  void LimitSegments(const SoftmaxSequence& sequence, SoftmaxItem& item) const;
  void CutItems();
  void SplitItems();
  std::vector<size_t> BalancedBounds(const std::vector<SoftmaxItem>& items, size_t workers) const;
  void ForEachWorker(const auto& body) noexcept {
    if (pool_ == nullptr) return body(0);
    pool_->RunOnAll(body);
  }
  void PackPage(const PackItem& item) const;
  void PackCodes(const PackItem& item) const;
  using ScaleSlot = float& (*)(const KvLayout& layout, const KvPage& page, int64_t head, int64_t token, int64_t channel);
  void PackScales(const PackItem& item, Role role, ScaleGranularity granularity, int64_t channels, ScaleSlot slot) const;
  void ForEachPiece(const PackItem& item, const auto& body) const;
  void DequantisePage(const PackItem& item, float* row) const;
  [[nodiscard]] KvPiece PieceAt(int64_t token, int64_t most, int64_t sequence) const;
  static TensorView SequenceRows(const TensorView& view, const KvPiece& piece, int64_t channels);
  void ReadPositions() noexcept;
  void AllocateSelection();
  [[nodiscard]] PageBounds BoundsOf(int64_t sequence, int64_t kv_head) const;
  void SelectPages(int64_t sequence, int64_t kv_head, int64_t token, int worker) noexcept;
  void SelectAllPages() noexcept;

  Problem problem_;
  Extents extents_;
  const KernelTable& table_;
  ThreadPool* pool_;
  KvLayout layout_;
  SoftmaxArgs args_;
  std::string target_;
  Tensor memory_;
  std::vector<const unsigned char*> page_pointers_;
  std::vector<PackItem> pack_items_;
  std::vector<SoftmaxSequence> sequences_;
  std::vector<int64_t> query_positions_;
  std::vector<int64_t> key_positions_;
  std::vector<int64_t> page_bounds_;  // lowest position of every page, then the highest
  std::vector<SoftmaxItem> items_;
  std::vector<SoftmaxItem> merges_;  // whole items whose segments items_ computes; empty if nothing is split
  std::vector<size_t> item_bounds_;  // of each worker
  Tensor partial_memory_;
  std::vector<const float*> partials_;
  std::vector<size_t> partial_begin_;  // of each merge
  Tensor scratch_;

  // Page selection; empty without one.
  struct SelectionItem {
    int64_t sequence, kv_head, token;
  };
  std::optional<PageSelection> selection_;
  Tensor bounds_;                      // of every (sequence, head): low, then high
  std::vector<int64_t> bounds_begin_;  // of each sequence, in floats
  std::vector<SelectionItem> selection_items_;
  std::vector<int32_t> page_lists_;
  std::vector<int32_t> page_counts_;
  std::vector<double> page_scores_;  // [worker][2][most pages]: scores and sums
  int64_t most_pages_ = 0;
};

// As PrepareSoftmaxTile, on a given backend's table: tests run emulated backends through it.
Result<std::unique_ptr<Plan>> PrepareSoftmaxPagesOn(const KernelTable& table, const Problem& problem, const Kernel& self, ThreadPool* pool,
                                                    const PageSelection& selection);
Result<std::unique_ptr<Plan>> PrepareSoftmaxOn(const KernelTable& table, const Problem& problem, const Kernel& self, ThreadPool* pool,
                                               IntegerProducts products = IntegerProducts::kExact);

}  // namespace assay
