// Recipe: on which coordinates a family's corrections may live. The physics of each choice is argued in recipe.cc; which layouts a
// section uses is chosen by cross-validation (fit.cc).
#pragma once

#include <vector>

#include "platform/grid.h"

namespace assay::platform {

struct LayoutAxis {
  Feature feature = Feature::kBatch;
  double min_gap = 0.2;  // log2 distance between knots: what is closer shares a knot
};

struct Layout {
  std::vector<LayoutAxis> axes;
  GridFitOptions options;
};

struct Recipe {
  std::vector<Layout> layouts;       // candidates: one, or the mean of two, is used
  std::vector<Feature> coverage;     // the coordinates whose ranges the rows must span
  std::vector<Feature> regimes;      // the coordinates errors may depend on
};

const Recipe& RecipeOf(Family family);

}  // namespace assay::platform
