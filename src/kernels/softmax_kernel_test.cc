// The softmax kernel on every backend this machine can run, against fp64 (softmax_case.h).
#include "kernels/softmax_kernel.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "core/thread_pool.h"
#include "kernels/softmax_case.h"
#include "kernels/softmax_plan.h"
#include "kernels/test_tables.h"

namespace assay {
namespace {

using testing::Compare;
using testing::CaseErrors;
using testing::MakeCase;
using testing::SoftmaxCase;
using testing::SoftmaxSpec;

constexpr Kernel kTile{.id = "tile", .check = CheckSoftmaxTile, .prepare = PrepareSoftmaxTile, .epilogue = epilogue::kIdentity};

// Errors of sums in another order stay within this factor of the twin's largest error over a case (see ShuffledSumsRaiseNoAlarm).
constexpr double kShuffleMargin = 4;
// What a single rounding of the output may add, in units of the row's magnitude.
double Floor(DType dtype) { return 2 * EpsilonOf(dtype) + 4 * EpsilonOf(DType::kF32); }

class SoftmaxKernel : public ::testing::TestWithParam<const KernelTable*> {
 protected:
  static void RunCase(SoftmaxCase& c, ThreadPool* pool = nullptr) {
    auto plan = PrepareSoftmaxOn(*GetParam(), c.owned.problem, kTile, pool);
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    plan.value()->Pack();
    plan.value()->Run();
  }

  static void ExpectRight(const SoftmaxSpec& spec, uint64_t seed, const char* what) {
    SoftmaxCase c = MakeCase(spec, seed);
    RunCase(c);
    if (HasFatalFailure()) return;
    const CaseErrors errors = Compare(c, spec.dtype == DType::kBf16 && GetParam()->native_pairs);
    EXPECT_TRUE(errors.all_finite) << what;
    EXPECT_LE(errors.kernel, kShuffleMargin * errors.twin + Floor(spec.dtype)) << what << ", twin " << errors.twin;
    EXPECT_LE(errors.lse_kernel, kShuffleMargin * errors.lse_twin + 16 * EpsilonOf(DType::kF32)) << what << ", twin " << errors.lse_twin;
  }
};

TEST_P(SoftmaxKernel, AgreesAtEveryLengthAroundAPageAndABlock) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const int64_t keys : {0, 1, 2, 31, 63, 64, 65, 127, 129, 255, 256, 257, 259}) {
      for (const int64_t queries : {0, 1, 2, 5, 7, 25}) {
        SoftmaxSpec spec{.queries = {queries}, .keys = {keys}, .dtype = dtype};
        ExpectRight(spec, static_cast<uint64_t>(keys * 100 + queries), "lengths");
      }
    }
  }
}

TEST_P(SoftmaxKernel, AgreesForEveryHeadSizeInUse) {
  constexpr int64_t kSizes[][2] = {{64, 64}, {80, 80}, {96, 96}, {128, 128}, {192, 128}, {256, 256}, {576, 512}, {1, 1}, {7, 3}, {33, 17}, {16, 40}};
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const auto& size : kSizes) {
      ExpectRight({.queries = {9}, .keys = {70}, .head_dim = size[0], .v_head_dim = size[1], .dtype = dtype}, 7, "head sizes");
    }
  }
}

TEST_P(SoftmaxKernel, AgreesForEveryGroupSize) {
  for (const int64_t group : {1, 2, 3, 4, 5, 6, 7, 16, 128}) {
    ExpectRight({.queries = {3}, .keys = {66}, .query_heads = 2 * group, .kv_heads = 2}, static_cast<uint64_t>(group), "group");
  }
}

TEST_P(SoftmaxKernel, AgreesUnderEveryOption) {
  const SoftmaxSpec base{.queries = {37, 0, 1, 66}, .keys = {100, 5, 130, 66}};
  const std::pair<const char*, std::function<void(SoftmaxSpec&)>> options[] = {
      {"not causal", [](SoftmaxSpec& s) { s.causal = Causal::kNone; }},
      {"top left", [](SoftmaxSpec& s) { s.causal = Causal::kTopLeft; }},
      {"more queries than keys", [](SoftmaxSpec& s) { s.queries = {90, 7, 70, 65}, s.keys = {20, 5, 64, 0}; }},
      {"window left", [](SoftmaxSpec& s) { s.window_left = 15; }},
      {"window of self", [](SoftmaxSpec& s) { s.window_left = 0; }},
      {"window both sides", [](SoftmaxSpec& s) { s.causal = Causal::kNone, s.window_left = 9, s.window_right = 70; }},
      {"causal with right window", [](SoftmaxSpec& s) { s.window_right = 3; }},
      {"softcap", [](SoftmaxSpec& s) { s.softcap = 2.5; }},
      {"large softcap", [](SoftmaxSpec& s) { s.softcap = 50; }},
      {"sink", [](SoftmaxSpec& s) { s.sink = true; }},
      {"alibi", [](SoftmaxSpec& s) { s.alibi = true; }},
      {"boolean mask", [](SoftmaxSpec& s) { s.mask_bool = true; }},
      {"additive mask", [](SoftmaxSpec& s) { s.mask_add = true; }},
      {"all masks, alibi and sink", [](SoftmaxSpec& s) { s.mask_add = s.mask_bool = s.alibi = s.sink = true, s.softcap = 3, s.window_left = 40; }},
      {"positions", [](SoftmaxSpec& s) { s.positions = true, s.window_left = 30; }},
      {"dense", [](SoftmaxSpec& s) { s.storage = SoftmaxSpec::Storage::kDense, s.queries = {37, 37, 37, 37}; }},
      {"paged", [](SoftmaxSpec& s) { s.storage = SoftmaxSpec::Storage::kPaged; }},
      {"pages of 48", [](SoftmaxSpec& s) { s.storage = SoftmaxSpec::Storage::kPaged, s.page_tokens = 48; }},
      {"strided and misaligned", [](SoftmaxSpec& s) { s.stride_padding = 3, s.misalign = 1; }},
      {"reversed channels", [](SoftmaxSpec& s) { s.reversed_channels = true; }},
      {"scores far apart", [](SoftmaxSpec& s) { s.score_spread = 40; }},
  };
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
    for (const auto& [what, change] : options) {
      SoftmaxSpec spec = base;
      spec.dtype = dtype;
      change(spec);
      ExpectRight(spec, HashText(what), what);
    }
  }
}

TEST_P(SoftmaxKernel, AgreesAcrossSegments) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    ExpectRight({.queries = {2}, .keys = {4 * 2048 + 77}, .query_heads = 2, .kv_heads = 1, .dtype = dtype, .sink = true}, 5, "segments");
    ExpectRight({.queries = {3}, .keys = {2048}, .query_heads = 2, .kv_heads = 1, .dtype = dtype}, 6, "one whole segment");
    ExpectRight({.queries = {3}, .keys = {2049}, .query_heads = 2, .kv_heads = 1, .dtype = dtype, .window_left = 100}, 8, "window");
  }
}

// Later blocks beat earlier maxima by far more than the rescaling threshold, several times in one segment and across segments; and the
// other way round, later blocks hardly count.
TEST_P(SoftmaxKernel, AgreesWhenTheMaximumKeepsRising) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const double slope : {0.02, -0.02}) {
      SoftmaxCase c = MakeCase({.queries = {7}, .keys = {2600}, .query_heads = 2, .kv_heads = 1, .dtype = dtype, .causal = Causal::kNone}, 51);
      const TensorView mask = c.owned.Add(Role::kMaskAdd, DType::kF32, {2600});
      testing::SequenceData& s = c.sequences[0];
      for (int64_t j = 0; j < s.keys; ++j) mask.Set({j}, slope * static_cast<double>(j));
      for (size_t i = 0; i < s.bias.size(); ++i) s.bias[i] = mask.At({static_cast<int64_t>(i) % s.keys});
      RunCase(c);
      const CaseErrors errors = Compare(c, dtype == DType::kBf16 && GetParam()->native_pairs);
      EXPECT_LE(errors.kernel, kShuffleMargin * errors.twin + Floor(dtype)) << slope << ", twin " << errors.twin;
      EXPECT_LE(errors.lse_kernel, kShuffleMargin * errors.lse_twin + 64 * EpsilonOf(DType::kF32)) << slope << ", twin " << errors.lse_twin;
    }
  }
}

std::vector<unsigned char> Bytes(const TensorView& view) {
  const auto* data = static_cast<const unsigned char*>(view.data);
  return {data, data + BytesOf(view.dtype, static_cast<size_t>(view.count()))};
}

TEST_P(SoftmaxKernel, BitsDoNotDependOnThreadsOrSplits) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    SoftmaxCase c = MakeCase({.queries = {3, 40}, .keys = {5000, 2100}, .query_heads = 2, .kv_heads = 1, .dtype = dtype, .sink = true}, 11);
    RunCase(c);
    const auto o = Bytes(c.owned.problem.Get(Role::kO));
    const auto lse = Bytes(c.owned.problem.Get(Role::kLse));
    for (const int threads : {1, 2, 3, 5}) {
      ThreadPool pool(threads);
      for (const int splits : {0, 1, 4}) {
        c.owned.problem.splits = splits;
        RunCase(c, &pool);
        EXPECT_EQ(o, Bytes(c.owned.problem.Get(Role::kO))) << threads << " threads, " << splits << " splits";
        EXPECT_EQ(lse, Bytes(c.owned.problem.Get(Role::kLse)));
      }
    }
  }
}

TEST_P(SoftmaxKernel, BitsDoNotDependOnTheBatch) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    // The same last sequence alone and behind others: MakeCase draws in order, so copy its values.
    SoftmaxCase batch = MakeCase({.queries = {7, 13, 5}, .keys = {90, 2500, 300}, .dtype = dtype}, 3);
    SoftmaxCase alone = MakeCase({.queries = {5}, .keys = {300}, .dtype = dtype}, 4);
    for (const auto& [role, first] : {std::pair{Role::kQ, 20}, {Role::kK, 2590}, {Role::kV, 2590}}) {
      const TensorView to = alone.owned.problem.Get(role);
      const TensorView from = batch.owned.problem.Get(role);
      const size_t row = BytesOf(dtype, static_cast<size_t>(to.stride[0]));
      std::memcpy(to.data, static_cast<char*>(from.data) + static_cast<size_t>(first) * row, static_cast<size_t>(to.shape[0]) * row);
    }
    RunCase(batch);
    RunCase(alone);
    const auto all = Bytes(batch.owned.problem.Get(Role::kO));
    const auto one = Bytes(alone.owned.problem.Get(Role::kO));
    EXPECT_EQ(std::vector<unsigned char>(all.end() - static_cast<ptrdiff_t>(one.size()), all.end()), one);
  }
}

TEST_P(SoftmaxKernel, DecodeGivesTheBitsOfPrefill) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    const int64_t tokens = 2200;
    SoftmaxCase prefill = MakeCase({.queries = {tokens}, .keys = {tokens}, .query_heads = 2, .kv_heads = 1, .head_dim = 16, .v_head_dim = 16,
                                    .dtype = dtype}, 21);
    RunCase(prefill);
    for (const int64_t at : {int64_t{0}, int64_t{70}, int64_t{2047}, int64_t{2048}, tokens - 1}) {
      SoftmaxCase decode = MakeCase({.queries = {1}, .keys = {at + 1}, .query_heads = 2, .kv_heads = 1, .head_dim = 16, .v_head_dim = 16,
                                     .dtype = dtype}, 22);
      const size_t k_row = BytesOf(dtype, 16);
      const size_t q_row = 2 * k_row;
      const auto data = [](SoftmaxCase& c, Role role) { return static_cast<char*>(c.owned.problem.Get(role).data); };
      std::memcpy(data(decode, Role::kQ), data(prefill, Role::kQ) + static_cast<size_t>(at) * q_row, q_row);
      std::memcpy(data(decode, Role::kK), data(prefill, Role::kK), static_cast<size_t>(at + 1) * k_row);
      std::memcpy(data(decode, Role::kV), data(prefill, Role::kV), static_cast<size_t>(at + 1) * k_row);
      RunCase(decode);
      EXPECT_EQ(std::memcmp(data(decode, Role::kO), data(prefill, Role::kO) + static_cast<size_t>(at) * q_row, q_row), 0) << at;
    }
  }
}

TEST_P(SoftmaxKernel, NanBehindAMaskOrWindowNeverLeaks) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    SoftmaxSpec spec{.queries = {8}, .keys = {200}, .dtype = dtype, .window_left = 20};
    SoftmaxCase clean = MakeCase(spec, 31);
    SoftmaxCase dirty = MakeCase(spec, 31);
    RunCase(clean);
    for (const Role role : {Role::kK, Role::kV}) {
      const TensorView view = dirty.owned.problem.Get(role);
      // Keys 0..171 are behind the window of every query (the first, at 192, sees 172 on).
      for (int64_t j = 0; j < 172; ++j) {
        for (int64_t c = 0; c < spec.head_dim; ++c) view.Set({j, 0, c}, j % 2 == 0 ? std::nan("") : testing::kInf);
      }
    }
    RunCase(dirty);
    EXPECT_EQ(Bytes(clean.owned.problem.Get(Role::kLse)), Bytes(dirty.owned.problem.Get(Role::kLse)));
    const CaseErrors errors = Compare(dirty, dtype == DType::kBf16 && GetParam()->native_pairs);
    EXPECT_TRUE(errors.all_finite);
    EXPECT_LE(errors.kernel, kShuffleMargin * errors.twin + Floor(dtype));
  }
}

TEST_P(SoftmaxKernel, AVisibleNanIsNotHidden) {
  for (const Role role : {Role::kK, Role::kV}) {
    SoftmaxCase c = MakeCase({.queries = {70}, .keys = {70}, .query_heads = 1, .kv_heads = 1}, 33);
    c.owned.problem.Get(role).Set({66, 0, 5}, std::nan(""));
    RunCase(c);
    const TensorView o = c.owned.problem.Get(Role::kO);
    EXPECT_TRUE(std::isfinite(o.At({65, 0, 5})));
    EXPECT_TRUE(std::isnan(o.At({66, 0, 5})));
    EXPECT_TRUE(std::isnan(o.At({69, 0, 5})));
  }
}

// A row whose only visible keys are NaN has no maximum; it is not an empty row.
TEST_P(SoftmaxKernel, ARowOfNanKeysIsNotTakenForAnEmptyOne) {
  SoftmaxCase c = MakeCase({.queries = {1}, .keys = {1}, .query_heads = 1, .kv_heads = 1}, 34);
  c.owned.problem.Get(Role::kK).Set({0, 0, 5}, std::nan(""));
  RunCase(c);
  EXPECT_TRUE(std::isnan(c.owned.problem.Get(Role::kO).At({0, 0, 5})));
}

TEST_P(SoftmaxKernel, EmptyRowsAreZeroAndKeepTheSinkInLse) {
  for (const bool sink : {false, true}) {
    SoftmaxCase c = MakeCase({.queries = {10}, .keys = {4}, .sink = sink}, 35);
    RunCase(c);
    const TensorView o = c.owned.problem.Get(Role::kO);
    const TensorView lse = c.owned.problem.Get(Role::kLse);
    for (int64_t t = 0; t < 6; ++t) {
      for (int64_t h = 0; h < 4; ++h) {
        for (int64_t ch = 0; ch < 32; ++ch) EXPECT_EQ(o.At({t, h, ch}), 0.0);
        if (sink) {
          EXPECT_NEAR(lse.At({t, h}), c.sink[static_cast<size_t>(h)], 1e-6);
        } else {
          EXPECT_EQ(lse.At({t, h}), -testing::kInf);
        }
      }
    }
  }
}

TEST_P(SoftmaxKernel, QuantisedKeysAndValuesAreReadWithTheirScales) {
  OwnedProblem owned;
  Rng rng(41);
  const TensorView q = owned.Add(Role::kQ, DType::kF32, {1, 1, 2, 8});
  const TensorView k = owned.Add(Role::kK, DType::kI8, {1, 5, 1, 8});
  const TensorView v = owned.Add(Role::kV, DType::kI4, {1, 5, 1, 8});
  const TensorView k_scale = owned.Add(Role::kKScale, DType::kF32, {1, 5, 1});
  const TensorView v_scale = owned.Add(Role::kVScale, DType::kF32, {1, 5, 1});
  const TensorView o = owned.Add(Role::kO, DType::kF32, {1, 1, 2, 8});
  for (int64_t i = 0; i < 16; ++i) StoreElement(q.data, q.dtype, static_cast<size_t>(i), rng.Normal());
  for (int64_t i = 0; i < 40; ++i) StoreElement(k.data, k.dtype, static_cast<size_t>(i), static_cast<double>(rng.Below(200)) - 100);
  for (int64_t i = 0; i < 40; ++i) StoreElement(v.data, v.dtype, static_cast<size_t>(i), static_cast<double>(rng.Below(15)) - 7);
  for (int64_t j = 0; j < 5; ++j) k_scale.Set({0, j, 0}, 0.01 + 0.001 * static_cast<double>(j)), v_scale.Set({0, j, 0}, 0.1 + static_cast<double>(j));
  Problem& p = owned.problem;
  p.scale = 0.35;
  p.k_scale = p.v_scale = ScaleGranularity::kPerToken;
  auto plan = PrepareSoftmaxOn(*GetParam(), p, kTile, nullptr);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  plan.value()->Pack();
  plan.value()->Run();
  for (int64_t h = 0; h < 2; ++h) {
    double sum = 0, weight[5];
    for (int64_t j = 0; j < 5; ++j) {
      double dot = 0;
      for (int64_t c = 0; c < 8; ++c) dot += q.At({0, 0, h, c}) * k.At({0, j, 0, c}) * k_scale.At({0, j, 0});
      sum += weight[j] = std::exp(0.35 * dot);
    }
    for (int64_t c = 0; c < 8; ++c) {
      double want = 0, magnitude = 0;
      for (int64_t j = 0; j < 5; ++j) {
        want += weight[j] / sum * v.At({0, j, 0, c}) * v_scale.At({0, j, 0});
        magnitude += weight[j] / sum * std::fabs(v.At({0, j, 0, c}) * v_scale.At({0, j, 0}));
      }
      EXPECT_NEAR(o.At({0, 0, h, c}), want, 32 * EpsilonOf(DType::kF32) * magnitude);
    }
  }
}

TEST_P(SoftmaxKernel, RefusesWhatItDoesNotServeAndSaysWhy) {
  const auto refused = [](const char* word, const std::function<void(Problem&)>& change) {
    SoftmaxCase c = MakeCase({.queries = {3}, .keys = {5}}, 1);
    change(c.owned.problem);
    const auto plan = PrepareSoftmaxOn(*GetParam(), c.owned.problem, kTile, nullptr);
    ASSERT_FALSE(plan.ok()) << word;
    EXPECT_NE(plan.error().message.find(word), std::string::npos) << plan.error().message;
  };
  refused("gradients", [](Problem& p) { p.phase = Phase::kBackward; });
  refused("role 5", [](Problem& p) { p.arguments.push_back({Role::kWeights, p.Get(Role::kO)}); });
  refused("scale", [](Problem& p) { p.scale = std::nan(""); });
  refused("softcap", [](Problem& p) { p.softcap = -1; });
  refused("f64", [](Problem& p) { p.arguments[0].tensor.dtype = DType::kF64; });
  refused("no multiple", [](Problem& p) { p.arguments[0].tensor.shape[1] = p.arguments[1].tensor.shape[1] = 3; });
  refused("SINK", [](Problem& p) { p.arguments.push_back({Role::kSink, p.Get(Role::kLse)}); });
}

INSTANTIATE_TEST_SUITE_P(Backends, SoftmaxKernel, ::testing::ValuesIn(testing::TestTables()),
                         [](const auto& parameter) { return std::string(parameter.param->name); });

}  // namespace
}  // namespace assay
