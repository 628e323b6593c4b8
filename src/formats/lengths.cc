#include "formats/lengths.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "stats/distributions.h"

namespace assay::formats {
namespace {

constexpr double kSmallestSigma = 0.01;

// P(X <= x) of the continuous mixture.
double RawCdf(const LengthDistribution& d, double x) {
  double sum = 0;
  for (const LogNormalPart& part : d.parts) {
    if (part.sigma > 0)
      sum += x > 0 ? part.weight * stats::NormalCdf((std::log(x) - std::log(part.median_tokens)) / part.sigma) : 0;
    else
      sum += x >= part.median_tokens ? part.weight : 0;
  }
  return sum;
}

struct LogCount {
  double log_tokens;
  double count;
};

// One step of expectation maximisation; returns the log-likelihood of the parts it was given.
double Improve(const std::vector<LogCount>& sample, double total, std::vector<LogNormalPart>* parts) {
  struct Sums {
    double weight = 0;
    double first = 0;
    double second = 0;
  };
  std::vector<Sums> sums(parts->size());
  std::vector<double> density(parts->size());
  std::vector<double> mu(parts->size());
  for (size_t k = 0; k < parts->size(); ++k) mu[k] = std::log((*parts)[k].median_tokens);
  double likelihood = 0;
  for (const LogCount& point : sample) {
    double all = 0;
    for (size_t k = 0; k < parts->size(); ++k) {
      const double z = (point.log_tokens - mu[k]) / (*parts)[k].sigma;
      density[k] = (*parts)[k].weight / (*parts)[k].sigma * std::exp(-0.5 * z * z);
      all += density[k];
    }
    if (!(all > 0)) continue;  // further from every part than a double tells
    likelihood += point.count * std::log(all);
    for (size_t k = 0; k < parts->size(); ++k) {
      const double share = density[k] / all * point.count;
      sums[k].weight += share;
      sums[k].first += share * point.log_tokens;
      sums[k].second += share * (point.log_tokens - mu[k]) * (point.log_tokens - mu[k]);
    }
  }
  double assigned = 0;
  for (const Sums& s : sums) assigned += s.weight;
  for (size_t k = 0; k < parts->size(); ++k) {
    LogNormalPart& part = (*parts)[k];
    part.weight = assigned > 0 ? sums[k].weight / assigned : part.weight;
    if (sums[k].weight < 1e-9 * total) continue;  // an empty part stays where it was
    const double mean = sums[k].first / sums[k].weight;
    const double shift = mean - mu[k];
    part.median_tokens = std::exp(mean);
    part.sigma = std::max(kSmallestSigma, std::sqrt(std::max(0.0, sums[k].second / sums[k].weight - shift * shift)));
  }
  return likelihood;
}

}  // namespace

double LengthDistribution::Cdf(double tokens) const {
  if (tokens < static_cast<double>(min_tokens)) return 0;
  if (tokens >= static_cast<double>(max_tokens)) return 1;
  // Lengths are whole: x covers [x - 1/2, x + 1/2).
  const double below = RawCdf(*this, static_cast<double>(min_tokens) - 0.5);
  const double inside = RawCdf(*this, static_cast<double>(max_tokens) + 0.5) - below;
  if (!(inside > 0)) return 1;  // everything lies outside the range: it is cut to its nearest end
  return std::clamp((RawCdf(*this, std::floor(tokens) + 0.5) - below) / inside, 0.0, 1.0);
}

int64_t LengthDistribution::Quantile(double probability) const {
  int64_t low = min_tokens;
  int64_t high = max_tokens;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (Cdf(static_cast<double>(middle)) >= probability)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

LengthSampler::LengthSampler(const LengthDistribution& distribution) : distribution_(distribution) {
  constexpr int64_t kWidestTable = 1 << 20;
  if (distribution.max_tokens - distribution.min_tokens >= kWidestTable) return;
  for (int64_t tokens = distribution.min_tokens; tokens <= distribution.max_tokens; ++tokens)
    cdf_.push_back(distribution.Cdf(static_cast<double>(tokens)));
}

int64_t LengthSampler::At(double probability) const {
  if (cdf_.empty()) return distribution_.Quantile(probability);
  const auto found = std::lower_bound(cdf_.begin(), cdf_.end() - 1, probability);
  return distribution_.min_tokens + (found - cdf_.begin());
}

double LengthDistribution::Mean() const {
  // Quantiles at the middle of equal slices: exact enough for a report, and right for every cut and mixture.
  constexpr int kSlices = 10000;
  double sum = 0;
  for (int i = 0; i < kSlices; ++i) sum += static_cast<double>(Quantile((i + 0.5) / kSlices));
  return sum / kSlices;
}

LengthDistribution LengthDistribution::Constant(int64_t tokens) {
  return {.parts = {{.weight = 1, .median_tokens = static_cast<double>(tokens), .sigma = 0}},
          .min_tokens = tokens,
          .max_tokens = tokens};
}

Result<LengthFit> FitLogNormal(std::span<const int64_t> tokens, int parts) {
  if (parts < 1 || parts > 8) return BadInput(fmt::format("a fit of {} parts; ask for 1 to 8", parts));
  std::map<int64_t, int64_t> counts;
  double sum = 0;
  for (const int64_t length : tokens) {
    if (length < 1)
      return BadInput(
          fmt::format("a length of {} tokens cannot be fitted by a log-normal; leave out what is below 1", length));
    ++counts[length];
    sum += static_cast<double>(length);
  }
  if (counts.size() < 2) return BadInput("a fit needs at least two different lengths; give the length itself instead");
  const auto total = static_cast<double>(tokens.size());
  std::vector<LogCount> sample;
  sample.reserve(counts.size());
  double mean = 0;
  for (const auto& [length, count] : counts) {
    sample.push_back({std::log(static_cast<double>(length)), static_cast<double>(count)});
    mean += sample.back().log_tokens * sample.back().count / total;
  }
  double variance = 0;
  for (const LogCount& point : sample)
    variance += (point.log_tokens - mean) * (point.log_tokens - mean) * point.count / total;
  const double sigma = std::max(kSmallestSigma, std::sqrt(variance));

  LengthFit fit;
  std::vector<LogNormalPart>& fitted = fit.distribution.parts;
  double seen = 0;
  for (const LogCount& point : sample) {
    seen += point.count;
    while (static_cast<int>(fitted.size()) < parts &&
           seen >= (static_cast<double>(fitted.size()) + 0.5) / parts * total) {
      fitted.push_back({.weight = 1.0 / parts,
                        .median_tokens = std::exp(point.log_tokens),
                        .sigma = std::max(kSmallestSigma, sigma / parts)});
    }
  }
  if (parts == 1) fitted[0] = {.weight = 1, .median_tokens = std::exp(mean), .sigma = sigma};
  double before = -1e300;
  for (int iteration = 0; parts > 1 && iteration < 1000; ++iteration) {
    const double now = Improve(sample, total, &fitted);
    if (now - before < 1e-9 * std::fabs(now)) break;
    before = now;
  }
  fit.distribution.min_tokens = counts.begin()->first;
  fit.distribution.max_tokens = counts.rbegin()->first;
  fit.ks_distance = KsDistance(tokens, fit.distribution);
  fit.mean_tokens = sum / total;
  fit.fitted_mean_tokens = fit.distribution.Mean();
  fit.samples = static_cast<int64_t>(tokens.size());
  return fit;
}

double KsDistance(std::span<const int64_t> tokens, const LengthDistribution& distribution) {
  std::map<int64_t, int64_t> counts;
  for (const int64_t length : tokens) ++counts[length];
  double cumulative = 0;
  double distance = 0;
  for (const auto& [length, count] : counts) {
    distance = std::max(distance, std::fabs(cumulative - distribution.Cdf(static_cast<double>(length) - 1)));
    cumulative += static_cast<double>(count) / static_cast<double>(tokens.size());
    distance = std::max(distance, std::fabs(cumulative - distribution.Cdf(static_cast<double>(length))));
  }
  return distance;
}

}  // namespace assay::formats
