// Interval: an estimate with the range that holds the truth with a stated confidence. Every function of this folder
// that estimates returns one. Data that cannot support an interval (too few, or NaN among them) give an unbounded one:
// never a crash, never a point that looks certain.
#pragma once

#include <limits>
#include <span>

namespace assay::stats {

struct Interval {
  double estimate = std::numeric_limits<double>::quiet_NaN();
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  double confidence = 0.95;

  [[nodiscard]] bool Contains(double value) const { return low <= value && value <= high; }
  [[nodiscard]] double width() const { return high - low; }
};

// Of the mean, Student's t; the values are independent. Unbounded below two values.
Interval StudentMean(std::span<const double> values, double confidence = 0.95);

// Of a proportion, Wilson's score interval: covers near its nominal rate even at 0 or all successes, where the textbook
// one has width 0.
Interval WilsonProportion(long successes, long trials, double confidence = 0.95);

// Of the `probability` quantile, from two order statistics whose binomial coverage is at least `confidence`: no
// assumption on the distribution. A side that the sample is too small to bound is infinite (the p99 needs 368 values at
// 95 % confidence).
Interval QuantileInterval(std::span<const double> values, double probability, double confidence = 0.95);

}  // namespace assay::stats
