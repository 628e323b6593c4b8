// Recipe: which coordinates a family's corrections live on. The physics of each choice is argued in recipe.cc.
#pragma once

#include <vector>

#include "platform/grid.h"

namespace assay::platform {

struct StageAxis {
  Feature feature = Feature::kBatch;
  double min_gap = 0.2;  // log2 distance between knots: what is closer shares a knot
};

struct Stage {
  std::vector<StageAxis> axes;
  GridFitOptions options;
};

struct Recipe {
  std::vector<Stage> stages;
  std::vector<Feature> coverage;  // the coordinates whose ranges the rows must span
  std::vector<Feature> regimes;   // the coordinates errors may depend on
};

const Recipe& RecipeOf(Family family);

}  // namespace assay::platform
