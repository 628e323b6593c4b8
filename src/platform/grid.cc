// The penalised fit of a tensor grid by Gauss-Newton over conjugate gradients, and its evaluation.
#include "platform/grid.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"

namespace assay::platform {
namespace {

constexpr int kMaxCorners = 1 << kMaxAxes;

// The knots around a query and their weights.
struct Corners {
  int count = 1;
  std::array<uint32_t, kMaxCorners> index{};
  std::array<double, kMaxCorners> weight{1.0};
};

Corners CornersOf(const std::vector<Axis>& axes, const KernelQuery& query) noexcept {
  Corners corners;
  for (const Axis& axis : axes) {
    const auto& knots = axis.knots;
    const size_t last = knots.size() - 1;
    const double x = std::clamp(Log2Feature(axis.feature, query), knots.front(), knots.back());
    size_t low = 0;
    while (low + 1 < last && x >= knots[low + 1]) ++low;
    const double fraction = last == 0 ? 0 : (x - knots[low]) / (knots[low + 1] - knots[low]);
    const auto stride = static_cast<uint32_t>(knots.size());
    // A query on a knot, the common case, keeps the number of corners small.
    const bool split = fraction > 1e-9 && fraction < 1 - 1e-9;
    if (!split && fraction > 0.5) ++low;
    const int before = corners.count;
    for (int i = 0; i < before; ++i) {
      const uint32_t base = corners.index[i] * stride + static_cast<uint32_t>(low);
      corners.index[i] = base;
      if (split) {
        corners.index[before + i] = base + 1;
        corners.weight[before + i] = corners.weight[i] * fraction;
        corners.weight[i] *= 1 - fraction;
      }
    }
    if (split) corners.count = 2 * before;
  }
  return corners;
}

// Adds the gradient of the roughness penalty, which is linear in x: out += P x.
class Penalty {
 public:
  Penalty(const std::vector<Axis>& axes, const GridFitOptions& options) : axes_(axes), options_(options) {}

  void Add(const std::vector<double>& x, std::vector<double>* out) const {
    size_t stride = x.size();
    size_t outer = 1;
    for (size_t a = 0; a < axes_.size(); ++a) {
      const auto& knots = axes_[a].knots;
      stride /= knots.size();
      for (size_t o = 0; o < outer; ++o) {
        for (size_t inner = 0; inner < stride; ++inner) {
          AddLine(a, x.data() + o * knots.size() * stride + inner, stride, out->data() + o * knots.size() * stride + inner);
        }
      }
      outer *= knots.size();
    }
    // Keeps the system regular where penalties leave a constant free.
    for (size_t i = 0; i < x.size(); ++i) (*out)[i] += 1e-7 * x[i];
  }

 private:
  void AddLine(size_t axis, const double* x, size_t stride, double* out) const {
    const auto& knots = axes_[axis].knots;
    const double smooth = options_.smoothness;
    for (size_t i = 1; i + 1 < knots.size(); ++i) {
      // The distance of the middle knot from the line through its neighbours: zero for a straight line whatever the spacing.
      const double h0 = knots[i] - knots[i - 1];
      const double h1 = knots[i + 1] - knots[i];
      const double left = h1 / (h0 + h1);
      const double right = h0 / (h0 + h1);
      const double bend = smooth * (left * x[(i - 1) * stride] - x[i * stride] + right * x[(i + 1) * stride]);
      out[(i - 1) * stride] += left * bend;
      out[i * stride] -= bend;
      out[(i + 1) * stride] += right * bend;
    }
    for (size_t i = 1; i < knots.size(); ++i) {
      const double slope = options_.flatness * (x[i * stride] - x[(i - 1) * stride]);
      out[i * stride] += slope;
      out[(i - 1) * stride] -= slope;
    }
  }

  const std::vector<Axis>& axes_;
  const GridFitOptions& options_;
};

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

struct Design {
  std::vector<Corners> corners;
  std::vector<double> weight;
  const Penalty* penalty = nullptr;

  // out = (J' W J + P) x
  void Multiply(const std::vector<double>& x, std::vector<double>* out) const {
    std::fill(out->begin(), out->end(), 0.0);
    for (size_t r = 0; r < corners.size(); ++r) {
      double value = 0;
      for (int c = 0; c < corners[r].count; ++c) value += corners[r].weight[c] * x[corners[r].index[c]];
      value *= weight[r];
      for (int c = 0; c < corners[r].count; ++c) (*out)[corners[r].index[c]] += corners[r].weight[c] * value;
    }
    penalty->Add(x, out);
  }
};

// Solves (J' W J + P) x = b by conjugate gradients, starting from 0.
std::vector<double> Solve(const Design& design, const std::vector<double>& b) {
  constexpr int kMaxIterations = 300;
  std::vector<double> x(b.size(), 0.0);
  std::vector<double> residual = b;
  std::vector<double> direction = b;
  std::vector<double> image(b.size());
  double norm = Dot(residual, residual);
  const double goal = 1e-8 * norm;
  for (int i = 0; i < kMaxIterations && norm > goal; ++i) {
    design.Multiply(direction, &image);
    const double step = norm / Dot(direction, image);
    for (size_t j = 0; j < x.size(); ++j) {
      x[j] += step * direction[j];
      residual[j] -= step * image[j];
    }
    const double next = Dot(residual, residual);
    for (size_t j = 0; j < x.size(); ++j) direction[j] = residual[j] + next / norm * direction[j];
    norm = next;
  }
  return x;
}

}  // namespace

size_t Grid::cells() const {
  size_t count = 1;
  for (const Axis& axis : axes) count *= axis.knots.size();
  return count;
}

double Grid::At(const KernelQuery& query) const noexcept {
  const Corners corners = CornersOf(axes, query);
  double factor = 0;
  for (int c = 0; c < corners.count; ++c) factor += corners.weight[c] * factors[corners.index[c]];
  return factor;
}

void FitGrid(std::span<const GridRow> rows, const GridFitOptions& options, Grid* grid) {
  ASSAY_CHECK(!grid->axes.empty() && grid->axes.size() <= kMaxAxes, "a grid has one to four axes");
  const Penalty penalty(grid->axes, options);
  std::vector<Corners> base(rows.size());
  double mean = 0;
  double total_weight = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    base[r] = CornersOf(grid->axes, rows[r].query);
    mean += rows[r].weight * std::log(rows[r].target);
    total_weight += rows[r].weight;
  }
  if (total_weight > 0) mean /= total_weight;

  std::vector<double> logs(grid->cells(), 0.0);  // log factor minus mean
  Design design{.corners = base, .weight = std::vector<double>(rows.size()), .penalty = &penalty};
  std::vector<double> rhs(logs.size());
  // Gauss-Newton: the factor is a sum of exponentials of what is solved for, so that it is positive and errors are relative.
  constexpr int kRounds = 2;
  for (int round = 0; round < kRounds; ++round) {
    std::fill(rhs.begin(), rhs.end(), 0.0);
    for (size_t r = 0; r < rows.size(); ++r) {
      double value = 0;
      for (int c = 0; c < base[r].count; ++c) value += base[r].weight[c] * std::exp(logs[base[r].index[c]]);
      double linear = 0;
      for (int c = 0; c < base[r].count; ++c) {
        const double slope = base[r].weight[c] * std::exp(logs[base[r].index[c]]) / value;
        design.corners[r].weight[c] = slope;
        linear += slope * logs[base[r].index[c]];
      }
      design.weight[r] = rows[r].weight;
      const double wanted = std::log(rows[r].target) - mean - std::log(value) + linear;
      for (int c = 0; c < base[r].count; ++c) {
        rhs[base[r].index[c]] += rows[r].weight * design.corners[r].weight[c] * wanted;
      }
    }
    logs = Solve(design, rhs);
    for (double& value : logs) value = std::clamp(value, -6.0, 6.0);
  }
  grid->factors.resize(logs.size());
  for (size_t i = 0; i < logs.size(); ++i) grid->factors[i] = std::exp(logs[i] + mean);
}

}  // namespace assay::platform
