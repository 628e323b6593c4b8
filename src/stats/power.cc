#include "stats/power.h"

#include <cmath>
#include <limits>

#include "stats/distributions.h"

namespace assay::stats {
namespace {

constexpr long kMostPairs = 1L << 40;

// Detectable mean of n normal differences over their deviation. The sum of two Student quantiles approximates the
// noncentral t to about a percent of power from n = 5 on.
double DetectableEffect(long n, TestSize size) {
  const auto df = static_cast<double>(n - 1);
  return (StudentQuantile(1 - size.alpha / 2, df) + StudentQuantile(size.power, df)) /
         std::sqrt(static_cast<double>(n));
}

}  // namespace

double MinimumDetectableRatio(double log_deviation, long pairs, TestSize size) {
  if (pairs < 2) return std::numeric_limits<double>::infinity();
  return std::exp(DetectableEffect(pairs, size) * log_deviation);
}

long PairsNeeded(double log_deviation, double ratio, TestSize size) {
  const double effect = std::abs(std::log(ratio));
  if (!(effect > 0) || !std::isfinite(effect)) return 0;
  long high = 2;
  while (DetectableEffect(high, size) * log_deviation > effect && high < kMostPairs) high *= 2;
  long low = high / 2;
  while (high - low > 1) {
    const long middle = low + (high - low) / 2;
    (middle >= 2 && DetectableEffect(middle, size) * log_deviation <= effect ? high : low) = middle;
  }
  return high;
}

long TrialsPerArmNeeded(double p1, double p2, TestSize size) {
  if (p1 == p2) return 0;
  const double mean = (p1 + p2) / 2;
  const double root = NormalQuantile(1 - size.alpha / 2) * std::sqrt(2 * mean * (1 - mean)) +
                      NormalQuantile(size.power) * std::sqrt(p1 * (1 - p1) + p2 * (1 - p2));
  return static_cast<long>(std::ceil(root * root / ((p1 - p2) * (p1 - p2))));
}

double MinimumDetectableDrop(double p1, long trials, TestSize size) {
  if (!(p1 > 0 && p1 <= 1) || trials < 1 || TrialsPerArmNeeded(p1, 0, size) > trials)
    return std::numeric_limits<double>::quiet_NaN();
  double undetected = 0;
  double detected = p1;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (undetected + detected);
    (middle > 0 && TrialsPerArmNeeded(p1, p1 - middle, size) <= trials ? detected : undetected) = middle;
  }
  return detected;
}

}  // namespace assay::stats
