// Known values: distributions, tests and intervals against SciPy 1.17 (R's definitions) and against hand-made cases.
// How often intervals cover and tests err is in simulation_test.cc.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "stats/bootstrap.h"
#include "stats/descriptive.h"
#include "stats/distributions.h"
#include "stats/equivalence.h"
#include "stats/forecast.h"
#include "stats/growth.h"
#include "stats/interval.h"
#include "stats/multiplicity.h"
#include "stats/paired.h"
#include "stats/power.h"

namespace assay::stats {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

void ExpectRelative(double actual, double expected, double tolerance) {
  EXPECT_LE(std::abs(actual - expected), tolerance * std::abs(expected)) << actual << " is not " << expected;
}

TEST(Distributions, NormalQuantileMatchesScipy) {
  ExpectRelative(NormalQuantile(1e-12), -7.034483825301131, 1e-13);
  ExpectRelative(NormalQuantile(0.001), -3.090232306167813, 1e-14);
  ExpectRelative(NormalQuantile(0.3), -0.5244005127080409, 1e-14);
  ExpectRelative(NormalQuantile(0.975), 1.959963984540054, 1e-14);
  EXPECT_EQ(NormalQuantile(0), -kInfinity);
  EXPECT_TRUE(std::isnan(NormalQuantile(1.5)));
}

TEST(Distributions, StudentQuantileMatchesScipy) {
  ExpectRelative(StudentQuantile(0.975, 1), 12.706204736174694, 1e-12);
  ExpectRelative(StudentQuantile(0.975, 4), 2.7764451051977934, 1e-12);
  ExpectRelative(StudentQuantile(0.975, 29), 2.045229642132703, 1e-12);
  ExpectRelative(StudentQuantile(0.8, 9), 0.8834038596855346, 1e-12);
  ExpectRelative(StudentQuantile(0.9995, 200.5), 3.3397107834261357, 1e-11);
  EXPECT_EQ(StudentQuantile(0.5, 3), 0);
}

TEST(Distributions, BetaBinomialAndStudentCdfMatchScipy) {
  ExpectRelative(StudentCdf(-2.5, 7), 0.020496109292876444, 1e-12);
  ExpectRelative(RegularizedBeta(0.3, 2.5, 0.7), 0.029814024845250465, 1e-12);
  ExpectRelative(BinomialCdf(3, 20, 0.3), 0.10708680450373087, 1e-12);
  EXPECT_EQ(BinomialCdf(20, 20, 0.3), 1);
  EXPECT_EQ(BinomialCdf(-1, 20, 0.3), 0);
}

TEST(Descriptive, WelfordKeepsASmallSpreadBesideALargeMean) {
  Welford moments;
  for (const double value : {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16}) moments.Add(value);
  EXPECT_EQ(moments.mean(), 1e9 + 10);
  EXPECT_EQ(moments.variance(), 30);
}

TEST(Descriptive, MergedMomentsEqualThoseOfAllValues) {
  const std::vector<double> values = {3, 1, 4, 1, 5, 9, 2, 6};
  Welford left = Accumulate(std::span(values).first(3));
  left.Merge(Accumulate(std::span(values).subspan(3)));
  left.Merge(Welford());
  ExpectRelative(left.mean(), Accumulate(values).mean(), 1e-15);
  ExpectRelative(left.variance(), Accumulate(values).variance(), 1e-14);
  Welford empty;
  empty.Merge(left);
  EXPECT_EQ(empty.count(), 8);
}

TEST(Descriptive, QuantilesAreType7) {
  const std::vector<double> values = {3, 1, 4, 1, 5, 9, 2, 6};
  EXPECT_DOUBLE_EQ(Quantile(values, 0.1), 1.0);
  EXPECT_DOUBLE_EQ(Quantile(values, 0.25), 1.75);
  EXPECT_DOUBLE_EQ(Quantile(values, 0.5), 3.5);
  EXPECT_DOUBLE_EQ(Quantile(values, 0.9), 6.9);
}

TEST(Descriptive, QuantilesOfInfiniteLatenciesAreInfiniteNotNan) {
  const std::vector<double> values = {1, 2, kInfinity};
  EXPECT_EQ(Quantile(values, 1), kInfinity);
  EXPECT_EQ(Quantile(values, 0.5), 2);
}

TEST(Descriptive, EmptyOrNanDataHaveNoQuantile) {
  EXPECT_TRUE(std::isnan(Median({})));
  EXPECT_TRUE(std::isnan(Median(std::vector<double>{1, kNan, 2})));
  EXPECT_TRUE(std::isnan(Accumulate(std::vector<double>{1}).variance()));
}

TEST(Interval, WilsonMatchesScipyAndIsNeverEmptyAtTheEnds) {
  const Interval some = WilsonProportion(7, 20);
  ExpectRelative(some.low, 0.1811918241010821, 1e-12);
  ExpectRelative(some.high, 0.5671457233147637, 1e-12);
  const Interval none = WilsonProportion(0, 10);
  EXPECT_EQ(none.low, 0);
  ExpectRelative(none.high, 0.27753279986288926, 1e-12);
  EXPECT_EQ(WilsonProportion(10, 10).high, 1);
  EXPECT_EQ(WilsonProportion(0, 0).width(), 1);
}

TEST(Interval, TooFewValuesGiveAnUnboundedIntervalNotAPoint) {
  const std::vector<double> one = {3};
  EXPECT_EQ(StudentMean(one).estimate, 3);
  EXPECT_EQ(StudentMean(one).width(), kInfinity);
  EXPECT_EQ(BootstrapMean(one, {}).width(), kInfinity);
  EXPECT_EQ(StudentMean({}).width(), kInfinity);
  EXPECT_EQ(StudentMean(std::vector<double>{1, kNan, 2}).width(), kInfinity);
  EXPECT_EQ(Bootstrap(std::vector<double>{1, kNan, 2}, Median, {}).width(), kInfinity);
}

TEST(Interval, P99IsBoundedAboveFrom368ValuesOn) {
  std::vector<double> values;
  for (int i = 0; i < 367; ++i) values.push_back(i);
  EXPECT_EQ(QuantileInterval(values, 0.99).high, kInfinity);
  values.push_back(367);
  EXPECT_EQ(QuantileInterval(values, 0.99).high, 367);
}

TEST(Interval, MedianOfTwentyUsesTheTextbookRanks) {
  // Ranks 6 and 15 of 20: binomial coverage 95.86 % (Conover, Practical Nonparametric Statistics, table A3).
  std::vector<double> values;
  for (int i = 1; i <= 20; ++i) values.push_back(i);
  const Interval interval = QuantileInterval(values, 0.5);
  EXPECT_EQ(interval.low, 6);
  EXPECT_EQ(interval.high, 15);
}

TEST(Bootstrap, SameSeedSameIntervalOtherSeedAnother) {
  const std::vector<double> values = {1.2, 0.7, 3.1, 2.2, 0.1, 1.9};
  const Interval first = BootstrapMean(values, {.seed = 1});
  EXPECT_EQ(BootstrapMean(values, {.seed = 1}).low, first.low);
  EXPECT_NE(BootstrapMean(values, {.seed = 2}).low, first.low);
}

TEST(Bootstrap, BcaOfSkewedDataMatchesScipy) {
  // SciPy 1.17, 200,000 resamples: the plain percentile interval would be 0.70 to 2.70.
  const std::vector<double> skewed = {0.1, 0.2, 0.25, 0.4, 0.5, 0.55, 0.7, 0.9, 1.0, 1.3, 1.8, 2.6, 4.0, 7.5};
  const Interval interval = BootstrapMean(skewed, {.resamples = 100000, .seed = 3});
  EXPECT_NEAR(interval.low, 0.8393, 0.02);
  EXPECT_NEAR(interval.high, 3.163, 0.05);
}

TEST(Bootstrap, ConstantDataGiveAPointInEveryKind) {
  const std::vector<double> values(10, 2.5);
  for (const auto kind : {BootstrapKind::kPercentile, BootstrapKind::kExpandedPercentile, BootstrapKind::kBca}) {
    const Interval interval = BootstrapMean(values, {.kind = kind});
    EXPECT_EQ(interval.low, 2.5);
    EXPECT_EQ(interval.high, 2.5);
  }
}

TEST(Paired, SignTestIsTheExactBinomial) {
  std::vector<double> differences(12, 1.0);
  differences[0] = differences[1] = differences[2] = -1;
  differences.push_back(0);
  const SignResult result = SignTest(differences);
  EXPECT_EQ(result.zero, 1);
  ExpectRelative(result.p_value, 0.14599609375, 1e-12);
}

TEST(Paired, WilcoxonIsExactForSmallSamplesAndTies) {
  ExpectRelative(WilcoxonSignedRank(std::vector<double>{1.1, -0.4, 2.3, 0.7, -0.2, 3.1, 0.9, 1.6, -1.4, 2.2}).p_value,
                 0.064453125, 1e-12);
  // Ties and a zero: all 2^11 sign patterns enumerated.
  const WilcoxonResult tied = WilcoxonSignedRank(std::vector<double>{1, -1, 2, 2, -3, 4, 5, 5, -2, 6, 0, 3});
  EXPECT_EQ(tied.used, 11);
  EXPECT_EQ(tied.rank_sum_positive, 54.0);
  ExpectRelative(tied.p_value, 0.0673828125, 1e-12);
}

TEST(Paired, WilcoxonOfLargeSamplesMatchesScipysApproximation) {
  std::vector<double> distinct;
  std::vector<double> tied;
  for (int i = 1; i <= 60; ++i) {
    distinct.push_back(i % 3 != 0 ? i : -i);
    tied.push_back(i % 3 != 0 ? i / 2 + 1 : -(i / 2 + 1));
  }
  ExpectRelative(WilcoxonSignedRank(distinct).p_value, 0.03622649417878663, 1e-12);
  ExpectRelative(WilcoxonSignedRank(tied).p_value, 0.03588192192296947, 1e-12);
}

TEST(Paired, RatioIsTheGeometricMeanAndItsInverseIsExact) {
  const std::vector<double> a = {2, 4.2, 6.1, 8};
  const std::vector<double> b = {1, 2, 3, 4};
  const auto ratio = ComparePaired(a, b, {.seed = 5});
  ASSERT_TRUE(ratio.ok());
  ExpectRelative(ratio->ratio.estimate, std::pow(2 * 2.1 * (6.1 / 3) * 2, 0.25), 1e-14);
  EXPECT_EQ(ratio->pairs, 4);
  EXPECT_LE(ratio->ratio.low, ratio->ratio.estimate);
  EXPECT_EQ(ratio->median_ratio.low, 0);  // four pairs bound no median at 95 %
}

TEST(Paired, RefusesWhatHasNoRatio) {
  EXPECT_FALSE(LogRatios(std::vector<double>{1, 2}, std::vector<double>{1}).ok());
  EXPECT_FALSE(LogRatios(std::vector<double>{1, 0}, std::vector<double>{1, 1}).ok());
  EXPECT_FALSE(LogRatios(std::vector<double>{1, kNan}, std::vector<double>{1, 1}).ok());
  EXPECT_FALSE(ComparePaired(std::vector<double>{1, kInfinity}, std::vector<double>{1, 1}, {}).ok());
}

TEST(Equivalence, OutcomeAndPValueAgreeAtTheMargin) {
  const std::vector<double> differences = {0.01, -0.02, 0.015, 0.0, -0.01, 0.005};
  const EquivalenceResult wide = EquivalenceTest(differences, 0.05);
  EXPECT_EQ(wide.outcome, Equivalence::kEquivalent);
  EXPECT_LT(wide.p_value, 0.05);
  // The margin at which the interval just touches is the one with p = alpha: two routes to one fact.
  const double edge = std::max(-wide.interval.low, wide.interval.high);
  ExpectRelative(EquivalenceTest(differences, edge).p_value, 0.05, 1e-9);
  EXPECT_EQ(EquivalenceTest(differences, edge * 0.99).outcome, Equivalence::kCannotTell);
}

TEST(Equivalence, DifferenceBeyondTheMarginIsNamed) {
  EXPECT_EQ(EquivalenceTest(std::vector<double>{0.2, 0.21, 0.19, 0.2}, 0.05).outcome, Equivalence::kDifferent);
  EXPECT_EQ(EquivalenceTest(std::vector<double>{-0.2, -0.21, -0.19}, 0.05).outcome, Equivalence::kDifferent);
  EXPECT_EQ(EquivalenceTest(std::vector<double>{0.2}, 0.05).outcome, Equivalence::kCannotTell);
}

TEST(Equivalence, EachMarginBindsOnItsOwnSide) {
  const std::vector<double> low = {-0.02, -0.06, -0.03, -0.05};  // interval -0.062 to -0.019
  EXPECT_EQ(EquivalenceTest(low, 0.05).outcome, Equivalence::kCannotTell);
  const std::vector<double> high = {0.02, 0.06, 0.03, 0.05};
  EXPECT_EQ(EquivalenceTest(high, 0.05).outcome, Equivalence::kCannotTell);
  EXPECT_EQ(EquivalenceTest(high, 0.07).outcome, Equivalence::kEquivalent);
}

TEST(Equivalence, NonInferiorityLooksAtOneSideOnly) {
  const std::vector<double> better = {3, 4, 5, 4, 3};
  EXPECT_TRUE(NonInferiorityTest(better, 1).non_inferior);
  EXPECT_FALSE(NonInferiorityTest(std::vector<double>{-3, -4, -5}, 1).non_inferior);
}

TEST(Multiplicity, AdjustedValuesMatchRAndKeepTheOrderGiven) {
  const std::vector<double> p = {0.01, 0.04, 0.03, 0.005, 0.2};
  const std::vector<double> holm = HolmAdjust(p);
  const std::vector<double> expected_holm = {0.04, 0.09, 0.09, 0.025, 0.2};  // R: p.adjust(p, "holm")
  for (size_t i = 0; i < p.size(); ++i) EXPECT_DOUBLE_EQ(holm[i], expected_holm[i]);
  EXPECT_TRUE(HolmAdjust({}).empty());
}

TEST(Power, PairsNeededInvertsTheDetectableRatio) {
  for (const double deviation : {0.01, 0.05, 0.3})
    for (const double ratio : {1.005, 1.02, 1.1, 0.8}) {
      const long pairs = PairsNeeded(deviation, ratio);
      const double effect = std::exp(std::abs(std::log(ratio)));
      EXPECT_LE(MinimumDetectableRatio(deviation, pairs), effect * (1 + 1e-12));
      if (pairs > 2) {
        EXPECT_GT(MinimumDetectableRatio(deviation, pairs - 1), effect);
      }
    }
  EXPECT_EQ(PairsNeeded(0.1, 1), 0);
  EXPECT_EQ(MinimumDetectableRatio(0.1, 1), kInfinity);
}

TEST(Power, ProportionsMatchFleiss) {
  EXPECT_EQ(TrialsPerArmNeeded(0.6, 0.5), 388);  // R: power.prop.test(p1 = .6, p2 = .5, power = .8): n = 387.3
  const double drop = MinimumDetectableDrop(0.9, 1000);
  EXPECT_LE(TrialsPerArmNeeded(0.9, 0.9 - drop), 1000);
  EXPECT_GT(TrialsPerArmNeeded(0.9, 0.9 - drop * 0.98), 1000);
  EXPECT_TRUE(std::isnan(MinimumDetectableDrop(0.9, 1)));
}

TEST(Forecast, ConformalQuantileTakesTheCorrectedRankOrPromisesNothing) {
  std::vector<double> errors;
  for (int i = 1; i <= 19; ++i) errors.push_back(i);
  EXPECT_EQ(ConformalQuantile(errors, 0.95), 19);  // ceil(20 * 0.95) = 19
  EXPECT_EQ(ConformalQuantile(errors, 0.9), 18);
  errors.pop_back();
  EXPECT_EQ(ConformalQuantile(errors, 0.95), kInfinity);  // ceil(19 * 0.95) = 19 of 18
  EXPECT_EQ(ConformalQuantile({}, 0.5), kInfinity);
}

TEST(Forecast, BrierScoreAndSkill) {
  const std::vector<double> p = {0.9, 0.2, 0.5};
  const std::vector<int> outcomes = {1, 0, 1};
  EXPECT_DOUBLE_EQ(BrierScore(p, outcomes), (0.01 + 0.04 + 0.25) / 3);
  EXPECT_DOUBLE_EQ(BrierSkill(p, outcomes), 1 - 0.1 / (2.0 / 9));
  EXPECT_TRUE(std::isnan(BrierSkill(std::vector<double>{0.4}, std::vector<int>{1})));
}

TEST(Growth, FitMatchesScipyAndRefusesWhatHasNoLogarithm) {
  const std::vector<double> x = {1, 2, 4, 8, 16};
  const auto fit = FitGrowth(x, std::vector<double>{3, 5.5, 13, 22, 50});
  ASSERT_TRUE(fit.ok());
  ExpectRelative(fit->exponent.estimate, 1.0117787378107137, 1e-12);
  ExpectRelative(fit->log_intercept, 1.0716518805029145, 1e-12);
  ExpectRelative(fit->exponent.high - fit->exponent.estimate, 0.12428634453498572, 1e-11);
  EXPECT_FALSE(FitGrowth(x, std::vector<double>{3, 0, 13, 22, 50}).ok());
  EXPECT_FALSE(FitGrowth(std::vector<double>{2, 2, 2}, std::vector<double>{1, 2, 3}).ok());
  EXPECT_FALSE(FitGrowth(std::vector<double>{1, 2}, std::vector<double>{1, 2}).ok());
}

}  // namespace
}  // namespace assay::stats
