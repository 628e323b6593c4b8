// The blocked cache: what is appended is read back, within half a step of the format, and padding stays zero.
#include "kernels/kv_layout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/random.h"

namespace assay {
namespace {

struct Format {
  const char* name;
  KvFormat format;
  double relative;  // rounding of a value, of its own magnitude
  double step;      // or of the largest magnitude that shares its scale
};
constexpr ScaleGranularity kToken = ScaleGranularity::kPerToken;
constexpr ScaleGranularity kChannel = ScaleGranularity::kPerPageChannel;
constexpr ScaleGranularity kGroup = ScaleGranularity::kPerGroup32;
const Format kFormats[] = {
    {"f32", {DType::kF32}, 0, 0},
    {"bf16", {DType::kBf16}, 0x1p-8, 0},
    {"f16", {DType::kF16}, 0x1p-11, 0x1p-25},
    {"e4m3", {DType::kE4m3}, 0x1p-4, 0x1p-10},
    {"e4m3_scaled", {DType::kE4m3, kToken, kToken}, 0x1p-4, 0x1p-10},
    {"i8_token", {DType::kI8, kToken, kToken}, 1e-6, 0.5 / 127},
    {"i8_group", {DType::kI8, kGroup, kGroup}, 1e-6, 0.5 / 127},
    {"i8_channel", {DType::kI8, kChannel, kToken}, 1e-6, 1.0 / 127},  // a page's earlier tokens may be rounded twice
    {"i4_token", {DType::kI4, kToken, kToken}, 1e-6, 0.5 / 7},
    {"i4_group", {DType::kI4, kGroup, kGroup}, 1e-6, 0.5 / 7},
    {"i4_channel", {DType::kI4, kChannel, kToken}, 1e-6, 1.0 / 7},
};

class KvCacheFormat : public ::testing::TestWithParam<Format> {};

constexpr int64_t kHeads = 2, kWidth = 40, kVWidth = 37;

struct Data {
  Tensor k, v;
  explicit Data(int64_t tokens, uint64_t seed) : k(DType::kF32, {tokens, kHeads, kWidth}), v(DType::kF32, {tokens, kHeads, kVWidth}) {
    Rng rng(seed);
    for (int64_t i = 0; i < k.view().count(); ++i) k.data<float>()[i] = static_cast<float>(rng.Normal());
    for (int64_t i = 0; i < v.view().count(); ++i) v.data<float>()[i] = static_cast<float>(rng.Normal());
  }
};

TEST_P(KvCacheFormat, ReadsBackWhatWasAppendedInAnyPieces) {
  const Format& format = GetParam();
  const auto layout = KvLayout::Make(format.format, kHeads, kWidth, kVWidth);
  ASSERT_TRUE(layout.ok()) << layout.error().message;
  const Data data(150, 1);
  auto cache = KvCache::Make(*layout, 2, 8);
  ASSERT_TRUE(cache.ok());
  int64_t first = 0;
  for (const int64_t tokens : {0, 1, 62, 2, 64, 21}) {
    TensorView k = data.k.view(), v = data.v.view();
    k.data = static_cast<float*>(k.data) + first * k.stride[0];
    v.data = static_cast<float*>(v.data) + first * v.stride[0];
    k.shape[0] = v.shape[0] = tokens;
    ASSERT_TRUE(cache->Append(1, k, v).ok());
    first += tokens;
  }
  ASSERT_EQ(cache->tokens(1), 150);
  ASSERT_EQ(cache->pages(1).size(), 3u);
  EXPECT_EQ(cache->tokens(0), 0);
  constexpr double kLargest = 4.5;  // of 12,000 normal values
  for (int64_t t = 0; t < 150; ++t) {
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t c = 0; c < kWidth; ++c) {
        const double want = data.k.view().At({t, h, c});
        ASSERT_NEAR(cache->K(1, t, h, c), want, format.relative * std::fabs(want) + format.step * kLargest) << t << " " << h << " " << c;
      }
      for (int64_t c = 0; c < kVWidth; ++c) {
        const double want = data.v.view().At({t, h, c});
        ASSERT_NEAR(cache->V(1, t, h, c), want, format.relative * std::fabs(want) + format.step * kLargest) << t << " " << h << " " << c;
      }
    }
  }
}

TEST_P(KvCacheFormat, ATruncatedTailIsForgottenAndItsPagesAreReused) {
  const auto layout = KvLayout::Make(GetParam().format, kHeads, kWidth, kVWidth);
  auto cache = KvCache::Make(*layout, 1, 2);
  const Data data(100, 2);
  ASSERT_TRUE(cache->Append(0, data.k.view(), data.v.view()).ok());
  const double kept = cache->K(0, 64, 1, 3);
  cache->Truncate(0, 65);  // one token of the second page stays
  ASSERT_EQ(cache->pages(0).size(), 2u);
  EXPECT_EQ(cache->K(0, 64, 1, 3), kept);
  cache->Truncate(0, 64);
  EXPECT_EQ(cache->pages(0).size(), 1u);
  cache->Truncate(0, 10);
  EXPECT_EQ(cache->pages(0).size(), 1u);
  for (int64_t t = 10; t < 64; ++t) {
    EXPECT_EQ(cache->K(0, t, 1, 3), 0.0);
    EXPECT_EQ(cache->V(0, t, 1, 3), 0.0);
  }
  const Data more(118, 3);
  ASSERT_TRUE(cache->Append(0, more.k.view(), more.v.view()).ok());
  EXPECT_NEAR(cache->V(0, 127, 1, 3), more.v.view().At({117, 1, 3}), 0.5);
  const auto full = cache->Append(0, more.k.view(), more.v.view());
  ASSERT_FALSE(full.ok());
  EXPECT_NE(full.error().message.find("full"), std::string::npos);
}

TEST_P(KvCacheFormat, ANonFiniteValueIsNotedAndStaysNonFinite) {
  const auto layout = KvLayout::Make(GetParam().format, kHeads, kWidth, kVWidth);
  auto cache = KvCache::Make(*layout, 1, 2);
  const Data data(70, 4);
  const auto note = [&](size_t page, int64_t head) {
    uint32_t bits;
    std::memcpy(&bits, cache->pages(0)[page].K(*layout, head) + layout->note_offset(), sizeof(bits));
    return bits != 0;
  };
  data.v.view().Set({3, 1, 5}, std::numeric_limits<double>::quiet_NaN());
  ASSERT_TRUE(cache->Append(0, data.k.view(), data.v.view()).ok());
  EXPECT_TRUE(std::isnan(cache->V(0, 3, 1, 5)));
  EXPECT_TRUE(note(0, 1));
  EXPECT_FALSE(note(0, 0));
  EXPECT_FALSE(note(1, 1));
}

TEST_P(KvCacheFormat, BytesPerTokenCountsValuesAndScales) {
  const KvFormat& format = GetParam().format;
  const auto layout = KvLayout::Make(format, kHeads, kWidth, kVWidth);
  const auto scale_bytes = [](ScaleGranularity granularity, int64_t channels) {
    switch (granularity) {
      case ScaleGranularity::kNone: return 0.0;
      case ScaleGranularity::kPerToken: return 4.0;
      case ScaleGranularity::kPerPageChannel: return 4.0 * static_cast<double>(channels) / 64;
      case ScaleGranularity::kPerGroup32: return 8.0;  // two groups in 40 and in 37 channels
    }
    return -1.0;
  };
  const double want = kHeads * ((kWidth + kVWidth) * BitsOf(format.dtype) / 8.0 + scale_bytes(format.k_scale, kWidth) + scale_bytes(format.v_scale, kVWidth));
  EXPECT_DOUBLE_EQ(layout->bytes_per_token(), want);
  EXPECT_EQ(layout->page_bytes % 64, 0);
  EXPECT_EQ(layout->head_bytes % 64, 0);
}

INSTANTIATE_TEST_SUITE_P(Formats, KvCacheFormat, ::testing::ValuesIn(kFormats), [](const auto& parameter) { return parameter.param.name; });

TEST(KvLayout, StripsOfSixteenColumnsHoldPairsOfTheSummedAxis) {
  const auto layout = KvLayout::Make({DType::kBf16}, 1, 4, 32);
  auto cache = KvCache::Make(*layout, 1, 1);
  Tensor k(DType::kBf16, {18, 1, 4}), v(DType::kBf16, {18, 1, 32});
  k.view().Set({17, 0, 3}, 5);
  v.view().Set({3, 0, 21}, 7);
  ASSERT_TRUE(cache->Append(0, k.view(), v.view()).ok());
  const auto* keys = reinterpret_cast<const uint16_t*>(cache->pages(0)[0].K(*layout, 0));
  // K: strip 1 (tokens 16..31) of 2 channel pairs; pair 1, column 1, second of the pair.
  EXPECT_EQ(F32FromBf16(keys[((1 * 2 + 1) * 16 + 1) * 2 + 1]), 5.0f);
  EXPECT_EQ(KeyIndex(*layout, 17, 3), static_cast<size_t>(((1 * 2 + 1) * 16 + 1) * 2 + 1));
  const auto* values = reinterpret_cast<const uint16_t*>(cache->pages(0)[0].V(*layout, 0));
  // V: strip 1 (channels 16..31) of 32 token pairs; pair 1, column 5, second of the pair.
  EXPECT_EQ(F32FromBf16(values[((1 * 32 + 1) * 16 + 5) * 2 + 1]), 7.0f);
  EXPECT_EQ(ValueIndex(*layout, 3, 21), static_cast<size_t>(((1 * 32 + 1) * 16 + 5) * 2 + 1));
}

TEST(KvLayout, RefusesFormatsThatCannotBeAndSaysWhatCan) {
  EXPECT_NE(KvLayout::Make({DType::kI8}, 1, 64, 64).error().message.find("scale granularity"), std::string::npos);
  EXPECT_NE(KvLayout::Make({DType::kBf16, kToken}, 1, 64, 64).error().message.find("no scales"), std::string::npos);
  EXPECT_FALSE(KvLayout::Make({DType::kF64}, 1, 64, 64).ok());
  EXPECT_FALSE(KvLayout::Make({DType::kBf16}, 0, 64, 64).ok());
  EXPECT_FALSE(KvLayout::Make({DType::kBf16}, 1, 1 << 20, 64).ok());
  EXPECT_FALSE(KvCache::Make(*KvLayout::Make({DType::kBf16}, 1, 64, 64), 1, int64_t{1} << 60).ok());
}

}  // namespace
}  // namespace assay
