// The paired runner, the roofline and the doctor's verdicts. Nothing here relates two wall-clock times.
#include "machine/paired_runner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "gtest/gtest.h"
#include "machine/doctor.h"
#include "machine/noise.h"
#include "machine/roofline.h"

namespace assay::machine {
namespace {

PairedOptions FewRounds(int rounds) {
  return {.min_rounds = rounds, .max_rounds = rounds, .budget_s = 0, .min_sample_us = 0};
}

TEST(PairedRunner, AWrongAnswerIsNotTimed) {
  int calls = 0;
  const std::vector<TimedSubject> subjects = {
      {"right", [&] { ++calls; }, [] { return Ok(); }},
      {"wrong", [&] { ++calls; }, [] { return Status(NotHeld("off by one")); }},
  };
  const auto result = RunPaired(subjects, nullptr, FewRounds(5));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().kind, ErrorKind::kNotHeld);
  EXPECT_EQ(result.error().message, "wrong gives a wrong answer, so it is not timed: off by one");
  EXPECT_EQ(calls, 2);  // each once, for its check
}

TEST(PairedRunner, ASubjectThatTimesItselfIsBelieved) {
  int64_t calls = 0;
  const TimedSubject far{.name = "far", .run = {}, .time_itself = [&](int64_t n) { return calls += n, 0.5; }};
  const auto result = RunPaired({{"near", [] {}, {}}, far}, nullptr, FewRounds(3));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->subjects[1].best_s, std::vector<double>({0.5, 0.5, 0.5}));
  EXPECT_EQ(calls, 1 + 3 * 3);  // one to find how many calls fill a sample, then three repeats a round
}

TEST(PairedRunner, ASubjectThatFailsToTimeItselfLeavesTheOthersTheirTimes) {
  int asked = 0;
  const TimedSubject far{.name = "far", .run = {}, .time_itself = [&](int64_t) { return ++asked, std::numeric_limits<double>::quiet_NaN(); }};
  const auto result = RunPaired({{"near", [] {}, {}}, far}, nullptr, FewRounds(3));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->subjects[0].seconds.count, 9);
  EXPECT_FALSE(std::isnan(result->subjects[0].seconds.median));
  EXPECT_FALSE(result->Compare(1, 0, 1).ok());
  EXPECT_EQ(asked, 1 + 3 * 3);  // no search for the calls that fill a sample
}

TEST(PairedRunner, EveryRoundRunsEverySubjectInAnOrderThatTheSeedDecides) {
  const std::vector<TimedSubject> subjects = {{"a", [] {}, {}}, {"b", [] {}, {}}, {"c", [] {}, {}}};
  PairedOptions options = FewRounds(60);
  options.seed = 7;
  const auto first = RunPaired(subjects, nullptr, options);
  const auto second = RunPaired(subjects, nullptr, options);
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_EQ(first->rounds.size(), 60u);
  std::vector<int> firsts(3);
  for (size_t round = 0; round < 60; ++round) {
    std::vector<int> order = first->rounds[round].order;
    EXPECT_EQ(order, second->rounds[round].order);
    ++firsts[static_cast<size_t>(order[0])];
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, std::vector<int>({0, 1, 2}));
  }
  EXPECT_GT(*std::min_element(firsts.begin(), firsts.end()), 8);  // nobody always goes first
}

TEST(PairedRunner, AllSamplesAreKeptAndTheRoundsBestIsTheirMinimum) {
  PairedOptions options = FewRounds(4);
  options.repeats = 5;
  const auto result = RunPaired({{"a", [] {}, {}}}, nullptr, options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->subjects[0].seconds.count, 20);
  for (size_t round = 0; round < 4; ++round) {
    const std::vector<double>& samples = result->rounds[round].samples_s[0];
    ASSERT_EQ(samples.size(), 5u);
    EXPECT_EQ(result->subjects[0].best_s[round], *std::min_element(samples.begin(), samples.end()));
  }
  EXPECT_EQ(RawSamplesJson(*result)["rounds"].size(), 4u);
}

TEST(PairedRunner, StoppingKeepsWhatWasMeasured) {
  int asked = 0;
  PairedOptions options = FewRounds(100);
  options.stop = [&] { return ++asked > 3; };
  const auto result = RunPaired({{"a", [] {}, {}}}, nullptr, options);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->stopped);
  EXPECT_EQ(result->rounds.size(), 3u);
  EXPECT_NE(result->flags().find("stopped"), std::string::npos);
}

TEST(PairedRunner, ABudgetOfNothingStillRunsTheLeastRounds) {
  PairedOptions options = FewRounds(3);
  options.max_rounds = 1000;
  const auto result = RunPaired({{"a", [] {}, {}}}, nullptr, options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->rounds.size(), 3u);
}

TEST(PairedRunner, CeilingsAreMeasuredInEveryRound) {
  ThreadPool pool(1);
  const auto ceilings =
      Ceilings::Make(TakeFingerprint(), pool, {.kinds = {CeilingKind::kFp32}, .flop_bursts = 2, .flop_burst_us = 5});
  ASSERT_TRUE(ceilings.ok());
  const auto result = RunPaired({{"a", [] {}, {}}}, ceilings->get(), FewRounds(5));
  ASSERT_TRUE(result.ok());
  for (const Round& round : result->rounds) {
    EXPECT_EQ(std::count(round.order.begin(), round.order.end(), -1), 1);
    EXPECT_GT(round.ceilings[CeilingKind::kFp32], 0);
    EXPECT_TRUE(std::isnan(round.ceilings[CeilingKind::kInt8]));
  }
}

CeilingSample Sample(double flops, double bytes) {
  CeilingSample sample;
  sample[CeilingKind::kFp32] = flops;
  sample[CeilingKind::kDramRead] = bytes;
  return sample;
}

TEST(Roofline, TheTighterCeilingIsTheOneThatTakesLonger) {
  // 100 FLOP at 1,000 a second is 0.1 s; 10 bytes at 1,000 a second 0.01 s.
  const auto compute = ShareOfRounds({0.2, 0.2, 0.4}, {3, Sample(1000, 1000)}, {.ops = 100, .bytes = 10});
  ASSERT_TRUE(compute.ok());
  EXPECT_TRUE(compute->arithmetic_bound);
  EXPECT_EQ(compute->ceiling, CeilingKind::kFp32);
  EXPECT_DOUBLE_EQ(compute->share, 0.5);
  EXPECT_DOUBLE_EQ(compute->share_q1, 0.375);
  EXPECT_DOUBLE_EQ(compute->other_share, 0.05);
  EXPECT_DOUBLE_EQ(compute->rate, 500);
  const auto memory = ShareOfRounds({0.2}, {Sample(1e6, 1000)}, {.ops = 100, .bytes = 150});
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->ceiling, CeilingKind::kDramRead);
  EXPECT_DOUBLE_EQ(memory->share, 0.75);
}

TEST(Roofline, EachRoundIsHeldAgainstItsOwnCeiling) {
  // The machine slows down by half in the second round: the share stays.
  const auto share = ShareOfRounds({0.2, 0.4}, {Sample(1000, 1), Sample(500, 1)}, {.ops = 100});
  ASSERT_TRUE(share.ok());
  EXPECT_DOUBLE_EQ(share->share_q1, 0.5);
  EXPECT_DOUBLE_EQ(share->share_q3, 0.5);
}

TEST(Roofline, RoundsWithoutACeilingAreCountedAndNoneAtAllIsRefused) {
  const auto some = ShareOfRounds({0.2, 0.2}, {Sample(1000, 1), CeilingSample()}, {.ops = 100});
  ASSERT_TRUE(some.ok());
  EXPECT_EQ(some->rounds_without_ceiling, 1);
  EXPECT_EQ(some->round_shares.size(), 1u);
  const auto none = ShareOfRounds({0.2}, {CeilingSample()}, {.ops = 100});
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("fp32"), std::string::npos);
  EXPECT_FALSE(ShareOfRounds({0.2}, {Sample(1, 1)}, {.ops = 0, .bytes = 0}).ok());
  EXPECT_FALSE(ShareOfRounds({}, {}, {.ops = 1}).ok());
}

TEST(Roofline, DataIsHeldAgainstTheLevelItFitsIn) {
  Fingerprint f;
  f.caches = {{.level = 2, .type = "unified", .bytes = 1 << 20, .instances = 2},
              {.level = 3, .type = "unified", .bytes = 32 << 20, .instances = 1}};
  EXPECT_EQ(ReadLevelFor(f, 1 << 20, 2), CeilingKind::kL2Read);
  EXPECT_EQ(ReadLevelFor(f, 1 << 20, 1), CeilingKind::kL3Read);
  EXPECT_EQ(ReadLevelFor(f, 20 << 20, 2), CeilingKind::kDramRead);
}

TEST(Noise, AKernelAgainstItselfGivesARatioAndAFloor) {
  const auto noise = MeasureNoise({.rounds = 8, .budget_s = 0, .seed = 1});
  ASSERT_TRUE(noise.ok()) << noise.error().message;
  EXPECT_EQ(noise->rounds, 8);
  EXPECT_EQ(noise->cache.pairs, 8);
  EXPECT_GE(noise->DetectableRatio(30), noise->DetectableRatio(100));
  EXPECT_GE(noise->DetectableRatio(100), 1);
}

// A quiet bare machine on which every check is fit.
Fingerprint GoodMachine() {
  Fingerprint f;
  f.architecture = "x86_64";
  f.best_backend = "avx2";
  f.online_cpus = f.allowed_cpus = 4;
  f.memory_total_bytes = f.memory_available_bytes = int64_t{8} << 30;
  f.huge_pages = "madvise";
  f.governor = "performance";
  f.counters.available = true;
  f.build_type = "Release";
  return f;
}

NoiseFloor Noise(double log_deviation) {
  NoiseFloor noise;
  noise.rounds = 40;
  noise.cache.log_deviation = log_deviation;
  return noise;
}

const Check& Named(const std::vector<Check>& checks, std::string_view name) {
  return *std::find_if(checks.begin(), checks.end(), [&](const Check& check) { return check.name == name; });
}

TEST(Doctor, AGoodMachineIsFitForEverything) {
  for (const Check& check : Judge(GoodMachine(), {}, Noise(0.01))) {
    EXPECT_EQ(check.fitness, Fitness::kFit) << check.name << ": " << check.finding;
    EXPECT_TRUE(check.remedy.empty());
  }
}

TEST(Doctor, EachDefectIsFoundUnderItsNameWithARemedy) {
  struct Case {
    std::string name;
    Fitness fitness;
    void (*spoil)(Fingerprint&, NoiseFloor&);
  };
  const std::vector<Case> cases = {
      {"paired_cpu_ratios", Fitness::kUnfit, [](Fingerprint&, NoiseFloor& n) { n.memory.log_deviation = 0.6; }},
      {"paired_cpu_ratios", Fitness::kLimited, [](Fingerprint&, NoiseFloor& n) { n.cache.log_deviation = 0.25; }},
      {"paired_cpu_ratios", Fitness::kUnfit, [](Fingerprint&, NoiseFloor& n) { n.cache.log_deviation = NAN; }},
      {"absolute_cpu_times", Fitness::kLimited, [](Fingerprint& f, NoiseFloor&) { f.hypervisor = "KVM"; }},
      {"absolute_cpu_times", Fitness::kLimited, [](Fingerprint& f, NoiseFloor&) { f.governor = "powersave"; }},
      {"absolute_cpu_times", Fitness::kLimited, [](Fingerprint&, NoiseFloor& n) { n.flagged_rounds = 11; }},
      {"processors", Fitness::kUnfit, [](Fingerprint& f, NoiseFloor&) { f.quota_cpus = 0.5; }},
      {"processors", Fitness::kLimited, [](Fingerprint& f, NoiseFloor&) { f.quota_cpus = 2.5; }},
      {"kernel_backend", Fitness::kUnfit, [](Fingerprint& f, NoiseFloor&) { f.best_backend = "generic"; }},
      {"memory", Fitness::kUnfit, [](Fingerprint& f, NoiseFloor&) { f.memory_available_bytes = 1 << 20; }},
      {"memory", Fitness::kLimited, [](Fingerprint& f, NoiseFloor&) { f.huge_pages = "never"; }},
      {"hardware_counters", Fitness::kLimited, [](Fingerprint& f, NoiseFloor&) { f.counters = {false, "none"}; }},
      {"build", Fitness::kUnfit, [](Fingerprint& f, NoiseFloor&) { f.sanitizers = "address"; }},
      {"build", Fitness::kUnfit, [](Fingerprint& f, NoiseFloor&) { f.build_type = "Debug"; }},
  };
  for (const Case& c : cases) {
    Fingerprint fingerprint = GoodMachine();
    NoiseFloor noise = Noise(0.01);
    c.spoil(fingerprint, noise);
    const std::vector<Check> checks = Judge(fingerprint, {}, noise);
    EXPECT_EQ(Named(checks, c.name).fitness, c.fitness) << c.name << ": " << Named(checks, c.name).finding;
    EXPECT_FALSE(Named(checks, c.name).remedy.empty()) << c.name;
  }
}

TEST(Doctor, AReportWithoutNumbersIsStillValidJsonAndText) {
  DoctorReport report;
  report.fingerprint = GoodMachine();
  CeilingRow row;
  row.info.refusal = "no such cache";
  row.median = row.best = std::numeric_limits<double>::quiet_NaN();
  report.ceilings = {row};
  report.noise.cache.log_deviation = std::numeric_limits<double>::quiet_NaN();
  report.checks = Judge(report.fingerprint, report.ceilings, report.noise);
  const nlohmann::json json = ToJson(report);
  EXPECT_TRUE(json["ceilings"][0]["median"].is_null());
  EXPECT_EQ(json["ceilings"][0]["refused"], "no such cache");
  EXPECT_EQ(json["schema_version"], 1);
  const std::string text = ToText(report, false);
  EXPECT_NE(text.find("refused"), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace assay::machine
