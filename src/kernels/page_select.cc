#include "kernels/page_select.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/dispatch.h"
#include "kernels/softmax_kernel.h"
#include "kernels/softmax_plan.h"

namespace assay {

void BoundPage(const KvLayout& layout, const KvPage& page, int64_t head, int64_t tokens, int64_t page_index, const PageBounds& bounds) {
  const bool bf16 = layout.format.dtype == DType::kBf16;
  ASSAY_DCHECK(bf16 || layout.format.dtype == DType::kF32, "bounds are taken from the pages that the tile reads");
  const std::byte* keys = page.K(layout, head);
  for (int64_t c = 0; c < layout.head_dim; ++c) {
    float low = std::numeric_limits<float>::infinity();
    float high = -low;
    bool nan = false;
    for (int64_t t = 0; t < tokens; ++t) {
      const size_t index = KeyIndex(layout, t, c);
      const float key = bf16 ? F32FromBf16(reinterpret_cast<const uint16_t*>(keys)[index]) : reinterpret_cast<const float*>(keys)[index];
      nan |= key != key;
      low = std::min(low, key);
      high = std::max(high, key);
    }
    const float quiet_nan = std::numeric_limits<float>::quiet_NaN();
    bounds.low[c * bounds.pages + page_index] = nan ? quiet_nan : low;
    bounds.high[c * bounds.pages + page_index] = nan ? quiet_nan : high;
  }
}

void RaisePageScores(const float* query, int64_t head_dim, const PageBounds& bounds, int64_t begin, int64_t end, double* scores, double* sums) {
  std::fill(sums + begin, sums + end, 0.0);
  // Page by page in the inner loop: the order of a page's sum stays that of the channels.
  for (int64_t c = 0; c < head_dim; ++c) {
    const auto q = static_cast<double>(query[c]);
    const float* low = bounds.low + c * bounds.pages;
    const float* high = bounds.high + c * bounds.pages;
    for (int64_t page = begin; page < end; ++page) {
      const double at_low = q * static_cast<double>(low[page]);
      const double at_high = q * static_cast<double>(high[page]);
      sums[page] += at_low > at_high ? at_low : at_high;
    }
  }
  for (int64_t page = begin; page < end; ++page) {
    const double score = std::isnan(sums[page]) ? std::numeric_limits<double>::infinity() : sums[page];
    scores[page] = std::max(scores[page], score);
  }
}

int64_t SelectTopPages(const double* scores, int64_t begin, int64_t end, const PageSelection& selection, int32_t* selected) {
  const int64_t count = std::max<int64_t>(0, std::min(selection.page_budget, end - begin));
  if (count == 0) return 0;
  std::iota(selected, selected + (end - begin), static_cast<int32_t>(begin));
  const auto newest = static_cast<int32_t>(end - 1);
  // A total order, so that the result depends on nothing but the scores.
  const auto before = [&](int32_t a, int32_t b) {
    if (selection.newest_always && (a == newest || b == newest)) return a == newest && b != newest;
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  };
  std::nth_element(selected, selected + (count - 1), selected + (end - begin), before);
  std::sort(selected, selected + count);
  return count;
}

Status CheckSoftmaxPages(const Problem& problem, const Kernel& self, const PageSelection& selection) {
  ASSAY_RETURN_IF_ERROR(CheckSoftmaxTile(problem, self));
  if (selection.page_budget < 1) return BadInput(fmt::format("a page budget of {}; at least 1 page must be read", selection.page_budget));
  for (const Role role : {Role::kMaskBool, Role::kMaskAdd, Role::kAlibi, Role::kPosQ, Role::kPosK}) {
    if (problem.Has(role)) {
      return Unsupported("page selection is by score bounds that know causality and windows; masks, ALiBi and positions as data are not served");
    }
  }
  return Ok();
}

Result<std::unique_ptr<Plan>> PrepareSoftmaxPagesOn(const KernelTable& table, const Problem& problem, const Kernel& self, ThreadPool* pool,
                                                    const PageSelection& selection) {
  ASSAY_RETURN_IF_ERROR(CheckSoftmaxPages(problem, self, selection));
  ASSAY_TRY(const Extents extents, ResolveExtents(problem));
  auto plan = std::make_unique<SoftmaxPlan>(problem, self, extents, table, pool);
  ASSAY_RETURN_IF_ERROR(plan->Prepare(&selection));
  return std::unique_ptr<Plan>(std::move(plan));
}

Result<std::unique_ptr<Plan>> PrepareSoftmaxPages(const Problem& problem, const Kernel& self, const KernelEnv& env,
                                                  const PageSelection& selection) {
  ASSAY_TRY(const KernelTable* table, TableFor(env.backend));
  return PrepareSoftmaxPagesOn(*table, problem, self, env.pool, selection);
}

}  // namespace assay
