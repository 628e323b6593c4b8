// The audit as a whole, without what is timed on this machine: three use cases with three winners, flips that do flip, resumption, and what
// must be refused.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "advice/audit_run.h"
#include "advice/explain.h"
#include "platform/step_time.h"

namespace assay {
namespace {

constexpr const char* kUseCase = R"toml(
name = "test"
[model]
preset = "llama-3.1-8b"
[workload]
arrivals = "poisson"
requests_per_second = @RATE@
requests = @REQUESTS@
prompt_tokens = @PROMPT@
output_tokens = { median = 130, sigma = 0.7, max = 1000 }
source = "made for this test"
[platform]
gpu = "h100_sxm"
usd_per_device_hour = 2.5
spare_share = 0.2
[engine]
name = "vllm"
version = "0.24.0"
[objective]
ttft_ms_p95 = @TTFT@
tpot_ms_p95 = 50
quality_loss_max_points = 1.0
[effort]
engineer_usd_per_day = 1200
horizon_months = 12
drop_in_days = [1, 5]
pretrain_days = [90, 400]
[[candidates]]
id = "today"
baseline = true
stack = "gqa"
kv_dtype = "bf16"
availability = "drop_in"
[[candidates]]
id = "fp8"
stack = "gqa"
kv_dtype = "e4m3"
kv_scale = "tensor"
availability = "drop_in"
@FP8_QUALITY@
[[candidates]]
id = "hybrid"
stack = "3*gated_delta_net+1*gqa"
last = "gqa"
kv_dtype = "bf16"
availability = "pretrain"
@HYBRID_QUALITY@
[[candidates]]
id = "elsewhere"
stack = "mla(512,64)"
kv_dtype = "bf16"
availability = "convert"
implementation = { engine = "trtllm", version = "1.3.0rc20" }
quality_loss_points = [0.0, 0.1]
quality_source = "made for this test"
switch_days = [1, 2]
)toml";

struct Changes {
  std::string rate = "5", requests = "600", prompt = "{ median = 900, sigma = 0.8, max = 8000 }", ttft = "1000", fp8_quality{}, hybrid_quality{};
};

const std::string kMeasuredQuality = "quality_loss_points = [0.0, 0.3]\nquality_source = \"made for this test\"";

std::string Fill(std::string text, const Changes& changes) {
  const std::pair<const char*, const std::string*> marks[] = {{"@RATE@", &changes.rate}, {"@REQUESTS@", &changes.requests}, {"@PROMPT@", &changes.prompt}, {"@TTFT@", &changes.ttft},
                                                              {"@FP8_QUALITY@", &changes.fp8_quality}, {"@HYBRID_QUALITY@", &changes.hybrid_quality}};
  for (const auto& [mark, value] : marks) text.replace(text.find(mark), std::string(mark).size(), *value);
  return text;
}

class AuditTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / ("assay_audit_" + std::to_string(::getpid()));
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Write(const Changes& changes) {
    const std::string path = (directory_ / "usecase.toml").string();
    std::ofstream(path) << Fill(kUseCase, changes);
    return path;
  }
  Store OpenStore() { return std::move(Store::Open({.path = (directory_ / "store.db").string()})).value(); }

  AuditResult Run(const Changes& changes, std::vector<std::string> settings = {}, bool flips = false) {
    return RunText(Fill(kUseCase, changes), std::move(settings), flips);
  }

  AuditResult RunText(const std::string& text, std::vector<std::string> settings = {}, bool flips = false) {
    Store store = OpenStore();
    AuditRequest request;
    request.usecase_path = (directory_ / "usecase.toml").string();
    std::ofstream(request.usecase_path) << text;
    request.settings = std::move(settings);
    request.seed = 7;
    request.effort = AuditRequest::Effort::kNoMeasurements;
    request.quiet = true;
    request.search_flips = flips;
    request.command = "assay audit usecase.toml";
    request.version = "test";
    auto outcome = RunAudit(store, request);
    EXPECT_TRUE(outcome.ok()) << outcome.error().message;
    return std::move(outcome->audit);
  }

  std::filesystem::path directory_;
};

TEST_F(AuditTest, KeepsWhatRunsWhenQualityIsUnmeasured) {
  const AuditResult audit = Run({});
  EXPECT_EQ(audit.advice.verb, Advice::Verb::kKeep);
  EXPECT_EQ(audit.advice.letter, "A");
  EXPECT_EQ(audit.advice.assessments[1].standing, Standing::kNotDecidable);
}

TEST_F(AuditTest, AdvisesTheQuantisedCacheWhereItsCapacityPays) {
  const AuditResult audit = Run({.rate = "400", .requests = "2000", .fp8_quality = kMeasuredQuality});
  EXPECT_EQ(audit.advice.verb, Advice::Verb::kSwitch) << audit.advice.sentence;
  EXPECT_EQ(audit.advice.letter, "B");
}

TEST_F(AuditTest, AdvisesTheHybridAtLongContexts) {
  // As long as the tables' prompts go: beyond 16,384 tokens nobody's prefill was measured, and then nothing is advised.
  const AuditResult audit = Run({.rate = "200", .prompt = "{ median = 13000, sigma = 0.2, max = 15000 }", .ttft = "20000",
                                 .fp8_quality = kMeasuredQuality, .hybrid_quality = kMeasuredQuality + "\nswitch_days = [10, 20]"});
  EXPECT_EQ(audit.advice.verb, Advice::Verb::kSwitch) << audit.advice.sentence;
  EXPECT_EQ(audit.advice.letter, "C");
}

TEST_F(AuditTest, TimesOfAnotherEngineAreMarkedAndDecideNothing) {
  const AuditResult audit = Run({.rate = "400"});
  EXPECT_EQ(audit.advice.assessments[3].standing, Standing::kNotDecidable) << audit.advice.assessments[3].reason;
  EXPECT_EQ(audit.Find("D", "max_rate_per_second")->flags, "mixed");
}

// The third candidate with another stack: the hybrid's, unless said.
std::string WithStack(std::string text, std::string_view stack) {
  const std::string hybrid = "stack = \"3*gated_delta_net+1*gqa\"\nlast = \"gqa\"";
  return text.replace(text.find(hybrid), hybrid.size(), fmt::format("stack = \"{}\"", stack));
}

TEST_F(AuditTest, KernelsBeyondTheMeasuredRowsWeakenWidenAndDecideNothing) {
  const AuditResult audit = RunText(WithStack(Fill(kUseCase, {.hybrid_quality = kMeasuredQuality}), "gqa(kv_heads=16)"));
  const Measurement& inside = *audit.Find("A", "ttft_ms_p95");
  const Measurement& outside = *audit.Find("C", "tpot_ms_p95");
  EXPECT_EQ(audit.Find("A", "outside_coverage_share")->quantity.value, 0);
  EXPECT_GT(audit.Find("C", "outside_coverage_share")->quantity.value, platform::kOutsideShareTolerated);
  EXPECT_EQ(outside.quantity.basis, Basis::kAssumed);
  EXPECT_NE(outside.quantity.origin.find("kv_heads 16 (rows: 1 to 8)"), std::string::npos) << outside.quantity.origin;
  EXPECT_EQ(outside.flags, "extrapolated");
  EXPECT_EQ(inside.flags, "");
  EXPECT_EQ(audit.advice.assessments[2].standing, Standing::kUndecided) << audit.advice.assessments[2].reason;
  ASSERT_TRUE(audit.crossover.refused.empty());
  // Where its caches fit and attention is more than a twentieth of the step, nothing is decided.
  const size_t far = 5;  // 16,384 tokens, one sequence
  EXPECT_EQ(audit.crossover.context_tokens[far], 16384);
  EXPECT_FALSE(audit.crossover.cells[far].decided);
}

TEST_F(AuditTest, NumbersOfOneServiceAreAsWeakAsItsSteps) {
  const AuditResult audit = Run({});
  for (const Measurement& row : audit.rows) {
    if (row.probe != "serving" || row.quantity.refused()) continue;
    EXPECT_EQ(row.quantity.basis, Basis::kAssumed) << IdOf(row);  // norms and host time are declared ranges
    EXPECT_LE(row.quantity.low, row.quantity.high) << IdOf(row);
  }
  for (const char* derived : {"replica_count", "cost_usd_per_month", "slo_headroom"}) EXPECT_EQ(audit.Find("A", derived)->quantity.basis, Basis::kAssumed) << derived;
  for (const Figure& figure : audit.figures) {
    if (figure.id != "ttft_ms" && figure.id != "tpot_ms") continue;
    for (const Curve& curve : figure.curves) EXPECT_EQ(curve.basis, Basis::kAssumed) << figure.id;
  }
}

TEST_F(AuditTest, AFloorHasNoOtherEnd) {
  std::string text = Fill(kUseCase, {.hybrid_quality = kMeasuredQuality});
  text = WithStack(text, "gqa\"\nread = \"quest(page_tokens=16,budget_pages=64)");
  const AuditResult audit = RunText(text);
  for (const Measurement& row : audit.rows) {
    if (row.probe != "serving" || ScopeOf(row) != "C" || row.metric == "outside_coverage_share") continue;
    const bool is_rate = row.metric == "max_rate_per_second";
    EXPECT_TRUE(std::isinf(is_rate ? row.quantity.low : row.quantity.high)) << IdOf(row);
    EXPECT_TRUE(std::isfinite(is_rate ? row.quantity.high : row.quantity.low)) << IdOf(row);
  }
  for (const Figure& figure : audit.figures) {
    if (figure.id != "ttft_ms" && figure.id != "tpot_ms") continue;
    EXPECT_FALSE(figure.curves.empty());
    for (const Curve& curve : figure.curves) EXPECT_NE(curve.scope, "C") << "a floor has no distribution";
  }
  EXPECT_TRUE(std::isinf(audit.Find("C", "cost_usd_per_month")->quantity.high));
  EXPECT_TRUE(std::isinf(audit.Find("C", "slo_headroom")->quantity.low));
  EXPECT_EQ(audit.advice.assessments[2].standing, Standing::kUndecided) << audit.advice.assessments[2].reason;
  EXPECT_TRUE(audit.advice.assessments[2].net_usd_over_horizon.refused());
}

TEST_F(AuditTest, WeightsWithoutRowsAreNotTimedAsFp8) {
  const auto with = [&](const char* dtype) {
    std::filesystem::remove(directory_ / "store.db");
    std::string text = Fill(kUseCase, {});
    const std::string preset = "preset = \"llama-3.1-8b\"";
    text.replace(text.find(preset), preset.size(), fmt::format("{}\nweight_dtype = \"{}\"", preset, dtype));
    return RunText(text).Find("A", "ttft_ms_p95")->quantity;
  };
  EXPECT_FALSE(with("e4m3").refused());
  for (const char* dtype : {"i8", "i4"}) {
    EXPECT_TRUE(with(dtype).refused()) << dtype;
    EXPECT_NE(with(dtype).origin.find(dtype), std::string::npos) << with(dtype).origin;
  }
}

TEST_F(AuditTest, UnknownAcceleratorsAndEnginesAreBadInputWithWhatIsKnown) {
  const auto refused = [&](std::string_view from, std::string_view to) {
    std::string text = Fill(kUseCase, {});
    const std::string path = (directory_ / "unknown.toml").string();
    std::ofstream(path) << text.replace(text.find(from), from.size(), to);
    Store store = OpenStore();
    const AuditRequest request{.usecase_path = path, .trace_path = {}, .settings = {}, .effort = AuditRequest::Effort::kNoMeasurements, .quiet = true, .command = {}, .version = {}};
    const auto outcome = RunAudit(store, request);
    EXPECT_FALSE(outcome.ok()) << to;
    EXPECT_EQ(outcome.error().kind, ErrorKind::kBadInput) << to;
    return outcome.error().message;
  };
  EXPECT_NE(refused("h100_sxm", "h100_smx").find("did you mean 'h100_sxm'"), std::string::npos);
  EXPECT_NE(refused("h100_sxm", "warp_drive").find("h100_sxm/vllm/0.24.0"), std::string::npos);
  EXPECT_NE(refused("name = \"vllm\"", "name = \"vlm\"").find("did you mean 'vllm'"), std::string::npos);
  EXPECT_NE(refused("\"trtllm\"", "\"trtlm\"").find("candidate 'elsewhere'"), std::string::npos);
}

TEST_F(AuditTest, EveryFlipThatIsNamedFlipsWhenItIsRunAndNoSooner) {
  const Changes changes{.rate = "40", .fp8_quality = kMeasuredQuality};
  const AuditResult audit = Run(changes, {}, true);
  ASSERT_FALSE(audit.flips.empty());
  bool any_narrow = false;
  for (const Flip& flip : audit.flips) {
    const auto differs = [&](const AuditResult& there) { return there.advice.verb != audit.advice.verb || there.advice.letter != audit.advice.letter; };
    const std::string setting = flip.command.substr(flip.command.find("--set ") + 6);
    const AuditResult there = Run(changes, {setting});
    EXPECT_TRUE(differs(there)) << setting << ": " << there.advice.sentence;
    if (flip.factor.starts_with("assume.")) continue;
    any_narrow = true;
    EXPECT_LE(std::fabs(std::log(flip.at / flip.same_at)), std::log(1.035)) << flip.factor;  // 2 %, and the rounding of what is shown
    EXPECT_FALSE(differs(Run(changes, {fmt::format("{}={:.10g}", flip.factor, flip.same_at)}))) << flip.factor << " at " << flip.same_at;
  }
  EXPECT_TRUE(any_narrow);
}

TEST_F(AuditTest, WhatTheSearchForFlipsHadNoTimeForIsNamed) {
  Store store = OpenStore();
  const AuditRequest request{.usecase_path = Write({.rate = "40", .requests = "300", .fp8_quality = kMeasuredQuality}), .trace_path = {}, .settings = {}, .seed = 7,
                             .effort = AuditRequest::Effort::kNoMeasurements, .quiet = true, .flip_seconds = 0, .command = "assay audit usecase.toml", .version = "test"};
  const auto outcome = RunAudit(store, request);
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  EXPECT_TRUE(outcome->audit.flips.empty());
  EXPECT_EQ(outcome->audit.flips_refused, "none found before the search's time was over");
  EXPECT_EQ(Run({.requests = "300"}).flips_refused, "not searched (--no-flips)") << "nothing found must not stand where nothing was searched";
  const std::string wanted = "The search for flips ended after its 0 s, so these may flip the advice where it did not look: rate_factor, price_factor, prompt_length_factor.";
  EXPECT_NE(std::find(outcome->audit.notes.begin(), outcome->audit.notes.end(), wanted), outcome->audit.notes.end()) << fmt::format("{}", fmt::join(outcome->audit.notes, "\n"));
}

TEST_F(AuditTest, ExplainsEveryNumberItShows) {
  const AuditResult audit = Run({});
  const Store store = OpenStore();
  ASSERT_GT(audit.rows.size(), 50u);
  for (const Measurement& row : audit.rows) {
    const auto explanation = Explain(store, IdOf(row));
    ASSERT_TRUE(explanation.ok()) << explanation.error().message;
    EXPECT_FALSE(explanation->row.quantity.origin.empty()) << IdOf(row);
    EXPECT_FALSE(explanation->row.command.empty()) << IdOf(row);
  }
  EXPECT_NE(Explain(store, "B.max_rate_per_secnd").error().message.find("B.max_rate_per_second"), std::string::npos);
}

TEST_F(AuditTest, TakesARealTrace) {
  const std::string trace = std::string(ASSAY_SHARED_DATA_DIR) + "/traces/azure_2023_conv.csv";
  if (!std::filesystem::exists(trace)) GTEST_SKIP() << trace << " is absent: the Azure trace is looked for beside the checkout";
  Store store = OpenStore();
  AuditRequest request{.usecase_path = Write({}), .trace_path = trace, .settings = {}, .seed = 7, .effort = AuditRequest::Effort::kNoMeasurements,
                       .quiet = true, .search_flips = false, .command = "assay audit usecase.toml --trace azure", .version = "test"};
  const auto outcome = RunAudit(store, request);
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  EXPECT_EQ(outcome->audit.Find("traffic", "request_count")->quantity.value, 19366);
  EXPECT_FALSE(outcome->audit.Find("A", "ttft_ms_p99")->quantity.refused());
}

TEST_F(AuditTest, ABatchOnThisCpuIsBoundedAndNeverFeasibleByABoundAlone) {
  const formats::UseCase usecase = std::move(formats::ReadUseCase(std::string(ASSAY_SOURCE_DIR) + "/usecases/batch_summaries_cpu.toml")).value();
  Store store = OpenStore();
  AuditRequest request{.usecase_path = usecase.path, .trace_path = {}, .settings = {}, .seed = 7, .effort = AuditRequest::Effort::kFull, .measure_seconds = 1,
                       .quiet = true, .search_flips = false, .command = "assay audit batch", .version = "test"};
  const auto outcome = RunAudit(store, request);
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  if (outcome->audit.Find("A", "batch_hours") == nullptr) GTEST_SKIP() << "this machine is too busy to measure its ceilings";
  const Quantity& hours = outcome->audit.Find("A", "batch_hours")->quantity;
  EXPECT_TRUE(std::isinf(hours.high));
  EXPECT_EQ(hours.basis, Basis::kAssumed);  // it takes host time and lengths from the ranges of [assume], at their least
  EXPECT_GT(hours.low, 0);
  EXPECT_NE(outcome->audit.advice.assessments[0].standing, Standing::kFeasible);
}

TEST_F(AuditTest, TheSameSeedGivesTheSameNumbers) {
  const AuditResult one = Run({});
  std::filesystem::remove(directory_ / "store.db");
  const AuditResult two = Run({});
  ASSERT_EQ(one.rows.size(), two.rows.size());
  for (size_t i = 0; i < one.rows.size(); ++i) EXPECT_EQ(one.rows[i].quantity.value, two.rows[i].quantity.value) << IdOf(one.rows[i]);
}

TEST_F(AuditTest, AnUnknownSettingNamesTheNearestKnownOne) {
  const auto usecase = formats::ParseUseCase(Fill(kUseCase, {}), "t.toml");
  ASSERT_TRUE(usecase.ok());
  EXPECT_NE(ParseSettings({"rate_facto=2"}, *usecase).error().message.find("rate_factor"), std::string::npos);
  EXPECT_FALSE(ParseSettings({"rate_factor=nan"}, *usecase).ok());
  EXPECT_FALSE(ParseSettings({"rate_factor=-1"}, *usecase).ok());
  EXPECT_FALSE(ParseSettings({"rate_factor"}, *usecase).ok());
  EXPECT_FALSE(ParseSettings({"assume.host_us_per_step=500:50"}, *usecase).ok());
}

}  // namespace
}  // namespace assay
