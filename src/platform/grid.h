// Grid: a smooth correction over a few coordinates, as values at the knots of a tensor grid and multilinear in between. The values are
// fitted by penalised least squares on relative error (P-splines of degree one: Eilers and Marx, Statistical Science 11(2), 1996), so a
// knot without rows takes what its neighbours say and same-work rows are averaged; it is a model of a table, not a copy of it.
#pragma once

#include <span>
#include <vector>

#include "platform/kernel_query.h"

namespace assay::platform {

constexpr int kMaxAxes = 4;

struct Axis {
  Feature feature = Feature::kBatch;
  std::vector<double> knots;  // log2, ascending
};

struct Grid {
  std::vector<Axis> axes;      // at most kMaxAxes; the last one varies fastest in `factors`
  std::vector<double> factors; // measured time over the physical estimate, at each knot

  [[nodiscard]] size_t cells() const;
  // The factor at a query: linear between knots (in the factor, so in time, not in its logarithm), constant beyond the edges.
  [[nodiscard]] double At(const KernelQuery& query) const noexcept;
};

struct GridFitOptions {
  double smoothness = 0.05;  // weight of squared second differences of log factors beside a weight of 1 a row
  double flatness = 1e-4;    // weight of squared first differences: what decides where nothing else does
};

struct GridRow {
  KernelQuery query;
  double target = 1;  // the factor wanted here, > 0
  double weight = 1;
};

// Fits `grid->factors` for the axes already in `grid`.
void FitGrid(std::span<const GridRow> rows, const GridFitOptions& options, Grid* grid);

}  // namespace assay::platform
