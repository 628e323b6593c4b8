// Candidates resolved: what a read policy is priced on, and where it is refused.
#include "advice/candidate_plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "platform/model_steps.h"

namespace assay {
namespace {

formats::UseCase WithStack(std::string_view stack, std::string_view more = "", std::string_view dtype = "bf16") {
  auto usecase = formats::ParseUseCase(fmt::format(R"toml(
name = "test"
[model]
preset = "llama-3.1-8b"
[workload]
arrivals = "poisson"
requests_per_second = 1
prompt_tokens = {{ median = 900, sigma = 0.8, max = 8000 }}
output_tokens = {{ median = 130, sigma = 0.7, max = 1000 }}
source = "made for this test"
[platform]
gpu = "h100_sxm"
[engine]
name = "vllm"
version = "0.24.0"
[objective]
ttft_ms_p95 = 1000
[[candidates]]
id = "today"
baseline = true
stack = "gqa"
kv_dtype = "bf16"
availability = "drop_in"
[[candidates]]
id = "other"
stack = "{}"
kv_dtype = "{}"
availability = "drop_in"
{}
)toml", stack, dtype, more), "t.toml");
  EXPECT_TRUE(usecase.ok()) << usecase.error().message;
  return std::move(*usecase);
}

constexpr std::string_view kQuest = "read = \"quest(page_tokens=16,budget_pages=64)\"";

TEST(ReadPolicy, IsPricedOnTheHeadsOfTheMechanismThatKeepsTheCache) {
  const formats::UseCase eight = WithStack("gqa", kQuest), one = WithStack("gqa(kv_heads=1)", kQuest);
  const auto of_eight = PlanCandidates(eight), of_one = PlanCandidates(one);
  ASSERT_TRUE(of_eight.ok() && of_one.ok());
  EXPECT_NEAR((*of_one)[1].ResidentBytesAt(32768) / (*of_eight)[1].ResidentBytesAt(32768), 1.0 / 8, 1e-9);
  // Queries and outputs of 32 heads are read and written by both; cache and page bounds are an eighth.
  const double shared = 32.0 * 128 * 2 * 32;  // 32 layers
  EXPECT_NEAR(((*of_one)[1].DecodeCost(32768).bytes_read - shared) / ((*of_eight)[1].DecodeCost(32768).bytes_read - shared), 1.0 / 8, 1e-9);
}

TEST(ReadPolicy, ItsStepReadsTheSameBytes) {
  const formats::UseCase usecase = WithStack("gqa(kv_heads=1)", kQuest);
  const auto plans = PlanCandidates(usecase);
  ASSERT_TRUE(plans.ok());
  const CandidatePlan& plan = (*plans)[1];
  const auto model = platform::MakeStepModel(usecase.model, plan.candidate->layers, {.read = plan.candidate->read});
  ASSERT_TRUE(model.ok()) << model.error().message;
  const LayerCost cost = plan.DecodeCost(32768);
  EXPECT_NEAR(32 * model->mixers[0].decode_floor(1, 1, 32768).bytes, cost.bytes_read + cost.bytes_written, 1);
  EXPECT_NEAR(32 * model->mixers[0].memory.bytes_per_token, plan.ResidentBytesAt(1) - plan.ResidentBytesAt(0), 1e-6);
}

TEST(ReadPolicy, IsRefusedWhereItsPageBoundsSayNothing) {
  for (const char* stack : {"mla(512,64)", "gqa(softcap=30)", "gqa(learned_sink=1)", "sigmoid_attention"}) {
    const formats::UseCase usecase = WithStack(stack, kQuest);
    const auto plans = PlanCandidates(usecase);
    ASSERT_FALSE(plans.ok()) << stack;
    EXPECT_EQ(plans.error().kind, ErrorKind::kBadInput) << stack;
    EXPECT_NE(plans.error().message.find("plain softmax cache"), std::string::npos) << plans.error().message;
    EXPECT_FALSE(platform::MakeStepModel(usecase.model, usecase.candidates[1].layers, {.read = usecase.candidates[1].read}).ok()) << stack;
  }
}

// A layer's state of 2 MiB and its tail are 524 tokens of a GQA 8 x 128 cache in bf16, 1,863 of a latent one; moved bytes break even at about
// twice the state, which is read and written.
TEST(BreakEven, NamesMemoryAndTraffic) {
  constexpr int64_t kLimit = int64_t{1} << 30;
  const formats::UseCase hybrid = WithStack("gated_delta_net"), latent = WithStack("mla(512,64)");
  const auto of_hybrid = PlanCandidates(hybrid), of_latent = PlanCandidates(latent);
  ASSERT_TRUE(of_hybrid.ok() && of_latent.ok());
  const CandidatePlan &cache = (*of_hybrid)[0], &state = (*of_hybrid)[1], &row = (*of_latent)[1];
  EXPECT_EQ(BreakEvenMemoryTokens(state, cache, kLimit), 525);
  EXPECT_EQ(BreakEvenMemoryTokens(state, row, kLimit), 1864);
  EXPECT_EQ(BreakEvenMemoryTokens(state, state, kLimit), std::nullopt);
  const auto traffic = BreakEvenTrafficTokens(state, cache, kLimit);
  ASSERT_TRUE(traffic.has_value());
  EXPECT_NEAR(static_cast<double>(*traffic), 2 * 2097152 / 4096.0, 15);
}

bool Risks(const formats::UseCase& usecase, std::string_view feature) {
  const auto plans = PlanCandidates(usecase);
  EXPECT_TRUE(plans.ok());
  const auto risks = RisksOf((*plans)[1], usecase);
  return std::any_of(risks.begin(), risks.end(), [&](const FeatureRisk* risk) { return risk->feature == feature; });
}

TEST(Risks, ConcernTheCandidatesOwnPropertiesOnly) {
  EXPECT_FALSE(Risks(WithStack("gqa"), "kv_quantisation"));
  EXPECT_TRUE(Risks(WithStack("gqa", "kv_scale = \"tensor\"", "e4m3"), "kv_quantisation"));
  formats::UseCase hybrid = WithStack("gated_delta_net");
  EXPECT_TRUE(Risks(hybrid, "prefix_cache"));
  hybrid.engine.policy.prefix_cache = false;
  EXPECT_FALSE(Risks(hybrid, "prefix_cache"));
}

TEST(SameDesign, IsNamedAfterTheEarlierCandidate) {
  const formats::UseCase twin = WithStack("gqa"), other = WithStack("gqa(kv_heads=4)");
  EXPECT_EQ((*PlanCandidates(twin))[1].same_as, "A");
  EXPECT_EQ((*PlanCandidates(other))[1].same_as, "");
}

}  // namespace
}  // namespace assay
