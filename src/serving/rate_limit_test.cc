// The search for a rate limit, and what it takes for an overloaded service.
#include <gtest/gtest.h>

#include "formats/model_spec.h"
#include "platform/model_steps.h"
#include "serving/deployment.h"
#include "serving/rate_limit.h"
#include "serving/synthetic_test.h"

namespace assay::serving {
namespace {

TEST(LargestRate, FindsTheEdgeWithinItsBracket) {
  for (double edge : {0.002, 0.9, 1.0, 37.0, 99'000.0}) {
    const auto limit = LargestRate([&](double rate) -> Result<bool> { return rate <= edge; }, {.bracket = 1.005});
    ASSERT_TRUE(limit.ok());
    EXPECT_LE(limit->requests_per_s, edge);
    EXPECT_GE(limit->requests_per_s * 1.005, edge);
    EXPECT_FALSE(limit->at_least) << edge;
  }
}

TEST(LargestRate, TheEndOfTheSearchIsNoLimit) {
  const auto limit = LargestRate([](double) -> Result<bool> { return true; }, {.most = 5000});
  ASSERT_TRUE(limit.ok());
  EXPECT_EQ(limit->requests_per_s, 5000);
  EXPECT_TRUE(limit->at_least);
}

TEST(LargestRate, IsZeroWhereNotEvenAnIdleServiceHolds) {
  const auto limit = LargestRate([](double) -> Result<bool> { return false; }, {});
  ASSERT_TRUE(limit.ok());
  EXPECT_EQ(limit->requests_per_s, 0);
  EXPECT_FALSE(limit->at_least);
}

TEST(LargestRate, AnErrorIsNoRateThatFails) {
  const auto limit = LargestRate([](double rate) -> Result<bool> {
    if (rate > 10) return BadInput("the simulator cannot say");
    return true;
  }, {});
  ASSERT_FALSE(limit.ok());
  EXPECT_EQ(limit.error().message, "the simulator cannot say");
}

// Llama-3.1-8B on an H100 at a rate.
Summary ServedAt(double requests_per_s, int64_t requests) {
  const platform::Profile profile = *platform::LoadProfile("h100_sxm/vllm/0.24.0");
  DeploymentPlan plan;
  plan.model = *formats::ModelPreset("llama-3.1-8b");
  const Deployment deployment = *MakeDeployment(plan, profile, "", Assumptions());
  TimedSteps steps = *deployment.Steps(kLikely);
  const auto traffic = Generate({.requests_per_s = requests_per_s, .requests = requests, .prompt = {.mean_log = 6.5, .sigma_log = 0.6},
                                 .output = {.mean_log = 5, .sigma_log = 0.5}}, 1);
  return Summarise(*Simulate(traffic, deployment.policy, deployment.pools[kLikely], steps));
}

TEST(Backlog, GrowsWhereMoreIsAskedThanServedAndNotBelow) {
  const Summary far_over = ServedAt(1e4, 3000);
  EXPECT_TRUE(far_over.backlog.grows);
  const double capacity = far_over.requests_per_s;
  for (double share : {0.2, 0.6, 0.9}) EXPECT_FALSE(ServedAt(share * capacity, 3000).backlog.grows) << share;
  for (double share : {1.3, 2.0, 5.0}) EXPECT_TRUE(ServedAt(share * capacity, 3000).backlog.grows) << share;
}

TEST(Backlog, ABatchAndAHandfulOfRequestsAreNotOverload) {
  Outcome batch;
  for (int i = 0; i < 1000; ++i) batch.requests.push_back({.arrival_ms = 0, .first_token_ms = 10.0 * i, .end_ms = 10.0 * i + 5});
  EXPECT_FALSE(BacklogOf(batch).grows);
  Outcome few;
  for (int i = 0; i < 8; ++i) few.requests.push_back({.arrival_ms = 1.0 * i, .first_token_ms = 100.0 * (i + 1), .end_ms = 1000});
  EXPECT_FALSE(BacklogOf(few).grows);
}

TEST(Holds, NoSampleAndAGrowingBacklogHoldNothing) {
  Summary summary;
  EXPECT_FALSE(Holds({}, summary));
  summary.requests = 10;
  EXPECT_TRUE(Holds({}, summary));
  EXPECT_FALSE(Holds({.tpot_ms_p95 = 50}, summary)) << "answers of one token have no time between tokens";
  summary.backlog.grows = true;
  EXPECT_FALSE(Holds({}, summary));
}

}  // namespace
}  // namespace assay::serving
