// A small tree over errors: best-first splits that most reduce the log-likelihood loss of a Laplace scale a leaf.
#include "platform/regimes.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace assay::platform {
namespace {

constexpr size_t kMinLeafRows = 50;  // 5 % and 95 % quantiles need some tens of rows to mean anything
constexpr size_t kMaxLeaves = 24;
constexpr double kMinGain = 5;       // in units of log-likelihood: a split must explain more than noise would

struct Leaf {
  std::vector<Range> box;
  std::vector<uint32_t> rows;
  // The best split found, if any.
  double gain = 0;
  Feature feature = Feature::kBatch;
  double threshold = 0;
};

double Loss(double absolute_sum, size_t count) {
  return static_cast<double>(count) * std::log(std::max(absolute_sum / static_cast<double>(count), 1e-4));
}

void FindSplit(std::span<const RegimeRow> rows, std::span<const Feature> features, Leaf* leaf) {
  leaf->gain = 0;
  if (leaf->rows.size() < 2 * kMinLeafRows) return;
  struct Point {
    double x, error;
  };
  std::vector<Point> points(leaf->rows.size());
  for (Feature feature : features) {
    double total = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      const RegimeRow& row = rows[leaf->rows[i]];
      points[i] = {Log2Feature(feature, row.query), std::abs(std::log(row.ratio))};
      total += points[i].error;
    }
    std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
    double left = 0;
    for (size_t i = 0; i + 1 < points.size(); ++i) {
      left += points[i].error;
      const size_t count = i + 1;
      if (points[i + 1].x - points[i].x < 1e-6 || count < kMinLeafRows || points.size() - count < kMinLeafRows) continue;
      const double gain = Loss(total, points.size()) - Loss(left, count) - Loss(total - left, points.size() - count);
      if (gain > leaf->gain) {
        leaf->gain = gain;
        leaf->feature = feature;
        leaf->threshold = (points[i].x + points[i + 1].x) / 2;
      }
    }
  }
}

void Narrow(Leaf* leaf, const Range& range) {
  for (Range& existing : leaf->box) {
    if (existing.feature == range.feature) {
      existing.low = std::max(existing.low, range.low);
      existing.high = std::min(existing.high, range.high);
      return;
    }
  }
  leaf->box.push_back(range);
}

}  // namespace

double Percentile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto rank = static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rank), values.end());
  return values[rank];
}

double ConformalQuantile(std::vector<double> values, double q) {
  if (values.empty()) return 1;
  std::sort(values.begin(), values.end());
  const double n = static_cast<double>(values.size());
  const double tail = q > 0.5 ? q : 1 - q;
  const auto rank = static_cast<size_t>(std::clamp(std::ceil((n + 1) * tail), 1.0, n));
  return q > 0.5 ? values[rank - 1] : values[values.size() - rank];
}

std::vector<Regime> FindRegimes(std::span<const RegimeRow> rows, std::span<const Feature> features) {
  std::vector<Leaf> leaves(1);
  for (uint32_t i = 0; i < rows.size(); ++i) leaves[0].rows.push_back(i);
  FindSplit(rows, features, &leaves[0]);
  while (leaves.size() < kMaxLeaves) {
    const auto best = std::max_element(leaves.begin(), leaves.end(), [](const Leaf& a, const Leaf& b) { return a.gain < b.gain; });
    if (best->gain < kMinGain) break;
    Leaf low{.box = best->box, .rows = {}};
    Leaf high{.box = best->box, .rows = {}};
    // Wide outer limits instead of infinities: TOML readers differ on those.
    Narrow(&low, {.feature = best->feature, .low = -100, .high = best->threshold});
    Narrow(&high, {.feature = best->feature, .low = best->threshold, .high = 100});
    for (uint32_t r : best->rows) {
      (Log2Feature(best->feature, rows[r].query) < best->threshold ? low : high).rows.push_back(r);
    }
    FindSplit(rows, features, &low);
    FindSplit(rows, features, &high);
    *best = std::move(low);
    leaves.push_back(std::move(high));
  }
  std::vector<Regime> regimes;
  for (const Leaf& leaf : leaves) {
    std::vector<double> ratios;
    std::vector<double> errors;
    for (uint32_t r : leaf.rows) {
      ratios.push_back(rows[r].ratio);
      errors.push_back(std::abs(1 / rows[r].ratio - 1));
    }
    regimes.push_back({.box = leaf.box, .low = ConformalQuantile(ratios, 0.05), .high = ConformalQuantile(ratios, 0.95),
                       .error_p50 = Percentile(errors, 0.5), .error_p90 = Percentile(errors, 0.9), .rows = static_cast<int>(ratios.size())});
  }
  return regimes;
}

}  // namespace assay::platform
