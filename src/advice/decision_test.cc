// The rules of advice on hand-made facts: three use cases with three winners, and what must never count as good news.
#include "advice/decision.h"

#include "gtest/gtest.h"

namespace assay {
namespace {

Quantity Measured(double value, double low, double high, std::string unit) {
  return {value, low, high, std::move(unit), Basis::kSimulated, "test"};
}

CandidateFacts Candidate(std::string letter, double max_rate, double spread = 0.05) {
  CandidateFacts facts;
  facts.letter = letter;
  facts.id = "candidate_" + letter;
  facts.changes_outputs = letter != "A";
  facts.ttft_ms_p95 = Measured(200, 190, 210, "ms");
  facts.tpot_ms_p95 = Measured(20, 19, 21, "ms");
  facts.e2e_ms_p95 = Measured(4000, 3900, 4100, "ms");
  facts.max_rate_per_replica = Measured(max_rate, max_rate * (1 - spread), max_rate * (1 + spread), "requests/s");
  facts.batch_hours = Quantity::Refused("h", "not offline work");
  facts.quality_loss_points = Measured(0.1, 0, 0.2, "points");
  facts.effort_days = letter == "A" ? Quantity::Exact(0, "days", "nothing to do") : Measured(20, 10, 30, "days");
  return facts;
}

const Objectives kService = {.ttft_ms_p95 = 300, .tpot_ms_p95 = 30, .e2e_ms_p95 = {}, .budget_usd_per_month = 100000, .quality_loss_max_points = 0.5,
                             .deadline_hours = {}, .cost_usd_per_document = {}};
const Economics kEconomics = {.requests_per_second = 100, .spare_share = 0.2, .usd_per_accelerator_hour = 2, .accelerators_per_replica = 1,
                              .engineer_usd_per_day = 1000, .horizon_months = 12};

TEST(Decide, SwitchesWhenTheSavingHoldsAtThePessimisticEnd) {
  const Advice advice = Decide({Candidate("A", 5), Candidate("B", 12), Candidate("C", 8)}, kService, kEconomics);
  EXPECT_EQ(advice.verb, Advice::Verb::kSwitch);
  EXPECT_EQ(advice.letter, "B");
  EXPECT_GT(advice.assessments[1].net_usd_over_horizon.low, 0);
}

TEST(Decide, KeepsWhenTheGainIsSmallerThanTheEffort) {
  const Advice advice = Decide({Candidate("A", 10), Candidate("B", 10.5)}, kService, kEconomics);
  EXPECT_EQ(advice.verb, Advice::Verb::kKeep);
  EXPECT_EQ(advice.letter, "A");
}

TEST(Decide, AnUnmeasuredQualityNeverWins) {
  CandidateFacts rival = Candidate("B", 100);
  rival.quality_loss_points = Quantity::Refused("points", "not measured on this model");
  const Advice advice = Decide({Candidate("A", 5), rival}, kService, kEconomics);
  EXPECT_EQ(advice.letter, "A");
  EXPECT_EQ(advice.assessments[1].standing, Standing::kNotDecidable);
  EXPECT_EQ(advice.next_letter, "B");
  ASSERT_EQ(advice.unknown.size(), 1u);
}

TEST(Decide, WithoutAQualityObjectiveQualityIsNotAsked) {
  Objectives objectives = kService;
  objectives.quality_loss_max_points = {};
  CandidateFacts rival = Candidate("B", 100);
  rival.quality_loss_points = Quantity::Refused("points", "not measured on this model");
  EXPECT_EQ(Decide({Candidate("A", 5), rival}, objectives, kEconomics).letter, "B");
}

TEST(Decide, ARefusedTimeNeverWins) {
  CandidateFacts rival = Candidate("B", 100);
  rival.tpot_ms_p95 = Quantity::Refused("ms", "no rows for this kernel");
  rival.max_rate_per_replica = Quantity::Refused("requests/s", "no rows for this kernel");
  const Advice advice = Decide({Candidate("A", 5), rival}, kService, kEconomics);
  EXPECT_EQ(advice.letter, "A");
  EXPECT_EQ(advice.assessments[1].standing, Standing::kRefused);
}

TEST(Decide, TimesOfAnotherEngineDoNotDecide) {
  CandidateFacts rival = Candidate("B", 100);
  rival.mixed_mark = "trtllm 1.3 against vllm 0.24";
  EXPECT_EQ(Decide({Candidate("A", 5), rival}, kService, kEconomics).letter, "A");
}

TEST(Decide, ABaselineThatMissesIsReplacedEvenAtACost) {
  CandidateFacts baseline = Candidate("A", 10);
  baseline.ttft_ms_p95 = Measured(500, 450, 550, "ms");
  const Advice advice = Decide({baseline, Candidate("B", 9.9)}, kService, kEconomics);
  EXPECT_EQ(advice.verb, Advice::Verb::kSwitch);
  EXPECT_EQ(advice.letter, "B");
}

TEST(Decide, NothingThatHoldsMeansCannotTell) {
  CandidateFacts baseline = Candidate("A", 10);
  baseline.ttft_ms_p95 = Measured(500, 250, 550, "ms");
  const Advice advice = Decide({baseline}, kService, kEconomics);
  EXPECT_EQ(advice.verb, Advice::Verb::kCannotTell);
  EXPECT_EQ(advice.assessments[0].standing, Standing::kUndecided);
}

TEST(Decide, ABoundNeverMakesACandidateFeasible) {
  CandidateFacts rival = Candidate("B", 100);
  rival.tpot_ms_p95.basis = Basis::kBounded;
  const Advice advice = Decide({Candidate("A", 5), rival}, kService, kEconomics);
  EXPECT_EQ(advice.letter, "A");
  EXPECT_EQ(advice.assessments[1].standing, Standing::kUndecided);
  rival.tpot_ms_p95 = {40, 40, 50, "ms", Basis::kBounded, "test"};
  EXPECT_EQ(Decide({Candidate("A", 5), rival}, kService, kEconomics).assessments[1].standing, Standing::kInfeasible);
}

TEST(Decide, WithoutPricesMoneyIsRefusedAndNothingIsCheap) {
  Economics economics = kEconomics;
  economics.usd_per_accelerator_hour = {};
  Objectives objectives = kService;
  objectives.budget_usd_per_month = {};
  const Advice advice = Decide({Candidate("A", 5), Candidate("B", 100)}, objectives, economics);
  EXPECT_EQ(advice.letter, "A");
  EXPECT_TRUE(advice.assessments[1].usd_per_month.refused());
  economics = kEconomics;
  economics.engineer_usd_per_day = {};
  EXPECT_EQ(Decide({Candidate("A", 5), Candidate("B", 100)}, objectives, economics).letter, "A");
}

// One's own accelerators cost nothing a month, and a candidate that is only bounded costs nothing either, not an unknown sum.
TEST(Decide, APriceOfZeroMakesEveryCostZero) {
  Economics free = kEconomics;
  free.usd_per_accelerator_hour = 0;
  CandidateFacts bounded = Candidate("B", 10);
  bounded.max_rate_per_replica.low = 0;
  const Advice advice = Decide({Candidate("A", 5), bounded}, kService, free);
  EXPECT_EQ(advice.assessments[1].usd_per_month.value, 0);
  EXPECT_EQ(advice.assessments[1].usd_per_month.low, 0);
  EXPECT_EQ(advice.assessments[1].usd_per_month.high, 0);
  EXPECT_EQ(advice.verb, Advice::Verb::kKeep);
}

TEST(Decide, AnUnknownGainNeverBeatsAKnownOne) {
  CandidateFacts baseline = Candidate("A", 10);
  baseline.ttft_ms_p95 = Measured(500, 450, 550, "ms");
  CandidateFacts unknown = Candidate("B", 9.9);
  unknown.effort_days = Quantity::Refused("days", "nobody estimated it");
  EXPECT_EQ(Decide({baseline, unknown, Candidate("C", 9.8)}, kService, kEconomics).letter, "C");
}

TEST(Decide, AnEndToEndObjectiveIsJudged) {
  Objectives objectives = kService;
  objectives.e2e_ms_p95 = 3000;
  EXPECT_EQ(Decide({Candidate("A", 5)}, objectives, kEconomics).assessments[0].standing, Standing::kInfeasible);
}

TEST(Decide, WhereNoRateHoldsThereIsNoCostInsteadOfAnInfiniteOne) {
  CandidateFacts baseline = Candidate("A", 50);
  baseline.max_rate_per_replica = Measured(0, 0, 0, "requests/s");
  const Advice advice = Decide({baseline}, kService, kEconomics);
  EXPECT_TRUE(advice.assessments[0].usd_per_month.refused());
  EXPECT_NE(advice.assessments[0].usd_per_month.origin.find("at no rate"), std::string::npos) << advice.assessments[0].usd_per_month.origin;
}

TEST(Decide, ReplicasAreWholeMachines) {
  const Advice advice = Decide({Candidate("A", 50, 0)}, kService, kEconomics);
  EXPECT_EQ(advice.assessments[0].replicas.value, 3);  // 120 requests/s with spare
}

TEST(Decide, CostIsThatOfTheReplicasThatHoldAtThePessimisticEnd) {
  const Assessment a = Decide({Candidate("A", 10, 0.5)}, kService, kEconomics).assessments[0];  // 5..15 requests/s a replica, 120 needed
  EXPECT_EQ(a.replicas.value, 24);
  EXPECT_EQ(a.replicas.low, 8);
  EXPECT_EQ(a.usd_per_month.value, 24 * 2 * 730);
}

TEST(Decide, ACandidateThatIsAnotherOneIsSaidToBe) {
  CandidateFacts twin = Candidate("B", 12);
  twin.same_as = "A";
  twin.quality_loss_points = Quantity::Refused("points", "not measured on this model");
  const Advice advice = Decide({Candidate("A", 5), twin}, kService, kEconomics);
  EXPECT_EQ(StandingText(advice.assessments[1]), "same as A");
  EXPECT_EQ(advice.letter, "A");
  EXPECT_TRUE(advice.unknown.empty());
}

TEST(Decide, SaysWhatIsMissing) {
  CandidateFacts unmeasured = Candidate("B", 12), elsewhere = Candidate("C", 12), untimed = Candidate("D", 12);
  unmeasured.quality_loss_points = Quantity::Refused("points", "nobody asked");
  elsewhere.mixed_mark = "trtllm against vllm";
  untimed.tpot_ms_p95 = Quantity::Refused("ms", "no rows");
  const Advice advice = Decide({Candidate("A", 5), unmeasured, elsewhere, untimed}, kService, kEconomics);
  const Missing expected[] = {Missing::kNothing, Missing::kQuality, Missing::kComparableTimes, Missing::kTimes};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(advice.assessments[i].missing, expected[i]) << i;
}

}  // namespace
}  // namespace assay
