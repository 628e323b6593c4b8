#include "stats/descriptive.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace assay::stats {
namespace {
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
}

void Welford::Add(double value) {
  ++count_;
  const double before = value - mean_;
  mean_ += before / static_cast<double>(count_);
  sum_of_squares_ += before * (value - mean_);
}

void Welford::Merge(const Welford& other) {
  if (other.count_ == 0) return;
  const auto a = static_cast<double>(count_);
  const auto b = static_cast<double>(other.count_);
  const double delta = other.mean_ - mean_;
  mean_ += delta * b / (a + b);
  sum_of_squares_ += other.sum_of_squares_ + delta * delta * a * b / (a + b);
  count_ += other.count_;
}

double Welford::mean() const {
  return count_ > 0 ? mean_ : kNan;
}
double Welford::variance() const {
  return count_ > 1 ? sum_of_squares_ / static_cast<double>(count_ - 1) : kNan;
}
double Welford::deviation() const {
  return std::sqrt(variance());
}

Welford Accumulate(std::span<const double> values) {
  Welford result;
  for (const double value : values) result.Add(value);
  return result;
}

std::vector<double> SortedOrEmpty(std::span<const double> values) {
  if (std::any_of(values.begin(), values.end(), [](double value) { return std::isnan(value); })) return {};
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

double QuantileSorted(std::span<const double> ascending, double probability) {
  if (ascending.empty() || !(probability >= 0 && probability <= 1)) return kNan;
  const double position = probability * static_cast<double>(ascending.size() - 1);
  const auto below = static_cast<size_t>(position);
  const double fraction = position - static_cast<double>(below);
  // No interpolation onto a value that has no weight: 0 * infinity would be NaN.
  if (fraction == 0) return ascending[below];
  return ascending[below] + fraction * (ascending[below + 1] - ascending[below]);
}

double Quantile(std::span<const double> values, double probability) {
  return QuantileSorted(SortedOrEmpty(values), probability);
}

double Median(std::span<const double> values) {
  return Quantile(values, 0.5);
}

Summary Summarize(std::span<const double> values) {
  const Welford moments = Accumulate(values);
  const std::vector<double> sorted = SortedOrEmpty(values);
  return {.count = static_cast<int64_t>(values.size()),
          .mean = moments.mean(),
          .deviation = moments.deviation(),
          .minimum = QuantileSorted(sorted, 0),
          .q1 = QuantileSorted(sorted, 0.25),
          .median = QuantileSorted(sorted, 0.5),
          .q3 = QuantileSorted(sorted, 0.75),
          .maximum = QuantileSorted(sorted, 1)};
}

}  // namespace assay::stats
