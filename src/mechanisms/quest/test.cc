// Quest: its bounds are bounds, everything selected is plain attention, forced pages are read, and cost equals the counted reference.
#include <gtest/gtest.h>

#include <cmath>

#include "mechanisms/mechanism.h"
#include "mechanisms/quest/reference.h"

namespace assay {
namespace {

const Mechanism& Quest() { return **FindMechanism("quest"); }

OwnedProblem Example(const ExampleSpec& spec, std::vector<double> parameters, uint64_t seed = 1) {
  Rng rng(seed);
  auto owned = Quest().example(spec, ParameterSet::Make(Quest(), parameters, {}).value(), rng);
  EXPECT_TRUE(owned.ok()) << owned.error().message;
  EXPECT_TRUE(Quest().check(owned->problem).ok()) << Quest().check(owned->problem).error().message;
  return std::move(owned).value();
}

std::vector<double> RunWith(const Mechanism& mechanism, Problem problem) {
  const TensorView& o = problem.Get(Role::kO);
  Tensor out(DType::kF64, std::span<const int64_t>(o.shape.data(), static_cast<size_t>(o.rank)));
  for (Argument& argument : problem.arguments) {
    if (argument.role == Role::kO) argument.tensor = out.view();
  }
  mechanism.reference(problem);
  return std::vector<double>(out.data<double>(), out.data<double>() + out.view().count());
}

TEST(Quest, APageBoundIsNeverBelowAScoreInThePage) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const OwnedProblem owned = Example({.query_tokens = {1}, .key_tokens = {64}, .query_heads = 1, .kv_heads = 1, .head_dim = 8, .dtype = DType::kF64}, {16, 2}, seed);
    reference::Rows<double> q(owned.problem, Role::kQ, 0, 1, 1, 8);
    reference::Rows<double> k(owned.problem, Role::kK, 0, 64, 1, 8);
    for (int64_t page = 0; page < 4; ++page) {
      const double bound = quest::PageBound(q.At(0, 0), k, 0, 16 * page, 16 * page + 16, 8);
      for (int64_t j = 16 * page; j < 16 * page + 16; ++j) EXPECT_GE(bound, reference::Dot(q.At(0, 0), k.At(j, 0), 8) - 1e-12);
    }
  }
}

TEST(Quest, EqualsGqaWithAllPagesSelected) {
  const OwnedProblem owned = Example({.query_tokens = {1, 1}, .key_tokens = {70, 33}, .dtype = DType::kF64}, {16, 5});
  Problem plain = owned.problem;
  plain.parameters.clear();
  EXPECT_EQ(RunWith(Quest(), owned.problem), RunWith(**FindMechanism("gqa"), plain));
}

TEST(Quest, PrefillIsDense) {
  const OwnedProblem owned = Example({.query_tokens = {9}, .key_tokens = {70}, .dtype = DType::kF64}, {8, 2});
  Problem plain = owned.problem;
  plain.parameters.clear();
  EXPECT_EQ(RunWith(Quest(), owned.problem), RunWith(**FindMechanism("gqa"), plain));
}

// The pages that decoding reads, found by NaN: a page whose values are NaN shows in the output if it is read.
std::vector<int64_t> PagesRead(const OwnedProblem& owned, int64_t page_tokens, int64_t keys) {
  std::vector<int64_t> read;
  const TensorView& v = owned.problem.Get(Role::kV);
  for (int64_t page = 0; page * page_tokens < keys; ++page) {
    const double kept = v.At({page * page_tokens, 0, 0});
    v.Set({page * page_tokens, 0, 0}, std::nan(""));
    if (std::isnan(RunWith(Quest(), owned.problem)[0])) read.push_back(page);
    v.Set({page * page_tokens, 0, 0}, kept);
  }
  return read;
}

TEST(Quest, ReadsForcedPagesAndTheLargestBounds) {
  OwnedProblem owned = Example({.query_tokens = {1}, .key_tokens = {38}, .query_heads = 1, .kv_heads = 1, .head_dim = 1, .dtype = DType::kF64}, {4, 4, 1, 2});
  // Ten pages of 4; the bound of a page is its largest key, and page 5 stands out, page 3 next.
  owned.problem.Get(Role::kQ).Set({0, 0, 0}, 1);
  for (int64_t j = 0; j < 38; ++j) owned.problem.Get(Role::kK).Set({j, 0, 0}, j == 22 ? 9 : j == 12 ? 5 : 0);
  EXPECT_EQ(PagesRead(owned, 4, 38), (std::vector<int64_t>{0, 5, 8, 9}));
}

TEST(Quest, EqualBoundsGoToTheEarlierPage) {
  OwnedProblem owned = Example({.query_tokens = {1}, .key_tokens = {40}, .query_heads = 1, .kv_heads = 1, .head_dim = 1, .dtype = DType::kF64}, {4, 3});
  for (int64_t j = 0; j < 40; ++j) owned.problem.Get(Role::kK).Set({j, 0, 0}, 0);
  EXPECT_EQ(PagesRead(owned, 4, 40), (std::vector<int64_t>{0, 1, 9}));
}

TEST(Quest, KeepsTheWholeCacheAndBoundsOnTop) {
  const LayerShape llama = {.model_dim = 4096, .query_heads = 32, .kv_heads = 8, .head_dim = 128};
  const double plain = (**FindMechanism("gqa")).resident(llama, ParameterSet::Defaults(**FindMechanism("gqa")), {}).At(8192);
  const double quest = Quest().resident(llama, ParameterSet::Make(Quest(), std::vector<double>{16}, {}).value(), {}).At(8192);
  EXPECT_EQ(quest / plain, 1 + 1.0 / 16);
}

TEST(Quest, RefusesABudgetBelowItsForcedPages) {
  OwnedProblem owned = Example({.query_tokens = {1}, .key_tokens = {9}}, {4, 4});
  owned.problem.parameters = {{"budget_pages", 2}, {"first_pages", 2}};
  EXPECT_FALSE(Quest().check(owned.problem).ok());
}

}  // namespace
}  // namespace assay
