// The softmax kernel on caches cheaper than its arithmetic (binary16, e4m3, int8, int4; scales per token, page channel and group of 32), on every
// backend, against fp64 of what the cache holds.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <tuple>

#include "core/thread_pool.h"
#include "kernels/softmax_case.h"
#include "kernels/softmax_kernel.h"
#include "kernels/softmax_plan.h"
#include "kernels/test_tables.h"

namespace assay {
namespace {

using testing::CaseErrors;
using testing::Compare;
using testing::MakeCase;
using testing::SoftmaxCase;
using testing::SoftmaxSpec;
using Storage = SoftmaxSpec::Storage;

constexpr Kernel kTile{.id = "tile", .check = CheckSoftmaxTile, .prepare = PrepareSoftmaxTile, .epilogue = epilogue::kIdentity};
constexpr double kShuffleMargin = 4;  // softmax_kernel_test.cc
double Floor(DType dtype) { return 2 * EpsilonOf(dtype) + 4 * EpsilonOf(DType::kF32); }

struct Format {
  const char* name;
  DType dtype;
  ScaleGranularity k_scale, v_scale;
  const char* target;
  IntegerProducts products = IntegerProducts::kExact;
};
constexpr IntegerProducts kShorts = IntegerProducts::kShorts;
constexpr ScaleGranularity kNone = ScaleGranularity::kNone;
constexpr ScaleGranularity kToken = ScaleGranularity::kPerToken;
constexpr ScaleGranularity kChannel = ScaleGranularity::kPerPageChannel;
constexpr ScaleGranularity kGroup = ScaleGranularity::kPerGroup32;
constexpr Format kFormats[] = {
    {"f16", DType::kF16, kNone, kNone, "f16"},
    {"e4m3", DType::kE4m3, kNone, kNone, "e4m3"},
    {"e4m3_token", DType::kE4m3, kToken, kToken, "e4m3"},
    {"e4m3_channel_group", DType::kE4m3, kChannel, kGroup, "e4m3"},
    {"e4m3_group_channel", DType::kE4m3, kGroup, kChannel, "e4m3"},
    {"i8_token", DType::kI8, kToken, kToken, "i8"},
    {"i8_group", DType::kI8, kGroup, kGroup, "i8"},
    {"i8_channel_token", DType::kI8, kChannel, kToken, "i8"},
    {"i8_token_channel", DType::kI8, kToken, kChannel, "i8"},
    {"i4_token", DType::kI4, kToken, kToken, "i4"},
    {"i4_group", DType::kI4, kGroup, kGroup, "i4"},
    {"i4_channel_token", DType::kI4, kChannel, kToken, "i4"},
    {"i4_channel_channel", DType::kI4, kChannel, kChannel, "i4"},
    {"i8_token_q16", DType::kI8, kToken, kToken, "i8-q16", kShorts},
    {"i8_group_q16", DType::kI8, kGroup, kGroup, "i8-q16", kShorts},
    {"i8_channel_channel_q16", DType::kI8, kChannel, kChannel, "i8-q16", kShorts},
    {"i4_token_channel_q16", DType::kI4, kToken, kChannel, "i4-q16", kShorts},
    {"i4_group_q16", DType::kI4, kGroup, kGroup, "i4-q16", kShorts},
    {"i4_channel_token_q16", DType::kI4, kChannel, kToken, "i4-q16", kShorts},
};

// What rounding queries and weights to 16-bit integers may add to the error of a row and of its LSE (softmax_shorts-inl.h), `spread` being the
// deviation of its scores. A score: elements of the query are off by up to 2^-16 of the largest, which lies near 3 deviations, so the score's
// error has the deviation 3 / sqrt(3) spread / 2^16; 4.5 of these cover all rows of a case. P V: sqrt(64) roundings of up to 2^-16 of the page's largest
// weight, which meets its own value in the row's largest sum of magnitudes.
double ShortRounding(double spread) { return (8 * spread + 8) / 65536; }

using Parameter = std::tuple<const KernelTable*, Format>;

class SoftmaxCache : public ::testing::TestWithParam<Parameter> {
 protected:
  static const KernelTable& Table() { return *std::get<0>(GetParam()); }
  static const Format& Cache() { return std::get<1>(GetParam()); }

  static SoftmaxSpec Of(SoftmaxSpec spec) {
    spec.cache = Cache().dtype;
    spec.k_scale = Cache().k_scale;
    spec.v_scale = Cache().v_scale;
    return spec;
  }
  static void RunCase(SoftmaxCase& c, ThreadPool* pool = nullptr) {
    auto plan = PrepareSoftmaxOn(Table(), c.owned.problem, kTile, pool, Cache().products);
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    plan.value()->Pack();
    plan.value()->Run();
  }
  static double Rounding(double spread) { return Cache().products == kShorts ? ShortRounding(spread) : 0; }
  static double ErrorOf(const CaseErrors& errors) { return Cache().products == kShorts ? errors.kernel_of_row : errors.kernel; }
  static void ExpectRight(const SoftmaxSpec& spec, uint64_t seed, const char* what) {
    SoftmaxCase c = MakeCase(Of(spec), seed);
    RunCase(c);
    if (HasFatalFailure()) return;
    const CaseErrors errors = Compare(c, false);
    EXPECT_TRUE(errors.all_finite) << what;
    const double rounding = Rounding(spec.score_spread);
    EXPECT_LE(ErrorOf(errors), kShuffleMargin * errors.twin + Floor(spec.dtype) + rounding) << what << ", twin " << errors.twin;
    EXPECT_LE(errors.lse_kernel, kShuffleMargin * errors.lse_twin + 16 * EpsilonOf(DType::kF32) + rounding) << what << ", twin " << errors.lse_twin;
  }
};

std::vector<unsigned char> Bytes(const TensorView& view) {
  const auto* data = static_cast<const unsigned char*>(view.data);
  return {data, data + BytesOf(view.dtype, static_cast<size_t>(view.count()))};
}

TEST_P(SoftmaxCache, AgreesAtEveryLengthAroundAPageAndABlock) {
  for (const int64_t keys : {0, 1, 3, 4, 7, 8, 9, 63, 64, 65, 129, 256, 259}) {
    for (const int64_t queries : {0, 1, 2, 7}) {
      ExpectRight({.queries = {queries}, .keys = {keys}}, static_cast<uint64_t>(keys * 100 + queries), "lengths");
    }
  }
}

TEST_P(SoftmaxCache, IsReadAsItIsAndNotWidened) {
  const SoftmaxCase c = MakeCase(Of({.queries = {1}, .keys = {70}}), 1);
  const auto plan = PrepareSoftmaxOn(Table(), c.owned.problem, kTile, nullptr, Cache().products);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(std::string(plan.value()->target()), std::string(Table().name) + "/" + Cache().target);
}

TEST_P(SoftmaxCache, AgreesForEveryHeadSizeInUse) {
  constexpr int64_t kSizes[][2] = {{64, 64}, {80, 80}, {96, 96}, {128, 128}, {192, 128}, {576, 512}, {1, 1}, {7, 3}, {33, 17}, {34, 33}, {16, 40}};
  for (const auto& size : kSizes) ExpectRight({.queries = {3}, .keys = {70}, .head_dim = size[0], .v_head_dim = size[1]}, 7, "head sizes");
}

TEST_P(SoftmaxCache, AgreesForEveryGroupSize) {
  for (const int64_t group : {1, 2, 3, 4, 5, 6, 7, 16}) {
    ExpectRight({.queries = {1}, .keys = {66}, .query_heads = 2 * group, .kv_heads = 2}, static_cast<uint64_t>(group), "group");
  }
}

TEST_P(SoftmaxCache, AgreesUnderEveryOption) {
  const SoftmaxSpec base{.queries = {3, 0, 1, 17}, .keys = {100, 5, 130, 66}};
  const std::pair<const char*, std::function<void(SoftmaxSpec&)>> options[] = {
      {"not causal", [](SoftmaxSpec& s) { s.causal = Causal::kNone; }},
      {"window left", [](SoftmaxSpec& s) { s.window_left = 15; }},
      {"softcap and sink", [](SoftmaxSpec& s) { s.softcap = 2.5, s.sink = true; }},
      {"all masks", [](SoftmaxSpec& s) { s.mask_add = s.mask_bool = s.alibi = true; }},
      {"positions", [](SoftmaxSpec& s) { s.positions = true, s.window_left = 30; }},
      {"dense", [](SoftmaxSpec& s) { s.storage = Storage::kDense, s.queries = {3, 3, 3, 3}; }},
      {"pages of 16", [](SoftmaxSpec& s) { s.storage = Storage::kPaged; }},
      {"pages of 48", [](SoftmaxSpec& s) { s.storage = Storage::kPaged, s.page_tokens = 48; }},
      {"strided and misaligned", [](SoftmaxSpec& s) { s.stride_padding = 3, s.misalign = s.cache == DType::kI4 ? 2 : 1; }},
      {"bf16 queries", [](SoftmaxSpec& s) { s.dtype = DType::kBf16; }},
      {"f16 queries", [](SoftmaxSpec& s) { s.dtype = DType::kF16; }},
      {"scores far apart", [](SoftmaxSpec& s) { s.score_spread = 40; }},
  };
  for (const auto& [what, change] : options) {
    SoftmaxSpec spec = Of(base);
    change(spec);
    ExpectRight(spec, HashText(what), what);
  }
  if (Cache().dtype != DType::kI4) ExpectRight({.queries = {3}, .keys = {70}, .reversed_channels = true}, 9, "reversed channels");
}

TEST_P(SoftmaxCache, AgreesAcrossSegments) {
  ExpectRight({.queries = {2}, .keys = {2 * 2048 + 77}, .query_heads = 2, .kv_heads = 1}, 5, "segments");
}

TEST_P(SoftmaxCache, BitsDoNotDependOnThreadsOrSplitsOrPrefill) {
  SoftmaxCase c = MakeCase(Of({.queries = {3, 30}, .keys = {4200, 100}, .query_heads = 2, .kv_heads = 1}), 11);
  RunCase(c);
  const auto o = Bytes(c.owned.problem.Get(Role::kO));
  for (const int threads : {2, 3}) {
    ThreadPool pool(threads);
    for (const int splits : {0, 1, 4}) {
      c.owned.problem.splits = splits;
      RunCase(c, &pool);
      EXPECT_EQ(o, Bytes(c.owned.problem.Get(Role::kO))) << threads << " threads, " << splits << " splits";
    }
  }
  // The last query of a longer prefill, alone.
  SoftmaxCase many = MakeCase(Of({.queries = {130}, .keys = {130}, .query_heads = 2, .kv_heads = 1}), 12);
  RunCase(many);
  const auto all = Bytes(many.owned.problem.Get(Role::kO));
  many.owned.problem.Get(Role::kCuQ).Set({0}, 129);
  for (int64_t h = 0; h < 2; ++h) {
    for (int64_t ch = 0; ch < 32; ++ch) many.owned.problem.Get(Role::kO).Set({129, h, ch}, std::nan(""));
  }
  RunCase(many);
  EXPECT_EQ(all, Bytes(many.owned.problem.Get(Role::kO)));
}

// Behind a window, and in the pages of the caller beyond its length, anything may lie.
TEST_P(SoftmaxCache, NanBehindAWindowNeverLeaks) {
  const bool scaled = Cache().k_scale != kNone;
  SoftmaxCase clean = MakeCase(Of({.queries = {8}, .keys = {200}, .window_left = 20}), 31);
  SoftmaxCase dirty = MakeCase(Of({.queries = {8}, .keys = {200}, .window_left = 20}), 31);
  RunCase(clean);
  for (const Role role : {Role::kK, Role::kV}) {
    // Keys 0..171 are behind the window of every query (the first, at 192, sees 172 on); page channels are shared with what is seen from 128 on.
    const ScaleGranularity granularity = role == Role::kK ? Cache().k_scale : Cache().v_scale;
    if (IsFloat(Cache().dtype)) {
      for (int64_t j = 0; j < 172; ++j) dirty.owned.problem.Get(role).Set({j, 0, 5}, j % 2 == 0 ? std::nan("") : testing::kInf);
    }
    if (!scaled) continue;
    const TensorView scales = dirty.owned.problem.Get(role == Role::kK ? Role::kKScale : Role::kVScale);
    for (int64_t j = 0; j < 172; ++j) {
      const double bad = j % 2 == 0 ? std::nan("") : testing::kInf;
      if (granularity == kToken) scales.Set({j, 0}, bad);
      if (granularity == kGroup) scales.Set({j, 0, 0}, bad);
      if (granularity == kChannel && j < 128) scales.Set({0, j / 64, 0, 5}, bad);
    }
  }
  RunCase(dirty);
  EXPECT_EQ(Bytes(clean.owned.problem.Get(Role::kLse)), Bytes(dirty.owned.problem.Get(Role::kLse)));
  const CaseErrors errors = Compare(dirty, false);
  EXPECT_TRUE(errors.all_finite);
  EXPECT_LE(ErrorOf(errors), kShuffleMargin * errors.twin + Floor(DType::kF32) + Rounding(1.5));
}

TEST_P(SoftmaxCache, AVisibleNanIsNotHidden) {
  for (const Role role : {Role::kK, Role::kV}) {
    SoftmaxCase c = MakeCase(Of({.queries = {7}, .keys = {70}, .query_heads = 1, .kv_heads = 1}), 33);
    const ScaleGranularity granularity = role == Role::kK ? Cache().k_scale : Cache().v_scale;
    const TensorView* scales = c.owned.problem.Find(role == Role::kK ? Role::kKScale : Role::kVScale);
    const double bad = granularity == kToken ? testing::kInf : std::nan("");
    if (granularity == kToken) scales->Set({66, 0}, bad);
    if (granularity == kGroup) scales->Set({66, 0, 0}, bad);
    if (granularity == kChannel) scales->Set({0, 1, 0, 5}, bad);  // of tokens 64 on
    if (granularity == kNone) c.owned.problem.Get(role).Set({66, 0, 5}, bad);
    RunCase(c);
    const TensorView o = c.owned.problem.Get(Role::kO);
    EXPECT_TRUE(std::isfinite(o.At({granularity == kChannel ? 0 : 2, 0, 5})));
    EXPECT_EQ(std::isfinite(o.At({3, 0, 5})), false);
    EXPECT_EQ(std::isfinite(o.At({6, 0, 5})), false);
  }
}

std::vector<Parameter> Parameters() {
  std::vector<Parameter> all;
  for (const KernelTable* table : testing::TestTables()) {
    for (const Format& format : kFormats) all.emplace_back(table, format);
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Backends, SoftmaxCache, ::testing::ValuesIn(Parameters()), [](const auto& parameter) {
  return std::string(std::get<0>(parameter.param)->name) + "_" + std::get<1>(parameter.param).name;
});

}  // namespace
}  // namespace assay
