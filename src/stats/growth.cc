#include "stats/growth.h"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "stats/descriptive.h"
#include "stats/distributions.h"

namespace assay::stats {

Result<GrowthFit> FitGrowth(std::span<const double> x, std::span<const double> y, double confidence) {
  if (x.size() != y.size() || x.size() < 3)
    return BadInput(fmt::format("a growth exponent needs at least 3 points; got {} x and {} y", x.size(), y.size()));
  Welford x_moments;
  Welford y_moments;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!(x[i] > 0 && y[i] > 0 && std::isfinite(x[i]) && std::isfinite(y[i])))
      return BadInput(fmt::format("point {} is ({}, {}); logarithms need positive finite values", i, x[i], y[i]));
    x_moments.Add(std::log(x[i]));
    y_moments.Add(std::log(y[i]));
  }
  double squares = 0;
  double products = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double dx = std::log(x[i]) - x_moments.mean();
    squares += dx * dx;
    products += dx * (std::log(y[i]) - y_moments.mean());
  }
  if (!(squares > 0)) return BadInput("a growth exponent needs at least two distinct x");

  GrowthFit fit;
  const double slope = products / squares;
  fit.log_intercept = y_moments.mean() - slope * x_moments.mean();
  double residual_squares = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double residual = std::log(y[i]) - fit.log_intercept - slope * std::log(x[i]);
    residual_squares += residual * residual;
  }
  const auto df = static_cast<double>(x.size() - 2);
  fit.residual_deviation = std::sqrt(residual_squares / df);
  const double half = StudentQuantile(0.5 + confidence / 2, df) * fit.residual_deviation / std::sqrt(squares);
  fit.exponent = {.estimate = slope, .low = slope - half, .high = slope + half, .confidence = confidence};
  return fit;
}

}  // namespace assay::stats
