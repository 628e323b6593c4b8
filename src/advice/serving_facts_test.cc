// What a candidate's service is said to do where the simulation has no figure: no limit found, a backlog that grows, a model that cannot run.
#include <gtest/gtest.h>

#include <cmath>

#include "advice/serving_facts.h"
#include "formats/usecase.h"

namespace assay {
namespace {

std::string UseCaseText(const std::string& workload, const std::string& objective, const std::string& more) {
  return "name = \"t\"\n[model]\npreset = \"llama-3.1-8b\"\n[workload]\n" + workload +
         "\n[platform]\ngpu = \"h100_sxm\"\n[engine]\nname = \"vllm\"\nversion = \"0.24.0\"\n" + more + "\n[objective]\n" + objective +
         "\n[[candidates]]\nid = \"today\"\nbaseline = true\nstack = \"gqa\"\navailability = \"drop_in\"\n";
}

ServingFacts FactsFor(const std::string& text) {
  const auto usecase = formats::ParseUseCase(text, "t.toml");
  if (!usecase.ok()) {
    ADD_FAILURE() << usecase.error().message;
    return {};
  }
  const auto plans = PlanCandidates(*usecase);
  const auto traffic = serving::MakeTraffic(*usecase, {}, 1);
  if (!plans.ok() || !traffic.ok()) {
    ADD_FAILURE() << (plans.ok() ? traffic.error() : plans.error()).message;
    return {};
  }
  return EvaluateServing({.usecase = &*usecase, .plan = &(*plans)[0], .traffic = &*traffic, .assume = {}});
}

// A batch arrives at once at any rate, so no rate ever fails.
TEST(ServingFacts, ASearchThatFindsNoLimitSaysAtLeast) {
  const ServingFacts facts = FactsFor(UseCaseText("arrivals = \"batch\"\nrequests = 200\nprompt_tokens = { median = 100, sigma = 0 }\noutput_tokens = { median = 5, sigma = 0 }",
                                                  "deadline_hours = 1", ""));
  ASSERT_FALSE(facts.max_rate.refused()) << facts.max_rate.origin;
  EXPECT_TRUE(std::isinf(facts.max_rate.high));
  EXPECT_NE(facts.max_rate.origin.find("at least: the search for a limit ends at 100000 requests/s"), std::string::npos) << facts.max_rate.origin;
}

TEST(ServingFacts, AStepBeyondWhatIsTimedRefusesTheRateInsteadOfFailingIt) {
  const ServingFacts facts = FactsFor(UseCaseText("requests_per_second = 1.0\nprompt_tokens = { median = 100, sigma = 0 }\noutput_tokens = { median = 5, sigma = 0 }",
                                                  "ttft_ms_p95 = 1000", "[engine.policy]\nmax_batched_tokens = 1000000"));
  ASSERT_TRUE(facts.max_rate.refused());
  EXPECT_NE(facts.max_rate.origin.find("max_batched_tokens is 1000000"), std::string::npos) << facts.max_rate.origin;
}

// The slow corner, many times as slow, misses the objective when idle; the rate that the likely corner carries is beyond what it serves.
TEST(ServingFacts, ABacklogThatGrowsInTheSlowCornerLeavesWaitsOpenAbove) {
  const ServingFacts facts = FactsFor(UseCaseText("requests_per_second = 100.0\nprompt_tokens = { median = 4000, sigma = 0 }\noutput_tokens = { median = 3, sigma = 0 }",
                                                  "ttft_ms_p95 = 850", "[assume]\nkernel_time_factor = [1.0, 10.0]"));
  ASSERT_FALSE(facts.ttft_ms_p95.refused()) << facts.ttft_ms_p95.origin;
  EXPECT_TRUE(std::isinf(facts.ttft_ms_p95.high)) << facts.ttft_ms_p95.high << " " << facts.max_rate.value << " " << facts.max_rate.low;
  EXPECT_NE(facts.ttft_ms_p95.origin.find("overloaded"), std::string::npos);
  EXPECT_FALSE(std::isinf(facts.tpot_ms_p95.high)) << "a saturated service still has a time between tokens";
}

// A p95 of nothing is no 0 ms that holds any objective.
TEST(ServingFacts, AnswersOfOneTokenHaveNoTimeBetweenTokens) {
  const std::string traffic = "requests_per_second = 1.0\nprompt_tokens = { median = 100, sigma = 0 }\noutput_tokens = { median = 1, sigma = 0 }";
  const ServingFacts asked = FactsFor(UseCaseText(traffic, "tpot_ms_p95 = 50", ""));
  ASSERT_TRUE(asked.max_rate.refused());
  EXPECT_NE(asked.max_rate.origin.find("leave tpot_ms_p95 out"), std::string::npos) << asked.max_rate.origin;
  const ServingFacts not_asked = FactsFor(UseCaseText(traffic, "ttft_ms_p95 = 1000", ""));
  EXPECT_FALSE(not_asked.max_rate.refused()) << not_asked.max_rate.origin;
  EXPECT_FALSE(not_asked.ttft_ms_p95.refused());
  EXPECT_TRUE(not_asked.tpot_ms_p95.refused());
}

}  // namespace
}  // namespace assay
