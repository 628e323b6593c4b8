// The cost probe: what it promises apart from the times themselves, which no test relates to each other.
#include "probes/cost/cost.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "probes/cost/row_check.h"
#include "store/metrics.h"
#include "store/sha256.h"

namespace assay {
namespace {

CostSubject SubjectOf(const char* id, std::vector<ParameterValue> named = {}) {
  const Mechanism* mechanism = *FindMechanism(id);
  return {.mechanism = mechanism, .parameters = *ParameterSet::Make(*mechanism, {}, named), .dtypes = {DType::kBf16}};
}

CostOptions Small() {
  CostOptions options;
  options.subjects = {SubjectOf("gqa"), SubjectOf("mla", {{"kv_rank", 64}, {"rope_dim", 16}}), SubjectOf("gated_delta_net")};
  options.shape = {.model_dim = 256, .query_heads = 4, .kv_heads = 2, .head_dim = 32};
  options.prefill_tokens = {96};
  options.decode_contexts = {200};
  options.threads = 1;
  options.budget_s = 60;  // not reached: rounds end it
  options.max_rounds = 6;
  options.seed = 5;
  return options;
}

TEST(Cost, EveryMechanismHasATimeAShareAndARatioAtEveryShape) {
  const Result<CostReport> report = RunCost(Small());
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const CostRefusal& refusal : report->refusals) ADD_FAILURE() << refusal.mechanism << ", " << refusal.where << ": " << refusal.reason;
  int decode = 0;
  for (const CostRow& row : report->rows) {
    EXPECT_GT(row.time.value, 0) << row.mechanism;
    EXPECT_LE(row.time.low, row.time.value);
    EXPECT_GE(row.time.high, row.time.value);
    decode += row.phase == Phase::kDecode;
  }
  EXPECT_EQ(decode, 3);
  EXPECT_GE(report->rows.size(), 6u);
  for (Measurement row : report->measurements) {
    row.run_id = "r";  // as the runner names it
    EXPECT_TRUE(CheckMeasurement(row).ok()) << row.metric;
    const auto artifact = std::find_if(report->artifacts.begin(), report->artifacts.end(), [&](const std::string& json) { return Sha256Hex(json) == row.samples_artifact; });
    ASSERT_NE(artifact, report->artifacts.end()) << row.metric;
    // A time's own samples are one number each; as many as the row counts.
    const bool is_time = row.metric == "decode_time_ms" || row.metric == "prefill_time_ms";
    EXPECT_EQ(artifact->starts_with('['), is_time) << row.metric;
    if (is_time) {
      EXPECT_EQ(std::count(artifact->begin(), artifact->end(), ',') + 1, row.sample_count);
    }
  }
}

TEST(Cost, TheCeilingIsThatOfTheTypeThatTheTargetNames) {
  EXPECT_EQ(OperandsOf("avx512/bf16-p16"), DType::kBf16);
  EXPECT_EQ(OperandsOf("generic/f32-chunk"), DType::kF32);
  EXPECT_EQ(OperandsOf("bf16_tuned/f32"), DType::kF32);
  EXPECT_EQ(OperandsOf("bf16"), std::nullopt);
}

TEST(Cost, ComparisonsAreCorrectedForTheirNumber) {
  stats::PairedRatio one{.ratio = {}, .median_ratio = {}, .log_deviation = 0.1, .pairs = 30, .sign = {}, .wilcoxon = {}};
  one.wilcoxon.p_value = 0.02;
  const std::vector<stats::PairedRatio> three(3, one);
  EXPECT_TRUE(CorrectComparisons({&one, 1}, 1)[0].told_apart);
  EXPECT_FALSE(CorrectComparisons(three, 1)[0].told_apart);
  EXPECT_NEAR(CorrectComparisons(three, 1)[0].p_value, 0.06, 1e-12);
  EXPECT_FALSE(CorrectComparisons({&one, 1}, 1.0 / 3)[0].told_apart);
  // A smaller error for each needs a larger difference to be seen.
  EXPECT_GT(CorrectComparisons(three, 1)[0].detectable, CorrectComparisons({&one, 1}, 1)[0].detectable);
}

TEST(Cost, ARatioSaysHowManyComparisonsThereWereAndWhatItCouldHaveSeen) {
  CostOptions options;
  options.subjects = {{.mechanism = *FindMechanism("gqa"), .parameters = ParameterSet::Defaults(**FindMechanism("gqa"))},
                      {.mechanism = *FindMechanism("sliding_window"), .parameters = ParameterSet::Defaults(**FindMechanism("sliding_window"))}};
  options.shape = {.model_dim = 512, .query_heads = 4, .kv_heads = 2, .head_dim = 64};
  options.decode_contexts = {256};
  options.budget_s = 0.5;
  options.command = "test";
  const auto report = RunCost(options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  int ratios = 0;
  for (const Measurement& row : report->measurements) {
    if (row.metric == "time_ratio" && row.subject.mechanism == "sliding_window") {
      ++ratios;
      EXPECT_NE(row.quantity.origin.find("one of 1 comparisons: Holm-adjusted p ="), std::string::npos) << row.quantity.origin;
      EXPECT_NE(row.quantity.origin.find("these pairs show ratios of"), std::string::npos) << row.quantity.origin;
    }
    if (row.metric == "achieved_flops_per_second" || row.metric == "achieved_bytes_per_second") {
      EXPECT_LT(row.quantity.low, row.quantity.high) << "a rate is as uncertain as the time it is made of";
    }
  }
  EXPECT_EQ(ratios, 1);
}

TEST(Cost, AWrongAnswerIsNotTimed) {
  static const Kernel kWrong = {.id = "wrong",
                                .check = [](const Problem&, const Kernel&) -> Status { return Ok(); },
                                .prepare = [](const Problem& problem, const Kernel&, const KernelEnv&) -> Result<std::unique_ptr<Plan>> {
                                  struct Zeros : Plan {
                                    explicit Zeros(TensorView view) : o(view) {}
                                    void Run() noexcept override { std::fill_n(o.as<float>(), o.count(), 0.0F); }
                                    [[nodiscard]] std::string_view target() const override { return "test/zeros"; }
                                    TensorView o;
                                  };
                                  return std::unique_ptr<Plan>(std::make_unique<Zeros>(problem.Get(Role::kO)));
                                }};
  static Mechanism broken = **FindMechanism("gqa");
  broken.kernels = {&kWrong, 1};
  CostOptions options = Small();
  options.subjects = {{.mechanism = &broken, .parameters = ParameterSet::Defaults(broken), .dtypes = {DType::kF32}}};
  const Result<CostReport> report = RunCost(options);
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->rows.empty());
  ASSERT_FALSE(report->refusals.empty());
  EXPECT_NE(report->refusals[0].reason.find("wrong answer"), std::string::npos);
}

TEST(Cost, RowCheckSeesOneWrongElementOfTheRowsItReads) {
  for (const char* id : {"gqa", "gated_delta_net"}) {
    const Mechanism& mechanism = **FindMechanism(id);
    Rng rng(1);
    OwnedProblem owned = *mechanism.example({.query_tokens = {9, 9}, .key_tokens = {40, 40}}, ParameterSet::Defaults(mechanism), rng);
    mechanism.reference(owned.problem);
    EXPECT_TRUE(cost::CheckRows(mechanism, DType::kF32, owned.problem).ok());
    const TensorView& o = owned.problem.Get(Role::kO);
    o.Set({17, o.shape[1] - 1, 3}, o.At({17, o.shape[1] - 1, 3}) + 0.5);
    EXPECT_FALSE(cost::CheckRows(mechanism, DType::kF32, owned.problem).ok()) << id;
  }
}

TEST(Cost, RefusesNonsenseWithItsReason) {
  CostOptions options = Small();
  options.decode_contexts = {0};
  EXPECT_FALSE(RunCost(options).ok());
  options = Small();
  options.subjects.clear();
  EXPECT_FALSE(RunCost(options).ok());
  options = Small();
  options.decode_contexts = {400000000};
  options.prefill_tokens = {};
  const Result<CostReport> report = RunCost(options);
  ASSERT_TRUE(report.ok());
  ASSERT_FALSE(report->refusals.empty());
  EXPECT_NE(report->refusals[0].reason.find("cache elements"), std::string::npos);
}

}  // namespace
}  // namespace assay
