// Every operation of simd.h on every backend, against the C library and core/dtype.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
#include <vector>

#include "core/dtype.h"
#include "core/random.h"
#include "kernels/dispatch.h"
#include "kernels/simd_probe.h"
#include "kernels/test_tables.h"

namespace assay {
namespace probe_generic {
extern const SimdProbe kProbe;
}
namespace probe_avx2 {
extern const SimdProbe kProbe;
}
namespace probe_avx512 {
extern const SimdProbe kProbe;
}
#ifdef ASSAY_HAS_EMULATION
namespace avx512_emulated {
extern const SimdProbe kProbe;
}
#endif

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinite = std::numeric_limits<float>::infinity();

std::vector<const SimdProbe*> Probes() {
  std::vector<const SimdProbe*> probes = {&probe_generic::kProbe};
#if defined(__x86_64__)
  if (TableFor(Backend::kAvx2).ok()) probes.push_back(&probe_avx2::kProbe);
  if (TableFor(Backend::kAvx512).ok()) probes.push_back(&probe_avx512::kProbe);
#endif
#ifdef ASSAY_HAS_EMULATION
  probes.push_back(&avx512_emulated::kProbe);
#endif
  return probes;
}

class Simd : public ::testing::TestWithParam<const SimdProbe*> {
 protected:
  // Results of a unary operation; the count is odd, and what lies beyond it must stay as it was.
  static std::vector<float> Apply(int operation, const std::vector<float>& in) {
    std::vector<float> out(in.size() + 16, -77.0f);
    GetParam()->unary(operation, in.data(), static_cast<int>(in.size()), out.data());
    for (size_t i = in.size(); i < out.size(); ++i) EXPECT_EQ(out[i], -77.0f);
    out.resize(in.size());
    return out;
  }
  // The largest relative error over [low, high] by a fine sweep.
  template <class Truth>
  static double WorstError(int operation, double low, double high, const Truth& truth) {
    std::vector<float> in;
    for (int i = 0; i <= 20000; ++i) in.push_back(static_cast<float>(low + (high - low) * i / 20000));
    const std::vector<float> out = Apply(operation, in);
    double worst = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      const double want = truth(static_cast<double>(in[i]));
      if (want != 0) worst = std::max(worst, std::fabs(static_cast<double>(out[i]) - want) / std::fabs(want));
    }
    return worst;
  }
};

TEST_P(Simd, Exp2IsWithinTwoRoundings) {
  EXPECT_LT(WorstError(0, -126, 127, [](double x) { return std::exp2(x); }), 2 * EpsilonOf(DType::kF32));
  EXPECT_LT(WorstError(1, -126, 127, [](double x) { return std::exp2(x); }), 3 * EpsilonOf(DType::kF32));
}
TEST_P(Simd, ExpIsWithinThreeRoundings) {
  EXPECT_LT(WorstError(2, -87, 88, [](double x) { return std::exp(x); }), 3 * EpsilonOf(DType::kF32));
}
TEST_P(Simd, TanhIsWithinFourRoundingsAlsoNearZero) {
  EXPECT_LT(WorstError(3, -20, 20, [](double x) { return std::tanh(x); }), 4 * EpsilonOf(DType::kF32));
  EXPECT_LT(WorstError(3, -1e-3, 1e-3, [](double x) { return std::tanh(x); }), 4 * EpsilonOf(DType::kF32));
}
TEST_P(Simd, SoftplusIsWithinSixRoundings) {
  EXPECT_LT(WorstError(11, -80, 80, [](double x) { return std::log1p(std::exp(-std::fabs(x))) + std::max(x, 0.0); }), 6 * EpsilonOf(DType::kF32));
  const std::vector<float> out = Apply(11, {-kInfinite, kInfinite, kNan});
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_EQ(out[1], kInfinite);
  EXPECT_TRUE(std::isnan(out[2]));
}
TEST_P(Simd, ExponentialsTakeInfinitiesAndNan) {
  for (const int operation : {0, 1, 2}) {
    const std::vector<float> out = Apply(operation, {-kInfinite, -1e30f, kNan, 0.0f, -200.0f});
    EXPECT_EQ(out[0], 0.0f);
    EXPECT_EQ(out[1], 0.0f);
    EXPECT_TRUE(std::isnan(out[2]));
    EXPECT_EQ(out[3], 1.0f);
    EXPECT_EQ(out[4], 0.0f);
  }
  const std::vector<float> out = Apply(3, {-kInfinite, kInfinite, kNan});
  EXPECT_EQ(out[0], -1.0f);
  EXPECT_EQ(out[1], 1.0f);
  EXPECT_TRUE(std::isnan(out[2]));
}
TEST_P(Simd, RoundsAsTheLibraryDoes) {
  const std::vector<float> in = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 0.49f, -0.51f, 7.0f, -7.0f, 1e6f, 8388609.0f, -3.25f, 1e20f};
  const std::vector<float> floors = Apply(4, in), ceils = Apply(5, in), rounds = Apply(6, in), magnitudes = Apply(7, in);
  for (size_t i = 0; i < in.size(); ++i) {
    EXPECT_EQ(floors[i], std::floor(in[i]));
    EXPECT_EQ(ceils[i], std::ceil(in[i]));
    EXPECT_EQ(rounds[i], std::nearbyint(in[i]));
    EXPECT_EQ(magnitudes[i], std::fabs(in[i]));
  }
}
TEST_P(Simd, MaxAndMinReturnTheirSecondOperandForNan) {
  EXPECT_EQ(Apply(8, {kNan, 0.0f, 3.0f}), (std::vector<float>{1.0f, 1.0f, 3.0f}));
  const std::vector<float> out = Apply(9, {kNan, 0.0f, 3.0f});
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], 0.0f);
  EXPECT_EQ(out[2], 1.0f);
}
TEST_P(Simd, SelectsByComparison) {
  EXPECT_EQ(Apply(10, {-3.0f, 0.0f, kNan, -0.0f, kInfinite}), (std::vector<float>{-1, 1, 2, 1, 1}));
}

TEST_P(Simd, ReadsAllBf16AndAllF16Exactly) {
  std::vector<uint16_t> in(65536);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint16_t>(i);
  std::vector<float> bf16(in.size()), f16(in.size());
  GetParam()->from_bf16(in.data(), 65536, bf16.data());
  GetParam()->from_f16(in.data(), 65536, f16.data());
  for (size_t i = 0; i < in.size(); ++i) {
    const float want_bf16 = F32FromBf16(in[i]), want_f16 = F32FromF16(in[i]);
    if (std::isnan(want_bf16)) EXPECT_TRUE(std::isnan(bf16[i])) << i;
    else EXPECT_EQ(bf16[i], want_bf16) << i;
    if (std::isnan(want_f16)) EXPECT_TRUE(std::isnan(f16[i])) << i;
    else EXPECT_EQ(f16[i], want_f16) << i;
  }
}
TEST_P(Simd, WritesBf16RoundedToNearestEven) {
  Rng rng(1);
  std::vector<float> in = {1.00390625f, 1.01171875f, kNan, -kNan, kInfinite, -kInfinite, 0.0f, -0.0f, 1e-40f, 3.4e38f, 65535.5f, -1.0f, 1e-45f, 2.0f, 3.0f, 4.0f};
  for (int i = 0; i < 1600; ++i) {
    const auto bits = static_cast<uint32_t>(rng.Next());
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    in.push_back(value);
  }
  std::vector<uint16_t> out(in.size());
  GetParam()->to_bf16(in.data(), static_cast<int>(in.size()), out.data());
  for (size_t i = 0; i < in.size(); ++i) EXPECT_EQ(out[i], Bf16FromF32(in[i])) << in[i];
}
TEST_P(Simd, ReadsAllInt8) {
  std::vector<int8_t> in(256);
  for (int i = 0; i < 256; ++i) in[static_cast<size_t>(i)] = static_cast<int8_t>(i - 128);
  std::vector<float> out(256);
  GetParam()->from_i8(in.data(), 256, out.data());
  for (int i = 0; i < 256; ++i) EXPECT_EQ(out[static_cast<size_t>(i)], static_cast<float>(i - 128));
}
// Every code of each cache format, at every place of a unit.
TEST_P(Simd, DecodesUnitsOfEveryCacheFormat) {
  const std::tuple<DType, int, bool> formats[] = {{DType::kF16, 16, true}, {DType::kE4m3, 8, true}, {DType::kI8, 8, false}, {DType::kI4, 4, false}};
  for (const auto& [dtype, bits, is_float] : formats) {
    const int elements = 32 / bits, count = 1 << bits;
    std::vector<uint32_t> units(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) {
      for (int e = 0; e < elements; ++e) units[static_cast<size_t>(i)] |= static_cast<uint32_t>((i + 37 * e) % count) << (e * bits);
    }
    std::vector<float> out(static_cast<size_t>(elements * count));
    GetParam()->decode(units.data(), count, bits, is_float, out.data());
    for (int i = 0; i < count; ++i) {
      for (int e = 0; e < elements; ++e) {
        const double want = LoadElement(units.data(), dtype, static_cast<size_t>(i * elements + e));
        const auto got = static_cast<double>(out[static_cast<size_t>(e * count + i)]);
        if (!std::isnan(want)) EXPECT_EQ(got, want) << NameOf(dtype) << " " << i << " " << e;
        else if (dtype == DType::kF16) EXPECT_TRUE(std::isnan(got));
        else EXPECT_EQ(std::fabs(got), 480.0);  // an e4m3 NaN: noted when a page is packed
      }
    }
  }
}
TEST_P(Simd, DotsPairsOfBf16) {
  Rng rng(2);
  std::vector<uint32_t> a(64), b(64);
  std::vector<float> out(64, 0.5f);
  std::vector<double> want(64), magnitude(64);
  for (size_t i = 0; i < 64; ++i) {
    double x[4];
    uint16_t bits[4];
    for (int k = 0; k < 4; ++k) bits[k] = Bf16FromF32(static_cast<float>(rng.Normal())), x[k] = static_cast<double>(F32FromBf16(bits[k]));
    a[i] = bits[0] | static_cast<uint32_t>(bits[1]) << 16;
    b[i] = bits[2] | static_cast<uint32_t>(bits[3]) << 16;
    want[i] = 0.5 + x[0] * x[2] + x[1] * x[3];
    magnitude[i] = 0.5 + std::fabs(x[0] * x[2]) + std::fabs(x[1] * x[3]);
  }
  GetParam()->dot_pairs(a.data(), b.data(), 64, out.data());
  for (size_t i = 0; i < 64; ++i) EXPECT_NEAR(static_cast<double>(out[i]), want[i], 3 * EpsilonOf(DType::kF32) * magnitude[i]);
}
TEST_P(Simd, DotsBytesWithoutSaturation) {
  Rng rng(3);
  std::vector<uint32_t> a(64), b(64);
  for (size_t i = 0; i < 64; ++i) a[i] = static_cast<uint32_t>(rng.Next()), b[i] = static_cast<uint32_t>(rng.Next());
  a[0] = 0xffffffffu, b[0] = 0x7f7f7f7fu;
  a[1] = 0xffffffffu, b[1] = 0x80808080u;
  std::vector<int32_t> out(64);
  GetParam()->dot_bytes(a.data(), b.data(), 64, out.data());
  for (size_t i = 0; i < 64; ++i) {
    int32_t want = 0;
    for (int k = 0; k < 4; ++k) want += static_cast<int32_t>((a[i] >> (8 * k)) & 255) * static_cast<int8_t>((b[i] >> (8 * k)) & 255);
    EXPECT_EQ(out[i], want);
  }
}
TEST_P(Simd, ReducesAllLanes) {
  std::vector<float> in(16);
  float want = 0;
  for (int i = 0; i < GetParam()->lanes; ++i) want += in[static_cast<size_t>(i)] = static_cast<float>(1 << i);
  float sum = 0, maximum = 0;
  GetParam()->reduce(in.data(), &sum, &maximum);
  EXPECT_EQ(sum, want);
  EXPECT_EQ(maximum, static_cast<float>(1 << (GetParam()->lanes - 1)));
}

INSTANTIATE_TEST_SUITE_P(Backends, Simd, ::testing::ValuesIn(Probes()), [](const auto& parameter) { 
  return "lanes_" + std::to_string(parameter.param->lanes) + "_" + parameter.param->name; });

}  // namespace
}  // namespace assay
