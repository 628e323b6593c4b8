// What the kernel-time model promises: fits recover what made the data, intervals cover, profiles survive a round trip and hostile text.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/random.h"
#include "platform/fit.h"
#include "platform/kernel_time.h"
#include "platform/regimes.h"
#include "platform/score.h"

namespace assay::platform {
namespace {

const Gpu& H100() { return *FindGpu("h100_sxm"); }

KernelQuery Decode(double batch, double tokens, double query_heads = 32, double kv_heads = 8) {
  KernelQuery q;
  q.family = Family::kAttentionDecode;
  q.batch = batch;
  q.tokens = tokens;
  q.query_heads = query_heads;
  q.kv_heads = kv_heads;
  return q;
}

// A synthetic decode kernel: launch, bytes at 80 % of the bandwidth, and a cost a work item that the roofline does not know of.
double SyntheticMs(const KernelQuery& q) {
  return 0.01 + FloorMs(H100(), q) / 0.8 + 0.0004 * std::sqrt(q.batch * q.kv_heads);
}

std::vector<MeasuredRow> SyntheticRows(double noise, uint64_t seed) {
  Rng rng(seed);
  std::vector<MeasuredRow> rows;
  for (double batch = 1; batch <= 512; batch *= 2) {
    for (double tokens = 2; tokens <= 65536; tokens *= 2) {
      for (double kv_heads = 1; kv_heads <= 8; kv_heads *= 2) {
        if (batch * tokens > (1 << 22)) continue;
        MeasuredRow row{.query = Decode(batch, tokens, 32, kv_heads), .variant = {}, .ms = 0};
        row.ms = SyntheticMs(row.query) * std::exp(noise * rng.Normal());
        rows.push_back(row);
      }
    }
  }
  return rows;
}

TEST(Grid, RecoversAFunctionThatIsLinearBetweenKnots) {
  Grid grid;
  grid.axes = {{.feature = Feature::kBatch, .knots = {0, 2, 4, 6}}};
  std::vector<GridRow> rows;
  for (double x = 0; x <= 6; x += 0.25) rows.push_back({.query = Decode(std::exp2(x), 16), .target = x < 2 ? 1 + x : 3 - (x - 2) / 4, .weight = 1});
  FitGrid(rows, {.smoothness = 1e-9, .flatness = 1e-9}, &grid);
  for (const GridRow& row : rows) EXPECT_NEAR(grid.At(row.query), row.target, 1e-3);
}

TEST(Grid, KnotWithoutRowsContinuesItsNeighbours) {
  Grid grid;
  grid.axes = {{.feature = Feature::kBatch, .knots = {0, 1, 2, 3, 4}}};
  std::vector<GridRow> rows;
  for (double x : {0.0, 1.0, 3.0, 4.0}) rows.push_back({.query = Decode(std::exp2(x), 16), .target = std::exp(0.1 * x), .weight = 1});
  FitGrid(rows, {}, &grid);
  EXPECT_NEAR(grid.At(Decode(4, 16)), std::exp(0.2), 2e-3);
}

TEST(Grid, IsConstantBeyondItsEdges) {
  Grid grid{.axes = {{.feature = Feature::kBatch, .knots = {0, 1}}}, .factors = {2, 3}};
  EXPECT_DOUBLE_EQ(grid.At(Decode(1 << 20, 16)), 3);
}

TEST(Regimes, SeparateQuietFromNoisyRowsAndCover) {
  Rng rng(7);
  std::vector<RegimeRow> rows;
  for (int i = 0; i < 4000; ++i) {
    const double batch = std::exp2(static_cast<double>(i % 8));
    rows.push_back({.query = Decode(batch, 64), .ratio = std::exp((batch < 10 ? 0.01 : 0.2) * rng.Normal())});
  }
  const Feature features[] = {Feature::kBatch};
  const auto regimes = FindRegimes(rows, features);
  ASSERT_GE(regimes.size(), 2U);
  Section section;
  section.regimes = regimes;
  const Regime* quiet = RegimeFor(section, Decode(2, 64));
  const Regime* noisy = RegimeFor(section, Decode(64, 64));
  EXPECT_NEAR(quiet->high, std::exp(0.01 * 1.645), 0.003);
  EXPECT_NEAR(noisy->high, std::exp(0.2 * 1.645), 0.05);
}

TEST(Regimes, ConformalQuantileTakesTheExtremeOfFewValues) {
  EXPECT_EQ(ConformalQuantile({1, 2, 3}, 0.95), 3);
  EXPECT_EQ(ConformalQuantile({1, 2, 3}, 0.05), 1);
}

TEST(Fit, IntervalsOfASyntheticKernelCoverNineTenths) {
  const Section section = FitSection(SyntheticRows(0.03, 1), H100());
  EXPECT_LT(section.held_out.p50, 0.03);
  EXPECT_GT(section.held_out.coverage, 0.80);
  EXPECT_LT(section.held_out.p50, section.held_out_roofline.p50);
}

// A profile from a user's own tables carries nobody else's name.
TEST(Fit, AProfileSaysWhoseTablesItIsFrom) {
  const MeasuredTable table{.stem = "mine", .gpu = "h100_sxm", .engine = "ours", .version = "1", .kind = "generation_attention_perf", .row_count = 0, .rows = SyntheticRows(0.03, 1)};
  FitNotes notes;
  const auto unsaid = FitProfile({&table, 1}, {}, &notes);
  ASSERT_TRUE(unsaid.ok()) << unsaid.error().message;
  EXPECT_EQ(unsaid->source, "not stated");
  EXPECT_EQ(unsaid->licence, "not stated");
  const auto said = FitProfile({&table, 1}, {.source = "our own \"bench\"", .licence = "CC0-1.0"}, &notes);
  const auto read = ParseProfile(WriteProfile(*said), "mine.toml");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->source, "our own \"bench\"");
  EXPECT_EQ(read->licence, "CC0-1.0");
}

TEST(Fit, PredictsBetweenTheGridPointsItNeverSaw) {
  const Section section = FitSection(SyntheticRows(0, 1), H100());
  const KernelQuery between = Decode(24, 3000);
  EXPECT_NEAR(PredictMs(section, H100(), between) / SyntheticMs(between), 1, 0.02);
}

TEST(KernelTime, OutsideCoverageIsABoundFromBytes) {
  const Section section = FitSection(SyntheticRows(0.01, 1), H100());
  const KernelQuery far = Decode(1, 1 << 20);
  const Prediction prediction = Predict(section, H100(), far);
  EXPECT_EQ(prediction.basis, Basis::kBounded);
  EXPECT_DOUBLE_EQ(prediction.ms, FloorMs(H100(), far));
  EXPECT_TRUE(std::isinf(prediction.high_ms));
}

TEST(KernelTime, KernelWithoutRowsIsRefusedWithTheCommandThatFillsIt) {
  Profile profile{.gpu = "h100_sxm", .engine = "none", .version = "0", .source = {}, .licence = {}, .date = {}, .sections = {}};
  const auto time = KernelTime(profile, Decode(1, 64));
  ASSERT_TRUE(time.ok());
  EXPECT_TRUE(time->refused());
  EXPECT_NE(time->origin.find("assay platform fit"), std::string::npos);
}

TEST(KernelTime, NoSizeCrashesIt) {
  const Section section = FitSection(SyntheticRows(0.01, 1), H100());
  for (double size : {-1.0, 0.0, 0.5, 1e30, std::nan("")}) {
    const Prediction prediction = Predict(section, H100(), Decode(size, size, size, size));
    EXPECT_NE(prediction.basis, Basis::kInterpolated) << size;
  }
}

TEST(KernelTime, ChunkOnAPrefixCostsMoreWithALongerPrefix) {
  const auto profile = LoadProfile("h100_sxm/vllm/0.24.0");
  ASSERT_TRUE(profile.ok()) << profile.error().message;
  KernelQuery q = Decode(1, 512);
  q.family = Family::kAttentionPrefill;
  const Section* section = FindSection(*profile, q);
  ASSERT_NE(section, nullptr);
  double last_ms = 0;
  for (double prefix : {0.0, 1024.0, 4096.0, 8192.0}) {
    const double ms = PrefillChunkMs(*section, H100(), q, prefix);
    EXPECT_GT(ms, last_ms * 0.999) << prefix;
    last_ms = ms;
  }
}

TEST(Profile, RoundTripKeepsPredictionsWithinAPacketStep) {
  Profile profile{.gpu = "h100_sxm", .engine = "x", .version = "1", .source = "s \"quoted\"", .licence = "l", .date = "d", .sections = {}};
  profile.sections.push_back(FitSection(SyntheticRows(0.02, 3), H100()));
  const auto again = ParseProfile(WriteProfile(profile), "round");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->source, profile.source);
  for (double tokens : {2.0, 100.0, 5000.0}) {
    const double before = PredictMs(profile.sections[0], H100(), Decode(8, tokens));
    EXPECT_NEAR(PredictMs(again->sections[0], H100(), Decode(8, tokens)) / before, 1, 0.003);
  }
}

TEST(Profile, HostileTextIsRefusedWithItsPlace) {
  Profile profile{.gpu = "h100_sxm", .engine = "x", .version = "1", .source = "s", .licence = "l", .date = "d", .sections = {}};
  profile.sections.push_back(FitSection(SyntheticRows(0.02, 3), H100()));
  const std::string good = WriteProfile(profile);
  Rng rng(11);
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    const size_t at = rng.Below(bad.size());
    switch (rng.Below(3)) {
      case 0: bad.erase(at, 1 + rng.Below(20)); break;
      case 1: bad[at] = static_cast<char>(rng.Below(256)); break;
      default: bad = bad.substr(0, at); break;
    }
    const auto parsed = ParseProfile(bad, "hostile.toml");  // must not crash; most are refused
    if (!parsed.ok()) {
      EXPECT_NE(parsed.error().message.find("hostile.toml"), std::string::npos);
    }
  }
}

TEST(Profile, EveryShippedOneParsesAndHasAnHonestErrorInEachSection) {
  ASSERT_FALSE(ShippedProfiles().empty());
  for (const ShippedProfile& shipped : ShippedProfiles()) {
    const auto profile = ParseProfile(shipped.toml, shipped.name());
    ASSERT_TRUE(profile.ok()) << profile.error().message;
    EXPECT_EQ(profile->name(), shipped.name()) << "the file is named after what it holds";
    EXPECT_EQ(FindShipped(profile->gpu, profile->engine, profile->version), &shipped);
    for (const Section& section : profile->sections) {
      EXPECT_GT(section.held_out.rows, 0) << shipped.name() << " " << NameOf(section.family);
      EXPECT_FALSE(section.regimes.empty());
    }
  }
}

TEST(Tables, EveryTableBesideTheCheckoutIsReadAndScoredOrRefused) {
  const std::filesystem::path folder = std::filesystem::path(ASSAY_SHARED_DATA_DIR) / "gpu_kernels";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no measured tables beside the checkout: " << folder;
  const auto profile = LoadProfile("h100_sxm/vllm/0.24.0");
  ASSERT_TRUE(profile.ok());
  int scored = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto table = ReadMeasuredTable(entry.path().string());
    ASSERT_TRUE(table.ok()) << table.error().message;
    const Score score = ScoreTable(*profile, *table);
    EXPECT_EQ(score.rows, score.in_coverage + score.refused);
    if (table->gpu == "h100_sxm" && table->version == "0.24.0" && table->kind == "gemm_perf") {
      EXPECT_LT(score.refused, score.rows / 10);
      EXPECT_LT(score.model.p50, 0.03);
      EXPECT_LT(score.model.p50, score.roofline.p50);
      ++scored;
    }
  }
  EXPECT_EQ(scored, 1);
}

TEST(Tables, NegativeLatencyIsRefusedWithLineAndRemedy) {
  const std::string path = testing::TempDir() + "/h100_sxm__gemm__vllm__0.24.0__gemm_perf.csv";
  FILE* file = std::fopen(path.c_str(), "w");
  std::fputs("gemm_dtype,m,n,k,latency\nbfloat16,1,2,3,0.1\nbfloat16,1,2,3,-4\n", file);
  std::fclose(file);
  const auto table = ReadMeasuredTable(path);
  ASSERT_FALSE(table.ok());
  EXPECT_NE(table.error().message.find(":3: latency is -4"), std::string::npos) << table.error().message;
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace assay::platform
