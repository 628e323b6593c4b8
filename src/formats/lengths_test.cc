#include "formats/lengths.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>

#include "core/random.h"

namespace assay::formats {
namespace {

TEST(Lengths, AFitRecoversTheLogNormalItWasDrawnFrom) {
  const LengthDistribution truth{
      .parts = {{.weight = 1, .median_tokens = 900, .sigma = 0.7}}, .min_tokens = 1, .max_tokens = 1000000};
  Rng rng(7);
  std::vector<int64_t> sample;
  for (int i = 0; i < 20000; ++i) sample.push_back(truth.Quantile(rng.Uniform()));
  auto fit = FitLogNormal(sample, 1);
  ASSERT_TRUE(fit.ok()) << fit.error().message;
  // Four standard errors: sigma / sqrt(n) of the log median, sigma / sqrt(2 n) of sigma.
  EXPECT_NEAR(std::log(fit->distribution.parts[0].median_tokens), std::log(900.0), 4 * 0.7 / std::sqrt(20000.0));
  EXPECT_NEAR(fit->distribution.parts[0].sigma, 0.7, 4 * 0.7 / std::sqrt(40000.0));
  EXPECT_LT(fit->ks_distance, 1.63 / std::sqrt(20000.0)) << "the 1 % point of the Kolmogorov distribution";
}

TEST(Lengths, ASecondPartIsFoundWhereThereIsOne) {
  const LengthDistribution truth{.parts = {{.weight = 0.7, .median_tokens = 100, .sigma = 0.5},
                                           {.weight = 0.3, .median_tokens = 4000, .sigma = 0.1}},
                                 .min_tokens = 1,
                                 .max_tokens = 100000};
  Rng rng(8);
  std::vector<int64_t> sample;
  for (int i = 0; i < 20000; ++i) sample.push_back(truth.Quantile(rng.Uniform()));
  auto one = FitLogNormal(sample, 1);
  auto two = FitLogNormal(sample, 2);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_GT(one->ks_distance, 0.2);
  EXPECT_LT(two->ks_distance, 0.015);
  EXPECT_NEAR(two->distribution.parts[1].weight, 0.3, 0.02);
  EXPECT_NEAR(two->distribution.parts[1].median_tokens, 4000, 40);
}

TEST(Lengths, QuantileInvertsCdf) {
  EXPECT_TRUE(rc::check("the smallest length whose Cdf reaches p", [] {
    LengthDistribution d{.parts = {{.weight = 0.4,
                                    .median_tokens = *rc::gen::inRange(1, 5000) * 1.0,
                                    .sigma = *rc::gen::inRange(0, 20) * 0.1},
                                   {.weight = 0.6,
                                    .median_tokens = *rc::gen::inRange(1, 5000) * 1.0,
                                    .sigma = *rc::gen::inRange(0, 20) * 0.1}},
                         .min_tokens = *rc::gen::inRange(1, 100),
                         .max_tokens = *rc::gen::inRange(100, 10000)};
    const double p = *rc::gen::inRange(0, 1001) * 0.001;
    const int64_t q = d.Quantile(p);
    RC_ASSERT(q >= d.min_tokens && q <= d.max_tokens);
    RC_ASSERT(d.Cdf(static_cast<double>(q)) >= p);
    RC_ASSERT(q == d.min_tokens || d.Cdf(static_cast<double>(q - 1)) < p);
  }));
}

TEST(Lengths, AConstantIsAlwaysItself) {
  const LengthDistribution d = LengthDistribution::Constant(77);
  EXPECT_EQ(d.Quantile(0), 77);
  EXPECT_EQ(d.Quantile(1), 77);
  EXPECT_EQ(d.Mean(), 77);
}

TEST(Lengths, RefusesWhatHasNoLogarithmOrNoSpread) {
  EXPECT_FALSE(FitLogNormal(std::vector<int64_t>{1, 2, 0}, 1).ok());
  EXPECT_FALSE(FitLogNormal(std::vector<int64_t>{5, 5, 5}, 1).ok());
  EXPECT_FALSE(FitLogNormal(std::vector<int64_t>{}, 1).ok());
  EXPECT_FALSE(FitLogNormal(std::vector<int64_t>{1, 2}, 0).ok());
  EXPECT_FALSE(FitLogNormal(std::vector<int64_t>{1, 2}, 9).ok());
  EXPECT_TRUE(FitLogNormal(std::vector<int64_t>{1, 2}, 8).ok());
}

TEST(Lengths, SamplerDrawsWhatTheQuantileSays) {
  const LengthDistribution narrow{.parts = {{.weight = 0.4, .median_tokens = 90, .sigma = 0.7}, {.weight = 0.6, .median_tokens = 800, .sigma = 0}},
                                  .min_tokens = 7, .max_tokens = 5000};
  const LengthDistribution wide{.parts = {{.weight = 1, .median_tokens = 1e5, .sigma = 1}}, .min_tokens = 1, .max_tokens = 10'000'000};
  for (const LengthDistribution& lengths : {narrow, wide, LengthDistribution::Constant(5)}) {
    const LengthSampler sampler(lengths);
    for (int i = 0; i <= 1000; ++i) EXPECT_EQ(sampler.At(i / 1000.0), lengths.Quantile(i / 1000.0)) << i;
  }
}

}  // namespace
}  // namespace assay::formats
