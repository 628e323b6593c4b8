#include "stats/interval.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "stats/descriptive.h"
#include "stats/distributions.h"

namespace assay::stats {
namespace {

// Smallest k in [0, n] for which the monotone `predicate` no longer holds; n if it always does.
template <class Predicate>
long FirstFalse(long n, const Predicate& predicate) {
  long low = 0;
  long high = n;
  while (low < high) {
    const long middle = low + (high - low) / 2;
    if (predicate(middle))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

}  // namespace

Interval StudentMean(std::span<const double> values, double confidence) {
  const Welford moments = Accumulate(values);
  Interval result{.estimate = moments.mean(), .confidence = confidence};
  const double deviation = moments.deviation();
  if (!std::isfinite(deviation)) return result;
  const auto n = static_cast<double>(values.size());
  const double half = StudentQuantile(0.5 + confidence / 2, n - 1) * deviation / std::sqrt(n);
  result.low = result.estimate - half;
  result.high = result.estimate + half;
  return result;
}

// Wilson (1927), equation for the roots of (p_hat - p)^2 = z^2 p (1 - p) / n.
Interval WilsonProportion(long successes, long trials, double confidence) {
  Interval result{.low = 0, .high = 1, .confidence = confidence};
  if (trials <= 0 || successes < 0 || successes > trials) return result;
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double z = NormalQuantile(0.5 + confidence / 2);
  const double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  result.estimate = p;
  // The ends are exact at 0 and n; rounding would put them a hair off.
  result.low = successes == 0 ? 0 : centre - half;
  result.high = successes == trials ? 1 : centre + half;
  return result;
}

// [x_(l), x_(u)] covers the quantile with probability P(l <= X < u), X ~ Binomial(n, p) (David and Nagaraja, Order
// Statistics, 7.1).
Interval QuantileInterval(std::span<const double> values, double probability, double confidence) {
  const std::vector<double> sorted = SortedOrEmpty(values);
  Interval result{.estimate = QuantileSorted(sorted, probability), .confidence = confidence};
  if (sorted.empty() || !(probability > 0 && probability < 1)) return result;
  const auto n = static_cast<long>(sorted.size());
  const double tail = (1 - confidence) / 2;
  // X counts the values below the quantile. Largest l with P(X < l) <= tail; smallest u with P(X >= u) <= tail.
  const long l = FirstFalse(n, [&](long k) { return BinomialCdf(k, n, probability) <= tail; });
  const long u = FirstFalse(n, [&](long k) { return 1 - BinomialCdf(k, n, probability) > tail; }) + 1;
  if (l >= 1) result.low = sorted[static_cast<size_t>(l - 1)];
  if (u <= n) result.high = sorted[static_cast<size_t>(u - 1)];
  return result;
}

}  // namespace assay::stats
