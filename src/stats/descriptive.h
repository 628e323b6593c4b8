// Descriptive statistics: one-pass mean and variance, quantiles, robust spread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace assay::stats {

// Mean and variance in one pass (Welford 1962): no cancellation, however large the mean is beside the spread.
class Welford {
 public:
  void Add(double value);
  void Merge(const Welford& other);  // Chan, Golub and LeVeque (1979)
  [[nodiscard]] int64_t count() const { return count_; }
  [[nodiscard]] double mean() const;      // NaN when empty
  [[nodiscard]] double variance() const;  // unbiased; NaN below two values
  [[nodiscard]] double deviation() const;

 private:
  int64_t count_ = 0;
  double mean_ = 0;
  double sum_of_squares_ = 0;  // of differences from the mean
};

Welford Accumulate(std::span<const double> values);

// Quantile, type 7 of Hyndman and Fan (1996), the default of R and NumPy: linear between order statistics. NaN if
// values are empty or hold a NaN. `Sorted` takes ascending values.
double Quantile(std::span<const double> values, double probability);
double QuantileSorted(std::span<const double> ascending, double probability);
double Median(std::span<const double> values);

struct Summary {
  int64_t count = 0;
  double mean = 0, deviation = 0;
  double minimum = 0, q1 = 0, median = 0, q3 = 0, maximum = 0;
};
Summary Summarize(std::span<const double> values);

// Ascending copy; empty if any value is NaN, so that what follows says "unknown" instead of sorting nonsense.
std::vector<double> SortedOrEmpty(std::span<const double> values);

}  // namespace assay::stats
