// What outside vectors cannot know about the gated delta rule: its two forms agree, a state can be handed over, costs are what is counted.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "formats/conformance_case.h"
#include "mechanisms/case_adapter.h"
#include "mechanisms/conformance.h"
#include "mechanisms/gated_delta_net/gated_delta_net.h"
#include "mechanisms/mechanism.h"

namespace assay {
namespace {

const Mechanism& Gdn() { return **FindMechanism("gated_delta_net"); }

ParameterSet With(std::vector<ParameterValue> named) { return *ParameterSet::Make(Gdn(), {}, named); }

OwnedProblem Random(ExampleSpec spec, const ParameterSet& parameters, uint64_t seed = 1) {
  spec.dtype = DType::kF64;
  Rng rng(seed);
  Result<OwnedProblem> owned = Gdn().example(spec, parameters, rng);
  EXPECT_TRUE(owned.ok()) << owned.error().message;
  return std::move(owned).value();
}

std::vector<double> Values(const TensorView& view) {
  std::vector<double> values(static_cast<size_t>(view.count()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = LoadElement(view.data, view.dtype, i);
  return values;
}

struct Answer {
  std::vector<double> o;
  std::vector<double> state;
};
Answer RunForm(Problem& problem, int chunk) {
  problem.chunk = chunk;
  const Status status = Gdn().check(problem);
  EXPECT_TRUE(status.ok()) << status.error().message;
  Gdn().reference(problem);
  return {Values(problem.Get(Role::kO)), Values(problem.Get(Role::kStateOut))};
}

double LargestDifference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) largest = std::isnan(a[i] - b[i]) ? INFINITY : std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

TEST(GatedDeltaNet, ChunkedEqualsStepwiseAtChunkEdges) {
  for (const double channel : {0.0, 1.0}) {
    for (const int64_t tokens : {1, 7, 8, 9, 29}) {
      OwnedProblem owned = Random({.query_tokens = {tokens}, .key_tokens = {tokens + 3}, .head_dim = 8, .v_head_dim = 6}, With({{"channel_decay", channel}, {"beta_max", 2}}));
      const Answer stepwise = RunForm(owned.problem, 1);
      const Answer chunked = RunForm(owned.problem, 8);
      EXPECT_LT(LargestDifference(stepwise.o, chunked.o), 1e-13) << tokens << " tokens, channel decay " << channel;
      EXPECT_LT(LargestDifference(stepwise.state, chunked.state), 1e-12);
    }
  }
}

TEST(GatedDeltaNet, ChunkedStaysExactUnderStrongDecay) {
  for (const double log_decay : {-6.0, -20.0, -120.0}) {
    OwnedProblem owned = Random({.query_tokens = {40}, .key_tokens = {41}, .head_dim = 8, .log_decay = log_decay}, With({{"channel_decay", 1}}));
    EXPECT_LT(LargestDifference(RunForm(owned.problem, 1).o, RunForm(owned.problem, 16).o), 1e-14) << log_decay;
  }
}

TEST(GatedDeltaNet, LinearRuleAgreesInBothForms) {
  OwnedProblem owned = Random({.query_tokens = {19}, .key_tokens = {19}, .head_dim = 8}, With({{"delta", 0}}));
  EXPECT_LT(LargestDifference(RunForm(owned.problem, 1).o, RunForm(owned.problem, 5).o), 1e-13);
}

TEST(GatedDeltaNet, HandingOverTheStateContinuesTheSequence) {
  OwnedProblem whole = Random({.query_tokens = {21}, .key_tokens = {24}, .head_dim = 8, .storage = ExampleSpec::Storage::kDense}, ParameterSet::Defaults(Gdn()));
  const Answer expected = RunForm(whole.problem, 1);
  for (const int64_t first : {1, 8, 20}) {
    // The same tensors, cut in two along the token axis; the first call's state goes into the second.
    Tensor state = Tensor(DType::kF64, {1, 4, 8, 8});
    Problem head = whole.problem;
    Problem tail = whole.problem;
    for (size_t i = 0; i < head.arguments.size(); ++i) {
      const Role role = head.arguments[i].role;
      TensorView& early = head.arguments[i].tensor;
      TensorView& late = tail.arguments[i].tensor;
      if (role == Role::kStateOut) early = state.view();
      if (role == Role::kStateIn) late = state.view();
      if (role == Role::kStateIn || role == Role::kStateOut) continue;
      early.shape[1] = first;
      late.shape[1] -= first;
      late.data = late.as<double>() + first * late.stride[1];
    }
    ASSERT_TRUE(Gdn().check(head).ok());
    ASSERT_TRUE(Gdn().check(tail).ok());
    Gdn().reference(head);
    Gdn().reference(tail);
    EXPECT_EQ(Values(whole.problem.Get(Role::kO)), expected.o) << "cut after " << first;
    EXPECT_EQ(Values(whole.problem.Get(Role::kStateOut)), expected.state);
  }
}

// A unit key written twice with beta = 1 reads back the second value exactly; with beta = 2 the read reflects: 2 v2 - v1.
TEST(GatedDeltaNet, WritingAKeyAgainOverwritesOrReflects) {
  for (const double beta : {1.0, 2.0}) {
    OwnedProblem owned = Random({.query_tokens = {2}, .key_tokens = {2}, .query_heads = 1, .kv_heads = 1, .head_dim = 4, .log_decay = 0}, ParameterSet::Defaults(Gdn()));
    for (const double token : {0.0, 1.0}) {
      const auto t = static_cast<int64_t>(token);
      for (int64_t c = 0; c < 4; ++c) {
        owned.problem.Get(Role::kK).Set({t, 0, c}, 0.5);
        owned.problem.Get(Role::kQ).Set({t, 0, c}, 0.5);
        owned.problem.Get(Role::kV).Set({t, 0, c}, 1 + 2 * token);
      }
      owned.problem.Get(Role::kBeta).Set({t, 0}, t == 0 ? 1 : beta);
    }
    owned.problem.scale = 1;
    const Answer answer = RunForm(owned.problem, 1);
    for (size_t c = 0; c < 4; ++c) EXPECT_EQ(answer.o[4 + c], beta == 1 ? 3.0 : 5.0);
  }
}

// Qwen3-Next keeps 2 MiB of fp32 state and 48 KiB of convolution tail a layer and spends about 3.67 MFLOP a token.
TEST(GatedDeltaNet, Qwen3NextLayerHasThePublishedSize) {
  const ParameterSet parameters = With({{"key_heads", 16}, {"value_heads", 32}, {"key_dim", 128}, {"value_dim", 128}});
  const CostQuery decode = {.shape = {}, .parameters = parameters};
  const double resident = Gdn().resident({}, parameters, decode).At(100000);
  EXPECT_EQ(resident, 32 * 128 * 128 * 4 + 3 * 8192 * 2);
  EXPECT_EQ(std::floor(resident / 4096), 524);
  EXPECT_NEAR(Gdn().cost(decode).flops, 3.67e6, 0.02e6);
}

// Each flipped convention must fail a case: otherwise the cases would not hold it.
TEST(GatedDeltaNet, CasesNoticeAFlippedConvention) {
  const auto read = [](const char* name) { return formats::ReadCaseFile(std::string(ASSAY_SHARED_DATA_DIR "/conformance/deployed/") + name); };
  const auto cases = read("gated_delta_rule__recurrent_t7_init.txt");
  if (!cases.ok()) GTEST_SKIP() << "no conformance vectors beside the checkout: " << cases.error().message;
  const CaseAdapter& adapter = *std::find_if(Gdn().cases.begin(), Gdn().cases.end(), [](const CaseAdapter& a) { return a.op == "GatedDeltaRule"; });
  const auto agrees = [&](const std::function<void(Problem&)>& change) {
    const auto outputs = RunReference(Gdn(), adapter, (*cases)[0], change);
    EXPECT_TRUE(outputs.ok());
    return outputs.ok() && CompareOutputs((*cases)[0], *outputs).ok();
  };
  EXPECT_TRUE(agrees({}));
  EXPECT_FALSE(agrees([](Problem& p) { p.scale *= 1.001; })) << "scale";
  EXPECT_FALSE(agrees([](Problem& p) { p.parameters = {{"delta", 0}}; })) << "no erase";
  EXPECT_FALSE(agrees([](Problem& p) { std::erase_if(p.arguments, [](const Argument& a) { return a.role == Role::kStateIn; }); })) << "initial state";
  // Each decay applied one token late, as where it follows the write.
  EXPECT_FALSE(agrees([](Problem& p) {
    const TensorView& g = p.Get(Role::kLogDecay);
    for (int64_t t = g.shape[1] - 1; t > 0; --t) {
      for (int64_t h = 0; h < g.shape[2]; ++h) g.Set({0, t, h}, g.At({0, t - 1, h}));
    }
  })) << "decay order";
}

TEST(GatedDeltaNet, RefusesWhatARecurrenceCannotHonour) {
  OwnedProblem owned = Random({.query_tokens = {4}, .key_tokens = {4}, .head_dim = 8}, ParameterSet::Defaults(Gdn()));
  const auto refused = [&](auto change) {
    Problem problem = owned.problem;
    change(problem);
    return !Gdn().check(problem).ok();
  };
  EXPECT_FALSE(refused([](Problem&) {}));
  EXPECT_TRUE(refused([](Problem& p) { p.softcap = 5; }));
  EXPECT_TRUE(refused([](Problem& p) { p.window_left = 3; }));
  EXPECT_TRUE(refused([](Problem& p) { p.causal = Causal::kNone; }));
  EXPECT_TRUE(refused([](Problem& p) { p.splits = 2; }));
  EXPECT_TRUE(refused([](Problem& p) { p.parameters = {{"page_budget", 3}}; }));
  EXPECT_TRUE(refused([&](Problem& p) { p.arguments.push_back({Role::kSink, p.Get(Role::kBeta)}); }));
  EXPECT_TRUE(refused([](Problem& p) { p.arguments[0].tensor.shape[2] = 7; }));
}

}  // namespace
}  // namespace assay
