// What the conformance vectors cannot know about sliding windows: exactly W keys, kept first tokens, and a cache that stops growing.
#include <gtest/gtest.h>

#include <cmath>

#include "mechanisms/mechanism.h"

namespace assay {
namespace {

const Mechanism& Window() { return **FindMechanism("sliding_window"); }

OwnedProblem Example(const ExampleSpec& spec, std::vector<double> parameters, uint64_t seed = 1) {
  Rng rng(seed);
  auto owned = Window().example(spec, ParameterSet::Make(Window(), parameters, {}).value(), rng);
  EXPECT_TRUE(owned.ok()) << owned.error().message;
  EXPECT_TRUE(Window().check(owned->problem).ok()) << Window().check(owned->problem).error().message;
  return std::move(owned).value();
}

// Impulse values: with all scores equal, row i's output times its number of keys is the number of visible ones.
std::vector<int64_t> KeysSeen(std::vector<double> parameters, int64_t tokens) {
  OwnedProblem owned = Example({.query_tokens = {tokens}, .key_tokens = {tokens}, .query_heads = 1, .kv_heads = 1, .head_dim = 1, .v_head_dim = tokens, .dtype = DType::kF64}, parameters);
  owned.problem.scale = 0;
  for (int64_t j = 0; j < tokens; ++j) {
    for (int64_t c = 0; c < tokens; ++c) owned.problem.Get(Role::kV).Set({j, 0, c}, c == j ? 1 : 0);
  }
  Window().reference(owned.problem);
  std::vector<int64_t> seen;  // of the last row
  for (int64_t c = 0; c < tokens; ++c) {
    if (owned.problem.Get(Role::kO).At({tokens - 1, 0, c}) > 0) seen.push_back(c);
  }
  return seen;
}

TEST(SlidingWindow, SeesExactlyItsWindow) {
  EXPECT_EQ(KeysSeen({3}, 8), (std::vector<int64_t>{5, 6, 7}));
  EXPECT_EQ(KeysSeen({1}, 8), (std::vector<int64_t>{7}));
  EXPECT_EQ(KeysSeen({8}, 8).size(), 8U);
  EXPECT_EQ(KeysSeen({100}, 8).size(), 8U);
}

TEST(SlidingWindow, KeepsTheFirstTokens) {
  EXPECT_EQ(KeysSeen({3, 2}, 8), (std::vector<int64_t>{0, 1, 5, 6, 7}));
  EXPECT_EQ(KeysSeen({3, 6}, 8), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(SlidingWindow, FirstTokensStayCausal) {
  OwnedProblem owned = Example({.query_tokens = {4}, .key_tokens = {4}, .query_heads = 1, .kv_heads = 1, .head_dim = 1, .dtype = DType::kF64}, {1, 4});
  owned.problem.Get(Role::kV).Set({3, 0, 0}, std::nan(""));
  Window().reference(owned.problem);
  EXPECT_TRUE(std::isfinite(owned.problem.Get(Role::kO).At({0, 0, 0})));
  EXPECT_TRUE(std::isnan(owned.problem.Get(Role::kO).At({3, 0, 0})));
}

TEST(SlidingWindow, EqualsGqaWhileTheWindowCoversEverything) {
  const Mechanism& gqa = **FindMechanism("gqa");
  const OwnedProblem window = Example({.query_tokens = {9}, .key_tokens = {30}, .dtype = DType::kF64}, {30});
  Window().reference(window.problem);
  Problem full = window.problem;
  full.window_left = -1;
  full.parameters.clear();
  Tensor o(DType::kF64, {9, 4, 32});
  for (Argument& argument : full.arguments) {
    if (argument.role == Role::kO) argument.tensor = o.view();
  }
  gqa.reference(full);
  for (int64_t i = 0; i < o.view().count(); ++i) ASSERT_EQ(o.data<double>()[i], window.problem.Get(Role::kO).as<double>()[i]);
}

TEST(SlidingWindow, CacheStopsGrowingAtTheWindow) {
  // gpt-oss: 64 query and 8 key/value heads of 64, window 128: 256 KiB a layer at any length.
  const LayerShape gpt_oss = {.model_dim = 2880, .query_heads = 64, .kv_heads = 8, .head_dim = 64};
  const ResidentBytes resident = Window().resident(gpt_oss, ParameterSet::Make(Window(), std::vector<double>{128}, {}).value(), {});
  EXPECT_EQ(resident.At(64), 128.0 * 1024);
  EXPECT_EQ(resident.At(1024), 256.0 * 1024);
  EXPECT_EQ(resident.At(1 << 20), 256.0 * 1024);
}

TEST(SlidingWindow, RefusesAWindowThatContradictsItsParameter) {
  OwnedProblem owned = Example({.query_tokens = {1}, .key_tokens = {9}}, {4});
  owned.problem.window_left = 4;
  EXPECT_FALSE(Window().check(owned.problem).ok());
  owned.problem.window_left = -1;
  owned.problem.parameters.clear();
  EXPECT_FALSE(Window().check(owned.problem).ok());
}

}  // namespace
}  // namespace assay
