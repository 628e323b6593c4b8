// How long prompts and answers are: a mixture of log-normal parts, cut to a range, its fit to a trace, and how good the
// fit is. One log-normal describes chat traffic badly (its lengths pile up at templates and limits), so parts are
// allowed and the distance is told.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"

namespace assay::formats {

struct LogNormalPart {
  double weight = 1;
  double median_tokens = 1;  // exp(mu)
  double sigma = 0;          // of ln(tokens); 0: exactly median_tokens
};

struct LengthDistribution {
  std::vector<LogNormalPart> parts;  // weights sum to 1; empty: not given
  int64_t min_tokens = 1;
  int64_t max_tokens = 131072;

  [[nodiscard]] bool empty() const { return parts.empty(); }
  // P(length <= tokens) of the rounded length, conditional on the range.
  [[nodiscard]] double Cdf(double tokens) const;
  // The smallest length with Cdf >= probability. Feed it a uniform number to draw a length.
  [[nodiscard]] int64_t Quantile(double probability) const;
  [[nodiscard]] double Mean() const;

  static LengthDistribution Constant(int64_t tokens);
};

// Quantile() for many draws: the distribution function is tabulated once, where the range is not too wide for a table.
class LengthSampler {
 public:
  explicit LengthSampler(const LengthDistribution& distribution);
  [[nodiscard]] int64_t At(double probability) const;

 private:
  LengthDistribution distribution_;
  std::vector<double> cdf_;  // of min_tokens and each length above it; empty: asked of the distribution
};

struct LengthFit {
  LengthDistribution distribution;
  double ks_distance = 0;  // largest difference between the fitted and the empirical distribution function
  double mean_tokens = 0;  // of the sample
  double fitted_mean_tokens = 0;
  int64_t samples = 0;
};

// Maximum likelihood: one part in closed form, more by expectation maximisation on the logarithms, started at quantiles
// (so the result is the same on every run), 1,000 iterations at most. Needs positive lengths, at least 2 distinct
// values; at most 8 parts. The range is that of the sample. A part's sigma is kept above 0.01, or a part would collapse
// onto one repeated length.
Result<LengthFit> FitLogNormal(std::span<const int64_t> tokens, int parts);

// sup |F_empirical - F|, both sides of every step.
double KsDistance(std::span<const int64_t> tokens, const LengthDistribution& distribution);

}  // namespace assay::formats
