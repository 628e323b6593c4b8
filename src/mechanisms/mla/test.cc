// What outside vectors cannot know about latent attention: the two forms agree from weights on, costs are what is counted, published sizes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "formats/conformance_case.h"
#include "mechanisms/case_adapter.h"
#include "mechanisms/conformance.h"
#include "mechanisms/mechanism.h"
#include "mechanisms/mla/mla.h"
#include "mechanisms/mla/reference.h"

namespace assay {
namespace {

const Mechanism& Mla() { return **FindMechanism("mla"); }
ParameterSet With(std::vector<ParameterValue> named) { return *ParameterSet::Make(Mla(), {}, named); }

constexpr int64_t kHeads = 3, kRank = 8, kRope = 4, kNope = 6, kValue = 5;

// One layer's cache and weights, and the problem of either form over them.
struct Layer {
  explicit Layer(int64_t queries, int64_t keys) : query_tokens(queries), key_tokens(keys) {
    Rng rng(7);
    for (auto* values : {&latent, &rope, &q, &w_uk, &w_uv}) {
      const int64_t counts[] = {keys * kRank, keys * kRope, queries * kHeads * (kNope + kRope), kHeads * kNope * kRank, kHeads * kValue * kRank};
      values->resize(static_cast<size_t>(counts[next++]));
      for (double& x : *values) x = rng.Normal();
    }
  }
  int64_t query_tokens, key_tokens;
  size_t next = 0;
  std::vector<double> latent, rope, q, w_uk, w_uv;

  OwnedProblem Make(int64_t kv_heads, int64_t key_width, int64_t value_width, bool with_v) const {
    OwnedProblem owned;
    owned.problem.mechanism = "mla";
    owned.problem.scale = 1 / std::sqrt(static_cast<double>(kNope + kRope));
    owned.problem.causal = Causal::kBottomRight;
    owned.Add(Role::kQ, DType::kF64, {1, query_tokens, kHeads, key_width});
    owned.Add(Role::kK, DType::kF64, {1, key_tokens, kv_heads, key_width});
    if (with_v) owned.Add(Role::kV, DType::kF64, {1, key_tokens, kv_heads, value_width});
    owned.Add(Role::kO, DType::kF64, {1, query_tokens, kHeads, value_width});
    return owned;
  }
  std::vector<double> Expanded() const {
    OwnedProblem owned = Make(kHeads, kNope + kRope, kValue, true);
    const TensorView& v = owned.problem.Get(Role::kV);
    std::copy(q.begin(), q.end(), owned.problem.Get(Role::kQ).as<double>());
    for (int64_t j = 0; j < key_tokens; ++j) {
      for (int64_t h = 0; h < kHeads; ++h) {
        double* key = owned.problem.Get(Role::kK).as<double>() + (j * kHeads + h) * (kNope + kRope);
        mla::UpProject(&w_uk[static_cast<size_t>(h * kNope * kRank)], &latent[static_cast<size_t>(j * kRank)], kNope, kRank, key);
        std::copy_n(&rope[static_cast<size_t>(j * kRope)], kRope, key + kNope);
        mla::UpProject(&w_uv[static_cast<size_t>(h * kValue * kRank)], &latent[static_cast<size_t>(j * kRank)], kValue, kRank, v.as<double>() + (j * kHeads + h) * kValue);
      }
    }
    EXPECT_TRUE(Mla().check(owned.problem).ok());
    Mla().reference(owned.problem);
    const double* o = owned.problem.Get(Role::kO).as<double>();
    return {o, o + query_tokens * kHeads * kValue};
  }
  std::vector<double> Absorbed() const {
    OwnedProblem owned = Make(1, kRank + kRope, kRank, false);
    for (int64_t j = 0; j < key_tokens; ++j) {
      double* key = owned.problem.Get(Role::kK).as<double>() + j * (kRank + kRope);
      std::copy_n(&latent[static_cast<size_t>(j * kRank)], kRank, key);
      std::copy_n(&rope[static_cast<size_t>(j * kRope)], kRope, key + kRank);
    }
    for (int64_t row = 0; row < query_tokens * kHeads; ++row) {
      double* out = owned.problem.Get(Role::kQ).as<double>() + row * (kRank + kRope);
      const double* in = &q[static_cast<size_t>(row * (kNope + kRope))];
      mla::Absorb(&w_uk[static_cast<size_t>(row % kHeads * kNope * kRank)], in, kNope, kRank, out);
      std::copy_n(in + kNope, kRope, out + kRank);
    }
    EXPECT_TRUE(Mla().check(owned.problem).ok());
    Mla().reference(owned.problem);
    std::vector<double> o(static_cast<size_t>(query_tokens * kHeads * kValue));
    for (int64_t row = 0; row < query_tokens * kHeads; ++row) {
      mla::UpProject(&w_uv[static_cast<size_t>(row % kHeads * kValue * kRank)], owned.problem.Get(Role::kO).as<double>() + row * kRank, kValue, kRank,
                     &o[static_cast<size_t>(row * kValue)]);
    }
    return o;
  }
};

TEST(Mla, AbsorbedEqualsExpanded) {
  for (const int64_t queries : {1, 4, 9}) {
    const Layer layer(queries, 9);
    const std::vector<double> expanded = layer.Expanded();
    const std::vector<double> absorbed = layer.Absorbed();
    ASSERT_EQ(expanded.size(), absorbed.size());
    for (size_t i = 0; i < expanded.size(); ++i) EXPECT_NEAR(expanded[i], absorbed[i], 1e-12) << queries << " queries, element " << i;
  }
}

TEST(Mla, ValuesWithoutVAreTheLeadingChannelsOfK) {
  Rng rng(3);
  OwnedProblem owned = *Mla().example({.query_tokens = {1}, .key_tokens = {1}, .query_heads = 2, .dtype = DType::kF64}, With({{"kv_rank", 6}, {"rope_dim", 2}}), rng);
  ASSERT_FALSE(owned.problem.Has(Role::kV));
  ASSERT_TRUE(Mla().check(owned.problem).ok());
  Mla().reference(owned.problem);
  for (int64_t c = 0; c < 6; ++c) EXPECT_EQ(owned.problem.Get(Role::kO).At({0, 1, c}), owned.problem.Get(Role::kK).At({0, 0, c}));
}

// The shared suite leaves this out: a reference of the expanded form is given rows that are expanded already.
TEST(Mla, ExpandedCostCountsTheExpansionOfCachedLatents) {
  const int64_t tokens = 3, context = 4;
  const Layer layer(tokens, tokens + context);
  const OwnedProblem owned = layer.Make(kHeads, kNope + kRope, kValue, true);
  const WorkCount work = Mla().count(owned.problem);
  const LayerCost cost =
      Mla().cost({.shape = {.query_heads = kHeads},
                  .parameters = With({{"kv_rank", kRank}, {"rope_dim", kRope}, {"nope_dim", kNope}, {"v_head_dim", kValue}, {"form", 1}}),
                  .new_tokens = tokens,
                  .context_tokens = context});
  Counted::Work() = {};
  std::vector<Counted> weight(kNope * kRank), latent(kRank), out(kNope);
  mla::UpProject(weight.data(), latent.data(), kNope, kRank, out.data());
  const double expansion = Counted::Work().flops() / kNope * (kNope + kValue) * kHeads * context;
  EXPECT_EQ(work.flops() + expansion, cost.flops);
  EXPECT_EQ(static_cast<double>(work.transcendentals), cost.transcendentals);
}

TEST(Mla, DecodeIsAbsorbedAndLongPrefillIsExpanded) {
  const LayerShape shape = {.query_heads = 128};
  const ParameterSet parameters = ParameterSet::Defaults(Mla());
  EXPECT_EQ(mla::FormOf({.shape = shape, .parameters = parameters, .new_tokens = 1, .context_tokens = 4096}), mla::Form::kAbsorbed);
  EXPECT_EQ(mla::FormOf({.shape = shape, .parameters = parameters, .new_tokens = 4096}), mla::Form::kExpanded);
}

// DeepSeek-V3: 1,152 bytes a token and layer in bf16; a decode step at 1,024 tokens is 285 MFLOP of attention and 34 of up-projection.
TEST(Mla, DeepSeekV3LayerHasThePublishedSize) {
  const LayerShape shape = {.model_dim = 7168, .query_heads = 128};
  const ParameterSet parameters = ParameterSet::Defaults(Mla());
  const CostQuery decode = {.shape = shape, .parameters = parameters, .new_tokens = 1, .context_tokens = 1023};
  EXPECT_EQ(Mla().resident(shape, parameters, decode).per_token, 1152);
  const std::vector<Projection> projections = Mla().projections(shape, parameters);
  double up_projection = 0;
  for (const Projection& projection : projections) {
    if (projection.name == "kv_b") up_projection = 2 * static_cast<double>(projection.n * projection.k);
  }
  EXPECT_NEAR(Mla().cost(decode).flops + up_projection, 319e6, 1e6);
}

TEST(Mla, CasesNoticeAFlippedConventionInBothForms) {
  const auto cases = formats::ReadCaseFile(ASSAY_SHARED_DATA_DIR "/conformance/deployed/mla__v3_yarn_mscale_t20.txt");
  if (!cases.ok()) GTEST_SKIP() << "no conformance vectors beside the checkout: " << cases.error().message;
  ASSERT_EQ(Mla().cases.size(), 2u);
  for (const CaseAdapter& adapter : Mla().cases) {
    const auto agrees = [&](const formats::Case& one, const std::function<void(Problem&)>& change) {
      const auto outputs = RunReference(Mla(), adapter, one, change);
      EXPECT_TRUE(outputs.ok());
      return outputs.ok() && CompareOutputs(one, *outputs).ok();
    };
    EXPECT_TRUE(agrees((*cases)[0], {}));
    EXPECT_FALSE(agrees((*cases)[0], [](Problem& p) { p.scale /= 1.1386 * 1.1386; })) << "mscale squared left out";
    EXPECT_FALSE(agrees((*cases)[0], [](Problem& p) { p.causal = Causal::kNone; })) << "causality";
    for (const auto& [attribute, value] : {std::pair{"rope_mode", "halves"}, {"rope_mode", "none"}, {"rope_type", "default"}, {"cache_k_rope_order", "in_place"}}) {
      auto flipped = formats::ReadCaseFile(ASSAY_SHARED_DATA_DIR "/conformance/deployed/mla__v3_yarn_mscale_t20.txt");
      (*flipped)[0].attributes[attribute] = std::string(value);
      EXPECT_FALSE(agrees((*flipped)[0], {})) << attribute << " " << value;
    }
  }
}

TEST(Mla, RefusesOutputsWiderThanTheLatent) {
  const Layer layer(2, 3);
  OwnedProblem owned = layer.Make(1, kRank, kRank + 1, false);
  const Status status = Mla().check(owned.problem);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("leading channels"), std::string::npos);
}

}  // namespace
}  // namespace assay
