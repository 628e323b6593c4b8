// What the conformance vectors cannot know about gqa: hand-worked rows, untouched memory, and a cost model that equals the counted truth.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "mechanisms/mechanism.h"

namespace assay {
namespace {

const Mechanism& Gqa() { return **FindMechanism("gqa"); }

OwnedProblem Example(const ExampleSpec& spec, std::vector<double> parameters = {}, uint64_t seed = 1) {
  Rng rng(seed);
  auto owned = Gqa().example(spec, ParameterSet::Make(Gqa(), parameters, {}).value(), rng);
  EXPECT_TRUE(owned.ok()) << owned.error().message;
  EXPECT_TRUE(Gqa().check(owned->problem).ok()) << Gqa().check(owned->problem).error().message;
  return std::move(owned).value();
}

// One head, two keys, width 1: scores 0 and log 3, so the weights are 1/4 and 3/4.
OwnedProblem TwoKeys() {
  OwnedProblem owned = Example({.query_tokens = {1}, .key_tokens = {2}, .query_heads = 1, .kv_heads = 1, .head_dim = 1, .dtype = DType::kF64});
  owned.problem.scale = 1;
  owned.problem.Get(Role::kQ).Set({0, 0, 0}, 1);
  owned.problem.Get(Role::kK).Set({0, 0, 0}, 0);
  owned.problem.Get(Role::kK).Set({1, 0, 0}, std::log(3));
  owned.problem.Get(Role::kV).Set({0, 0, 0}, 8);
  owned.problem.Get(Role::kV).Set({1, 0, 0}, 16);
  return owned;
}

TEST(Gqa, WeighsTwoKeysByTheirExponentials) {
  const OwnedProblem owned = TwoKeys();
  Gqa().reference(owned.problem);
  EXPECT_NEAR(owned.problem.Get(Role::kO).At({0, 0, 0}), 14, 1e-14);
  EXPECT_NEAR(owned.problem.Get(Role::kLse).At({0, 0}), std::log(4), 1e-15);
}

TEST(Gqa, CountsTheSinkOnceInTheDenominator) {
  OwnedProblem owned = TwoKeys();
  owned.Add(Role::kSink, DType::kF64, {1}).Set({0}, std::log(4));
  Gqa().reference(owned.problem);
  EXPECT_NEAR(owned.problem.Get(Role::kO).At({0, 0, 0}), 7, 1e-14);
  EXPECT_NEAR(owned.problem.Get(Role::kLse).At({0, 0}), std::log(8), 1e-15);
}

TEST(Gqa, CapsScoresBeforeTheMask) {
  OwnedProblem owned = TwoKeys();
  owned.problem.softcap = 0.5;
  const TensorView mask = owned.Add(Role::kMaskAdd, DType::kF64, {1, 2});
  mask.Set({0, 1}, -std::numeric_limits<double>::infinity());
  Gqa().reference(owned.problem);
  EXPECT_EQ(owned.problem.Get(Role::kO).At({0, 0, 0}), 8);
}

TEST(Gqa, WritesZeroAndMinusInfinityForARowWithoutKeys) {
  OwnedProblem owned = TwoKeys();
  owned.Add(Role::kMaskBool, DType::kBool8, {1, 2});
  Gqa().reference(owned.problem);
  EXPECT_EQ(owned.problem.Get(Role::kO).At({0, 0, 0}), 0);
  EXPECT_EQ(owned.problem.Get(Role::kLse).At({0, 0}), -std::numeric_limits<double>::infinity());
}

TEST(Gqa, NeverReadsWhatNoQuerySees) {
  OwnedProblem owned = TwoKeys();
  const TensorView mask = owned.Add(Role::kMaskBool, DType::kBool8, {1, 2});
  mask.Set({0, 0}, 1);
  owned.problem.Get(Role::kK).Set({1, 0, 0}, std::nan(""));
  owned.problem.Get(Role::kV).Set({1, 0, 0}, std::nan(""));
  Gqa().reference(owned.problem);
  EXPECT_EQ(owned.problem.Get(Role::kO).At({0, 0, 0}), 8);
}

TEST(Gqa, ReadsTheSameFromDensePackedAndPagedStorage) {
  // Unequal cache lengths, a page boundary inside each.
  const ExampleSpec spec = {.query_tokens = {3, 3}, .key_tokens = {65, 130}, .v_head_dim = 24, .dtype = DType::kF64};
  const OwnedProblem packed = Example(spec);
  ExampleSpec other_spec = spec;
  for (const auto storage : {ExampleSpec::Storage::kDense, ExampleSpec::Storage::kPaged}) {
    other_spec.storage = storage;
    const OwnedProblem other = Example(other_spec);
    for (const Role role : {Role::kQ, Role::kK, Role::kV}) {
      for (int64_t b = 0; b < 2; ++b) {
        const bool is_q = role == Role::kQ;
        const TokenRows from(packed.problem, role, b);
        const TokenRows to(other.problem, role, b);
        const auto tokens = (is_q ? spec.query_tokens : spec.key_tokens)[static_cast<size_t>(b)];
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t h = 0; h < (is_q ? 4 : 2); ++h) {
            for (int64_t c = 0; c < (role == Role::kV ? 24 : 32); ++c) to.Set(t, h, c, from.At(t, h, c));
          }
        }
      }
    }
    Gqa().reference(packed.problem);
    Gqa().reference(other.problem);
    for (int64_t b = 0; b < 2; ++b) {
      const TokenRows expected(packed.problem, Role::kO, b);
      const TokenRows actual(other.problem, Role::kO, b);
      for (int64_t t = 0; t < 3; ++t) {
        for (int64_t h = 0; h < 4; ++h) {
          for (int64_t c = 0; c < 24; ++c) ASSERT_EQ(actual.At(t, h, c), expected.At(t, h, c)) << b << ' ' << t << ' ' << h << ' ' << c;
        }
      }
    }
  }
}

TEST(Gqa, CacheOfLlama3At8192TokensIs32MiBALayer) {
  const LayerShape llama = {.model_dim = 4096, .query_heads = 32, .kv_heads = 8, .head_dim = 128};
  const ParameterSet defaults = ParameterSet::Defaults(Gqa());
  EXPECT_EQ(Gqa().resident(llama, defaults, {}).At(8192), 32.0 * 1024 * 1024);
  const ParameterSet mqa = ParameterSet::Make(Gqa(), std::vector<double>{1}, {}).value();
  EXPECT_EQ(Gqa().resident(llama, mqa, {}).At(8192), 4.0 * 1024 * 1024);
}

TEST(Gqa, RefusesRolesItDoesNotRead) {
  OwnedProblem owned = TwoKeys();
  owned.Add(Role::kBeta, DType::kF32, {1, 1});
  const Status status = Gqa().check(owned.problem);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().kind, ErrorKind::kUnsupported);
}

TEST(Gqa, RefusesShapesThatContradictEachOther) {
  OwnedProblem sink = TwoKeys();
  sink.Add(Role::kSink, DType::kF32, {3});
  EXPECT_FALSE(Gqa().check(sink.problem).ok());
  OwnedProblem mask = TwoKeys();
  mask.Add(Role::kMaskBool, DType::kBool8, {2, 1, 1, 2});
  EXPECT_FALSE(Gqa().check(mask.problem).ok());
  OwnedProblem scale = TwoKeys();
  scale.problem.scale = std::nan("");
  EXPECT_FALSE(Gqa().check(scale.problem).ok());
}

}  // namespace
}  // namespace assay
