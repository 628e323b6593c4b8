#include "stats/distributions.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace assay::stats {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Continued fraction of the incomplete beta function (DLMF 8.17.22), evaluated by Lentz's method; converges fast for
// x < (a + 1) / (a + b + 2).
double BetaFraction(double x, double a, double b) {
  constexpr double kTiny = 1e-300;
  double c = 1;
  double d = 1 - (a + b) * x / (a + 1);
  d = 1 / (std::abs(d) < kTiny ? kTiny : d);
  double value = d;
  for (int m = 1; m <= 10000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 + even * d;
    d = 1 / (std::abs(d) < kTiny ? kTiny : d);
    c = 1 + even / c;
    if (std::abs(c) < kTiny) c = kTiny;
    value *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 + odd * d;
    d = 1 / (std::abs(d) < kTiny ? kTiny : d);
    c = 1 + odd / c;
    if (std::abs(c) < kTiny) c = kTiny;
    value *= d * c;
    if (std::abs(d * c - 1) < 1e-16) break;
  }
  return value;
}

}  // namespace

double NormalCdf(double x) {
  return 0.5 * std::erfc(-x / std::numbers::sqrt2);
}

// Acklam's rational approximation (relative error 1e-9), then one step of Halley's method on the exact CDF.
double NormalQuantile(double p) {
  if (!(p >= 0 && p <= 1)) return std::numeric_limits<double>::quiet_NaN();
  if (p == 0) return -kInfinity;
  if (p == 1) return kInfinity;
  if (p > 0.5) return -NormalQuantile(1 - p);  // exact symmetry; 1 - p loses nothing that p still had
  double x;
  if (p < 0.02425) {
    const double q = std::sqrt(-2 * std::log(p));
    x = (((((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838e+00) * q -
           2.549732539343734e+00) *
              q +
          4.374664141464968e+00) *
             q +
         2.938163982698783e+00) /
        ((((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996e+00) * q +
          3.754408661907416e+00) *
             q +
         1);
  } else {
    const double q = p - 0.5;
    const double r = q * q;
    x = (((((-3.969683028665376e+01 * r + 2.209460984245205e+02) * r - 2.759285104469687e+02) * r +
           1.383577518672690e+02) *
              r -
          3.066479806614716e+01) *
             r +
         2.506628277459239e+00) *
        q /
        (((((-5.447609879822406e+01 * r + 1.615858368580409e+02) * r - 1.556989798598866e+02) * r +
           6.680131188771972e+01) *
              r -
          1.328068155288572e+01) *
             r +
         1);
  }
  const double error = (NormalCdf(x) - p) * std::sqrt(2 * std::numbers::pi) * std::exp(x * x / 2);
  return x - error / (1 + x * error / 2);
}

double RegularizedBeta(double x, double a, double b) {
  if (!(x > 0)) return 0;
  if (x >= 1) return 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * BetaFraction(x, a, b) / a;
  return 1 - front * BetaFraction(1 - x, b, a) / b;
}

double StudentCdf(double t, double df) {
  if (std::isnan(t) || !(df > 0)) return std::numeric_limits<double>::quiet_NaN();
  const double tail = 0.5 * RegularizedBeta(df / (df + t * t), df / 2, 0.5);
  return t > 0 ? 1 - tail : tail;
}

// Bisection on the tail: slow and certain; a quantile is asked for once per interval.
double StudentQuantile(double p, double df) {
  if (!(p >= 0 && p <= 1) || !(df > 0)) return std::numeric_limits<double>::quiet_NaN();
  if (p == 0) return -kInfinity;
  if (p == 1) return kInfinity;
  if (p > 0.5) return -StudentQuantile(1 - p, df);
  if (p == 0.5) return 0;
  double low = -1;
  while (StudentCdf(low, df) > p && low > -1e300) low *= 2;
  double high = 0;
  for (int i = 0; i < 200 && high - low > 1e-15 * std::abs(low); ++i) {
    const double middle = 0.5 * (low + high);
    (StudentCdf(middle, df) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

// P(X <= k) = I_{1-p}(n - k, k + 1).
double BinomialCdf(long successes, long trials, double p) {
  if (successes < 0) return 0;
  if (successes >= trials) return 1;
  return RegularizedBeta(1 - p, static_cast<double>(trials - successes), static_cast<double>(successes) + 1);
}

}  // namespace assay::stats
