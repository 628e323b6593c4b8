// Statistics tested by what they promise: intervals cover as often as they say, tests err as often as they say. Seeded,
// so that a failure is a fact about the code. The tolerance of a rate from n runs is 4 standard errors, beside a stated
// allowance where the method is approximate.
#include <cmath>
#include <functional>
#include <vector>

#include "core/random.h"
#include "gtest/gtest.h"
#include "stats/bootstrap.h"
#include "stats/descriptive.h"
#include "stats/equivalence.h"
#include "stats/forecast.h"
#include "stats/growth.h"
#include "stats/interval.h"
#include "stats/multiplicity.h"
#include "stats/paired.h"
#include "stats/power.h"

namespace assay::stats {
namespace {

using Draw = std::function<double(Rng&)>;

std::vector<double> Sample(Rng& rng, int count, const Draw& draw) {
  std::vector<double> values(static_cast<size_t>(count));
  for (double& value : values) value = draw(rng);
  return values;
}

double Normal(Rng& rng) {
  return rng.Normal();
}

// Share of `runs` in which `event` happens.
double Rate(int runs, uint64_t seed, const std::function<bool(Rng&)>& event) {
  Rng rng(seed);
  int hits = 0;
  for (int run = 0; run < runs; ++run) hits += event(rng) ? 1 : 0;
  return static_cast<double>(hits) / runs;
}

struct Allowance {
  double below = 0;  // how far the method may miss its nominal rate
  double above = 0;
};

void ExpectRate(double rate, double nominal, int runs, Allowance allowance = {}) {
  const double noise = 4 * std::sqrt(nominal * (1 - nominal) / runs);
  EXPECT_GE(rate, nominal - noise - allowance.below);
  EXPECT_LE(rate, nominal + noise + allowance.above);
}

TEST(Coverage, StudentIntervalOfNormalData) {
  for (const int n : {3, 10, 40})
    ExpectRate(Rate(8000, 11, [&](Rng& rng) { return StudentMean(Sample(rng, n, Normal)).Contains(0); }), 0.95, 8000);
}

TEST(Coverage, WilsonIsNearNominalEvenForRareEvents) {
  for (const double p : {0.02, 0.1, 0.5, 0.95}) {
    const double rate = Rate(8000, 12, [&](Rng& rng) {
      long successes = 0;
      for (int i = 0; i < 60; ++i) successes += rng.Uniform() < p ? 1 : 0;
      return WilsonProportion(successes, 60).Contains(p);
    });
    ExpectRate(rate, 0.95, 8000,
               {.below = 0.03, .above = 0.03});  // it oscillates with n p (Brown, Cai and DasGupta 2001)
  }
}

TEST(Coverage, QuantileIntervalHoldsForAnyDistribution) {
  const Draw heavy = [](Rng& rng) { return rng.LogNormal(0, 2); };
  for (const double p : {0.5, 0.9}) {
    const double truth = p == 0.5 ? 1.0 : std::exp(2 * 1.2815515655446004);
    const double rate =
        Rate(5000, 13, [&](Rng& rng) { return QuantileInterval(Sample(rng, 80, heavy), p).Contains(truth); });
    ExpectRate(rate, 0.95, 5000, {.above = 0.05});  // conservative by construction
  }
}

TEST(Coverage, ExpandedPercentileBootstrapOfSmallSamples) {
  for (const int n : {8, 25}) {
    const double rate = Rate(2000, 14, [&](Rng& rng) {
      const auto values = Sample(rng, n, Normal);
      return BootstrapMean(values, {.resamples = 600, .seed = rng.Next(), .kind = BootstrapKind::kExpandedPercentile})
          .Contains(0);
    });
    ExpectRate(rate, 0.95, 2000, {.below = 0.015, .above = 0.01});
  }
}

TEST(Coverage, PlainPercentileBootstrapIsTooNarrowForSmallSamplesAsItsCommentSays) {
  const double rate = Rate(3000, 15, [](Rng& rng) {
    const auto values = Sample(rng, 8, Normal);
    return BootstrapMean(values, {.resamples = 600, .seed = rng.Next(), .kind = BootstrapKind::kPercentile})
        .Contains(0);
  });
  EXPECT_LT(rate, 0.92);
  EXPECT_GT(rate, 0.84);
}

TEST(Coverage, BcaBeatsThePercentileOnSkewedData) {
  const Draw skewed = [](Rng& rng) { return rng.Exponential(1); };
  const auto coverage = [&](BootstrapKind kind) {
    return Rate(2000, 16, [&](Rng& rng) {
      const auto values = Sample(rng, 30, skewed);
      return BootstrapMean(values, {.resamples = 600, .seed = rng.Next(), .kind = kind}).Contains(1);
    });
  };
  const double bca = coverage(BootstrapKind::kBca);
  EXPECT_GT(bca, coverage(BootstrapKind::kPercentile));
  ExpectRate(bca, 0.95, 2000, {.below = 0.02});
}

TEST(Coverage, BcaOfTheMedian) {
  const double rate = Rate(1500, 17, [](Rng& rng) {
    const auto values = Sample(rng, 41, [](Rng& r) { return r.LogNormal(0, 1); });
    return Bootstrap(values, Median, {.resamples = 400, .seed = rng.Next()}).Contains(1);
  });
  ExpectRate(rate, 0.95, 1500, {.below = 0.02, .above = 0.02});
}

TEST(Coverage, PairedRatioCoversTheTruthThroughASharedDisturbance) {
  // Both halves of a pair see the same slow machine; the log ratio does not.
  const double rate = Rate(1500, 19, [](Rng& rng) {
    std::vector<double> a, b;
    for (int i = 0; i < 20; ++i) {
      const double machine = rng.LogNormal(0, 0.5);
      a.push_back(1.1 * machine * rng.LogNormal(0, 0.05));
      b.push_back(machine * rng.LogNormal(0, 0.05));
    }
    const auto compared = ComparePaired(a, b, {.resamples = 500, .seed = rng.Next()});
    return compared.ok() && compared->ratio.Contains(1.1) && compared->ratio.width() < 0.2;
  });
  ExpectRate(rate, 0.95, 1500, {.below = 0.015, .above = 0.01});
}

TEST(Coverage, MedianRatioSurvivesOutliersThatRuinTheGeometricMean) {
  const double rate = Rate(1500, 20, [](Rng& rng) {
    std::vector<double> a, b;
    for (int i = 0; i < 25; ++i) {
      a.push_back(rng.LogNormal(0, 0.02) * (rng.Uniform() < 0.1 ? 5 : 1));  // preempted once in ten
      b.push_back(rng.LogNormal(0, 0.02));
    }
    const auto compared = ComparePaired(a, b, {.resamples = 2, .seed = rng.Next()});
    return compared.ok() && compared->median_ratio.low <= 1.01 && compared->median_ratio.high >= 1 &&
           compared->median_ratio.high < 1.1;
  });
  EXPECT_GT(rate, 0.94);
}

TEST(Coverage, GrowthExponent) {
  const double rate = Rate(4000, 21, [](Rng& rng) {
    std::vector<double> x, y;
    for (int k = 8; k < 15; ++k) {
      x.push_back(std::exp2(k));
      y.push_back(std::pow(x.back(), 1.5) * rng.LogNormal(0, 0.1));
    }
    const auto fit = FitGrowth(x, y);
    return fit.ok() && fit->exponent.Contains(1.5);
  });
  ExpectRate(rate, 0.95, 4000);
}

TEST(Coverage, ConformalQuantileOfAnyErrorDistribution) {
  const Draw heavy = [](Rng& rng) { return std::abs(rng.Normal()) * rng.LogNormal(0, 1); };
  const double rate = Rate(6000, 23, [&](Rng& rng) {
    const double bound = ConformalQuantile(Sample(rng, 49, heavy), 0.9);
    return heavy(rng) <= bound;
  });
  ExpectRate(rate, 0.9, 6000);
}

TEST(ErrorRate, SignAndWilcoxonRejectAtMostAsOftenAsNominal) {
  const double sign = Rate(6000, 31, [](Rng& rng) { return SignTest(Sample(rng, 25, Normal)).p_value <= 0.05; });
  EXPECT_LE(sign, 0.05 + 4 * std::sqrt(0.05 * 0.95 / 6000));  // discrete: conservative
  EXPECT_GE(sign, 0.02);
  for (const int n : {12, 70}) {
    const double wilcoxon =
        Rate(6000, 32, [&](Rng& rng) { return WilcoxonSignedRank(Sample(rng, n, Normal)).p_value <= 0.05; });
    ExpectRate(wilcoxon, 0.05, 6000, {.below = 0.01});
  }
}

TEST(ErrorRate, EquivalenceIsClaimedAtTheMarginAsOftenAsAlpha) {
  const double rate = Rate(6000, 33, [](Rng& rng) {
    const auto differences =
        Sample(rng, 30, [](Rng& r) { return 0.5 + 0.5 * r.Normal(); });  // truth exactly at the margin
    return EquivalenceTest(differences, 0.5).outcome == Equivalence::kEquivalent;
  });
  ExpectRate(rate, 0.05, 6000);
}

TEST(ErrorRate, NonInferiorityIsClaimedAtTheMarginAsOftenAsAlpha) {
  const double rate = Rate(6000, 34, [](Rng& rng) {
    return NonInferiorityTest(Sample(rng, 20, [](Rng& r) { return -1 + r.Normal(); }), 1).non_inferior;
  });
  ExpectRate(rate, 0.05, 6000);
}

TEST(ErrorRate, HolmHoldsTheFamily) {
  // 20 hypotheses, all true.
  const double family = Rate(4000, 35, [](Rng& rng) {
    std::vector<double> p = Sample(rng, 20, [](Rng& r) { return r.Uniform(); });
    for (const double adjusted : HolmAdjust(p))
      if (adjusted <= 0.05) return true;
    return false;
  });
  ExpectRate(family, 0.05, 4000);
}

TEST(Power, DetectableRatioIsDetectedAsOftenAsPromised) {
  for (const int pairs : {6, 25}) {
    const double effect = std::log(MinimumDetectableRatio(0.1, pairs));
    const double rate = Rate(6000, 41, [&](Rng& rng) {
      return !StudentMean(Sample(rng, pairs, [&](Rng& r) { return effect + 0.1 * r.Normal(); })).Contains(0);
    });
    ExpectRate(rate, 0.8, 6000, {.below = 0.02, .above = 0.02});
  }
}

TEST(Power, ProportionsAreToldApartAsOftenAsPromised) {
  const long trials = TrialsPerArmNeeded(0.9, 0.8);
  const double rate = Rate(3000, 42, [&](Rng& rng) {
    double first = 0, second = 0;
    for (long i = 0; i < trials; ++i) {
      first += rng.Uniform() < 0.9 ? 1 : 0;
      second += rng.Uniform() < 0.8 ? 1 : 0;
    }
    const auto n = static_cast<double>(trials);
    const double pooled = (first + second) / (2 * n);
    return std::abs(first - second) / n > 1.959963984540054 * std::sqrt(2 * pooled * (1 - pooled) / n);
  });
  ExpectRate(rate, 0.8, 3000, {.below = 0.02, .above = 0.02});
}

}  // namespace
}  // namespace assay::stats
