// Page bounds, selection, and the tile over selected pages, against the definition in page_select.h written out.
#include "kernels/page_select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/thread_pool.h"
#include "kernels/softmax_case.h"
#include "kernels/softmax_kernel.h"
#include "kernels/softmax_plan.h"

namespace assay {
namespace {

using testing::kInf;
using testing::MakeCase;
using testing::SequenceData;
using testing::SoftmaxCase;
using testing::SoftmaxSpec;

constexpr Kernel kTile{.id = "pages", .epilogue = epilogue::kIdentity};

TEST(PageSelect, TakesTheLargestAndOfEqualsTheLowest) {
  const double scores[] = {1, 5, 5, 5, 2, 9};
  int32_t selected[6];
  ASSERT_EQ(SelectTopPages(scores, 0, 6, {.page_budget = 3, .newest_always = false}, selected), 3);
  EXPECT_EQ(std::vector<int32_t>(selected, selected + 3), (std::vector<int32_t>{1, 2, 5}));
}

TEST(PageSelect, KeepsTheNewestAmongTheBudget) {
  const double scores[] = {7, 5, 6, 1};
  int32_t selected[4];
  ASSERT_EQ(SelectTopPages(scores, 0, 4, {.page_budget = 2, .newest_always = true}, selected), 2);
  EXPECT_EQ(std::vector<int32_t>(selected, selected + 2), (std::vector<int32_t>{0, 3}));
}

TEST(PageSelect, TakesAllWhenTheBudgetIsLargerAndNoneOfNothing) {
  const double scores[] = {1, 2, 3};
  int32_t selected[3];
  EXPECT_EQ(SelectTopPages(scores, 1, 3, {.page_budget = 9}, selected), 2);
  EXPECT_EQ(selected[0], 1);
  EXPECT_EQ(SelectTopPages(scores, 2, 2, {.page_budget = 9}, selected), 0);
}

// What the definition selects, per (token, kv head), in doubles.
std::vector<bool> SelectedPages(const SoftmaxSpec& spec, const SequenceData& s, int64_t token, int64_t kv_head, const PageSelection& selection) {
  const int64_t pages = (s.keys + 63) / 64;
  struct Scored {
    double score;
    int64_t page;
  };
  std::vector<Scored> candidates;
  for (int64_t page = 0; page < pages; ++page) {
    bool seen = false;
    for (int64_t j = page * 64; j < std::min(s.keys, page * 64 + 64); ++j) seen = seen || Visible(spec, s, token, j);
    if (!seen) continue;
    double best = -kInf;
    const int64_t group = spec.query_heads / spec.kv_heads;
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      double bound = 0;
      for (int64_t c = 0; c < spec.head_dim; ++c) {
        const double q = s.q[static_cast<size_t>((token * spec.query_heads + h) * spec.head_dim + c)];
        double low = kInf, high = -kInf;
        for (int64_t j = page * 64; j < std::min(s.keys, page * 64 + 64); ++j) {
          const double k = s.k[static_cast<size_t>((j * spec.kv_heads + kv_head) * spec.head_dim + c)];
          low = std::min(low, k), high = std::max(high, k);
        }
        bound += std::max(q * low, q * high);
      }
      best = std::max(best, bound);
    }
    candidates.push_back({best, page});
  }
  if (selection.newest_always && !candidates.empty()) candidates.back().score = kInf;
  std::sort(candidates.begin(), candidates.end(),
            [](const Scored& a, const Scored& b) { return a.score != b.score ? a.score > b.score : a.page < b.page; });
  std::vector<bool> selected(static_cast<size_t>(pages), false);
  for (size_t i = 0; i < candidates.size() && static_cast<int64_t>(i) < selection.page_budget; ++i) selected[static_cast<size_t>(candidates[i].page)] = true;
  return selected;
}

class SoftmaxPages : public ::testing::TestWithParam<const KernelTable*> {};

TEST_P(SoftmaxPages, AttendsExactlyTheSelectedPages) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const int64_t budget : {1, 3, 40}) {
      for (const int64_t window : {int64_t{-1}, int64_t{300}}) {
        const SoftmaxSpec spec{.queries = {3, 1}, .keys = {700, 3000}, .query_heads = 4, .kv_heads = 2, .dtype = dtype, .window_left = window,
                               .sink = true};
        const PageSelection selection{.page_budget = budget, .newest_always = budget > 1};
        SoftmaxCase c = MakeCase(spec, static_cast<uint64_t>(budget));
        ThreadPool pool(2);
        auto plan = PrepareSoftmaxPagesOn(*GetParam(), c.owned.problem, kTile, &pool, selection);
        ASSERT_TRUE(plan.ok()) << plan.error().message;
        plan.value()->Pack();
        plan.value()->Run();
        // Hide the other pages from the plain solution.
        for (SequenceData& s : c.sequences) {
          for (int64_t t = 0; t < s.queries; ++t) {
            for (int64_t h = 0; h < spec.query_heads; ++h) {
              const auto selected = SelectedPages(spec, s, t, h / 2, selection);
              for (int64_t j = 0; j < s.keys; ++j) {
                if (!selected[static_cast<size_t>(j / 64)]) s.bias[static_cast<size_t>((h * s.queries + t) * s.keys + j)] = -kInf;
              }
            }
          }
        }
        const testing::CaseErrors errors = Compare(c, dtype == DType::kBf16 && GetParam()->native_pairs);
        EXPECT_LE(errors.kernel, 4 * errors.twin + 4 * EpsilonOf(dtype)) << NameOf(dtype) << " budget " << budget;
        EXPECT_LE(errors.lse_kernel, 4 * errors.lse_twin + 1e-6);
      }
    }
  }
}

// The longer prefill begins with a query that sees the first key only.
TEST_P(SoftmaxPages, AFullBudgetGivesTheBitsOfThePlainTile) {
  for (const auto& [queries, keys] : {std::pair{2, 500}, {70, 70}}) {
    SoftmaxCase c = MakeCase({.queries = {queries}, .keys = {keys}}, 3);
    const TensorView o = c.owned.problem.Get(Role::kO);
    const size_t bytes = BytesOf(o.dtype, static_cast<size_t>(o.count()));
    auto plain = PrepareSoftmaxOn(*GetParam(), c.owned.problem, kTile, nullptr);
    plain.value()->Pack();
    plain.value()->Run();
    std::vector<char> before(bytes);
    std::memcpy(before.data(), o.data, bytes);
    std::memset(o.data, 0xff, bytes);
    auto pages = PrepareSoftmaxPagesOn(*GetParam(), c.owned.problem, kTile, nullptr, {.page_budget = 100});
    pages.value()->Pack();
    pages.value()->Run();
    EXPECT_EQ(std::memcmp(before.data(), o.data, bytes), 0) << queries << " queries";
  }
}

TEST_P(SoftmaxPages, RefusesMasksAndAnEmptyBudget) {
  SoftmaxCase masked = MakeCase({.queries = {1}, .keys = {5}, .mask_bool = true}, 1);
  EXPECT_FALSE(CheckSoftmaxPages(masked.owned.problem, kTile, {}).ok());
  SoftmaxCase plain = MakeCase({.queries = {1}, .keys = {5}}, 1);
  EXPECT_FALSE(CheckSoftmaxPages(plain.owned.problem, kTile, {.page_budget = 0}).ok());
  EXPECT_TRUE(CheckSoftmaxPages(plain.owned.problem, kTile, {}).ok());
}

INSTANTIATE_TEST_SUITE_P(Backends, SoftmaxPages, ::testing::ValuesIn(testing::TestTables()),
                         [](const auto& parameter) { return std::string(parameter.param->name); });

}  // namespace
}  // namespace assay
