// The base types: conversions against exact values, seeds against stored constants, views against hand-computed offsets.
#include <cmath>
#include <limits>
#include <vector>

#include "core/dtype.h"
#include "core/random.h"
#include "core/result.h"
#include "core/tensor.h"
#include "gtest/gtest.h"

namespace assay {
namespace {

TEST(DType, EveryF16ValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = F32FromF16(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(F32FromF16(F16FromF32(value))));
    } else {
      EXPECT_EQ(F16FromF32(value), bits);
    }
  }
}

TEST(DType, EveryFp8ValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 256; ++bits) {
    const auto code = static_cast<uint8_t>(bits);
    if (!std::isnan(F32FromE4m3(code))) {
      EXPECT_EQ(E4m3FromF32(F32FromE4m3(code)), code);
    }
    if (!std::isnan(F32FromE5m2(code))) {
      EXPECT_EQ(E5m2FromF32(F32FromE5m2(code)), code);
    }
  }
}

TEST(DType, RoundsToNearestEven) {
  EXPECT_EQ(F32FromF16(F16FromF32(1.0f + 0x1p-11f)), 1.0f);               // tie goes to even
  EXPECT_EQ(F32FromF16(F16FromF32(1.0f + 3 * 0x1p-11f)), 1.0f + 0x1p-9f);  // tie goes to even, upwards
  EXPECT_EQ(F32FromBf16(Bf16FromF32(1.0f + 0x1p-8f)), 1.0f);
  EXPECT_EQ(F32FromE4m3(E4m3FromF32(1.0f + 0x1p-4f)), 1.0f);
}

TEST(DType, OverflowSaturatesWhereThereIsNoInfinity) {
  EXPECT_EQ(F32FromE4m3(E4m3FromF32(1e9f)), 448.0f);
  EXPECT_EQ(F32FromE4m3(E4m3FromF32(-std::numeric_limits<float>::infinity())), -448.0f);
  EXPECT_TRUE(std::isinf(F32FromF16(F16FromF32(65520.0f))));
  EXPECT_EQ(F32FromF16(F16FromF32(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isnan(F32FromE4m3(E4m3FromF32(std::nanf("")))));
}

TEST(DType, NibblesPackLowFirst) {
  uint8_t bytes[2] = {0, 0};
  StoreElement(bytes, DType::kI4, 0, -3);
  StoreElement(bytes, DType::kI4, 1, 7);
  StoreElement(bytes, DType::kI4, 2, -99);
  EXPECT_EQ(bytes[0], 0x7d);
  EXPECT_EQ(LoadElement(bytes, DType::kI4, 2), -8);
}

TEST(DType, NamesAndAliasesAgree) {
  EXPECT_EQ(DTypeFromName("fp8"), DType::kE4m3);
  EXPECT_EQ(DTypeFromName(NameOf(DType::kBf16)), DType::kBf16);
  EXPECT_EQ(DTypeFromName("float12"), std::nullopt);
}

TEST(Random, SeedsDependOnTheKeyAlone) {
  EXPECT_EQ(DeriveSeed(1, "a"), DeriveSeed(1, "a"));
  EXPECT_NE(DeriveSeed(1, "a"), DeriveSeed(1, "b"));
  EXPECT_NE(DeriveSeed(1, "a"), DeriveSeed(2, "a"));
}

TEST(Random, MomentsAreRight) {
  Rng rng(7);
  constexpr int kCount = 200000;
  double normal_square = 0, gamma = 0, exponential = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = rng.Normal();
    normal_square += x * x / kCount;
    gamma += rng.Gamma(0.5, 3) / kCount;
    exponential += rng.Exponential(2) / kCount;
  }
  EXPECT_NEAR(normal_square, 1, 0.02);  // standard error 0.003
  EXPECT_NEAR(gamma, 1.5, 0.03);        // standard error 0.005
  EXPECT_NEAR(exponential, 2, 0.03);
}

TEST(Tensor, NegativeAndZeroStridesReadTheRightElement) {
  std::vector<float> data = {0, 1, 2, 3, 4, 5};
  TensorView view{data.data() + 5, DType::kF32, 2, {3, 4}, {-2, 0}};
  EXPECT_EQ(view.At({0, 3}), 5);
  EXPECT_EQ(view.At({2, 1}), 1);
  EXPECT_FALSE(view.is_contiguous());
}

Result<int> Half(int x) {
  if (x % 2 != 0) return BadInput("odd");
  return x / 2;
}
Result<int> Quarter(int x) {
  ASSAY_TRY(const int half, Half(x));
  ASSAY_TRY(const int quarter, Half(half));
  return quarter;
}

TEST(Result, TryPassesErrorsUpAndValuesOn) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).error().message, "odd");
  EXPECT_EQ(Error(BadInput("x")).In("f:1").message, "f:1: x");
}

}  // namespace
}  // namespace assay
