#include "stats/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/random.h"
#include "stats/descriptive.h"
#include "stats/distributions.h"

namespace assay::stats {
namespace {

double Mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Acceleration: skewness of the jackknife values over 6 (Efron 1987, equation 6.6).
template <class Function>
double Acceleration(std::span<const double> values, const Function& statistic) {
  std::vector<double> left_out(values.begin() + 1, values.end());
  std::vector<double> jackknife;
  jackknife.reserve(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    jackknife.push_back(statistic(std::span<const double>(left_out)));
    if (i < left_out.size()) left_out[i] = values[i];
  }
  const double mean = Mean(jackknife);
  double squares = 0;
  double cubes = 0;
  for (const double value : jackknife) {
    const double d = mean - value;
    squares += d * d;
    cubes += d * d * d;
  }
  return squares > 0 ? cubes / (6 * std::pow(squares, 1.5)) : 0;
}

template <class Function>
Interval BootstrapOf(std::span<const double> values, const Function& statistic, const BootstrapOptions& options) {
  Interval result{.confidence = options.confidence};
  if (values.empty()) return result;
  result.estimate = statistic(values);
  if (values.size() < 2 || options.resamples < 1 || std::isnan(result.estimate)) return result;

  Rng rng(options.seed);
  std::vector<double> sample(values.size());
  std::vector<double> replicates(static_cast<size_t>(options.resamples));
  for (double& replicate : replicates) {
    for (double& value : sample) value = values[rng.Below(values.size())];
    replicate = statistic(std::span<const double>(sample));
  }
  replicates = SortedOrEmpty(replicates);
  if (replicates.empty()) return result;  // some resample has no statistic: nothing can be said

  const double tail = (1 - options.confidence) / 2;
  double low = tail;
  double high = 1 - tail;
  const auto n = static_cast<double>(values.size());
  if (options.kind == BootstrapKind::kExpandedPercentile) {
    low = NormalCdf(std::sqrt(n / (n - 1)) * StudentQuantile(tail, n - 1));
    high = 1 - low;
  } else if (options.kind == BootstrapKind::kBca) {
    const auto below = std::lower_bound(replicates.begin(), replicates.end(), result.estimate);
    const auto not_above = std::upper_bound(replicates.begin(), replicates.end(), result.estimate);
    // Half of the ties count as below: a discrete statistic (a median) repeats its own estimate often.
    const double share = (0.5 * static_cast<double>((below - replicates.begin()) + (not_above - replicates.begin()))) /
                         static_cast<double>(replicates.size());
    const double one = 1 / static_cast<double>(replicates.size());
    const double bias = NormalQuantile(std::clamp(share, one, 1 - one));
    const double acceleration = Acceleration(values, statistic);
    const auto adjusted = [&](double probability) {
      const double z = bias + NormalQuantile(probability);
      const double denominator = 1 - acceleration * z;
      return denominator > 0 ? NormalCdf(bias + z / denominator) : (z > 0 ? 1.0 : 0.0);
    };
    low = adjusted(tail);
    high = adjusted(1 - tail);
  }
  result.low = QuantileSorted(replicates, low);
  result.high = QuantileSorted(replicates, high);
  return result;
}

}  // namespace

Interval Bootstrap(std::span<const double> values, const Statistic& statistic, const BootstrapOptions& options) {
  return BootstrapOf(values, statistic, options);
}

Interval BootstrapMean(std::span<const double> values, const BootstrapOptions& options) {
  return BootstrapOf(values, Mean, options);
}

}  // namespace assay::stats
