// Sigmoid attention: hand-worked weights, independence of the keys, cost.
#include <gtest/gtest.h>

#include <cmath>

#include "mechanisms/mechanism.h"

namespace assay {
namespace {

const Mechanism& Sigmoid() { return **FindMechanism("sigmoid_attention"); }

OwnedProblem Example(const ExampleSpec& spec, std::vector<double> parameters = {}) {
  Rng rng(3);
  auto owned = Sigmoid().example(spec, ParameterSet::Make(Sigmoid(), parameters, {}).value(), rng);
  EXPECT_TRUE(owned.ok()) << owned.error().message;
  EXPECT_TRUE(Sigmoid().check(owned->problem).ok()) << Sigmoid().check(owned->problem).error().message;
  return std::move(owned).value();
}

TEST(SigmoidAttention, WeighsEachKeyByItself) {
  OwnedProblem owned = Example({.query_tokens = {1}, .key_tokens = {2}, .query_heads = 1, .kv_heads = 1, .head_dim = 1, .dtype = DType::kF64}, {3});
  owned.problem.scale = 1;
  owned.problem.Get(Role::kQ).Set({0, 0, 0}, 1);
  owned.problem.Get(Role::kK).Set({0, 0, 0}, 0);            // sigma(-log 3) = 1/4
  owned.problem.Get(Role::kK).Set({1, 0, 0}, std::log(9));  // sigma(log 3) = 3/4
  owned.problem.Get(Role::kV).Set({0, 0, 0}, 8);
  owned.problem.Get(Role::kV).Set({1, 0, 0}, 16);
  Sigmoid().reference(owned.problem);
  EXPECT_NEAR(owned.problem.Get(Role::kO).At({0, 0, 0}), 14, 1e-14);
}

TEST(SigmoidAttention, PartsOverKeysAdd) {
  // The whole equals the sum of two calls over halves of the keys: what splits and caches rely on.
  const OwnedProblem owned = Example({.query_tokens = {1}, .key_tokens = {10}, .query_heads = 2, .kv_heads = 1, .head_dim = 4, .dtype = DType::kF64});
  const auto output_of = [&](int64_t first, int64_t last) {
    OwnedProblem part;
    part.problem = owned.problem;
    const TensorView mask = part.Add(Role::kMaskBool, DType::kBool8, {1, 10});
    for (int64_t j = first; j < last; ++j) mask.Set({0, j}, 1);
    Sigmoid().reference(part.problem);
    std::vector<double> o;
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t c = 0; c < 4; ++c) o.push_back(part.problem.Get(Role::kO).At({0, h, c}));
    }
    return o;
  };
  const auto whole = output_of(0, 10);
  const auto left = output_of(0, 3);
  const auto right = output_of(3, 10);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(whole[i], left[i] + right[i], 1e-15);
}

TEST(SigmoidAttention, ARowWithoutKeysIsZero) {
  OwnedProblem owned = Example({.query_tokens = {1}, .key_tokens = {3}});
  owned.Add(Role::kMaskBool, DType::kBool8, {1, 3});
  Sigmoid().reference(owned.problem);
  EXPECT_EQ(owned.problem.Get(Role::kO).At({0, 0, 0}), 0);
}

TEST(SigmoidAttention, RefusesWhatOnlyANormalisedRowHas) {
  OwnedProblem owned = Example({.query_tokens = {1}, .key_tokens = {3}});
  owned.Add(Role::kLse, DType::kF32, {1, 4});
  EXPECT_FALSE(Sigmoid().check(owned.problem).ok());
}

}  // namespace
}  // namespace assay
