// The roofline: what kernels achieved against the work they do per byte, beside the ceilings of the same rounds. One picture for the audit
// and for the bench.
#pragma once

#include <string>
#include <vector>

#include "advice/audit.h"

namespace assay {

struct RooflinePoint {
  std::string scope, label;
  double ops_per_byte = 0;
  double ops_per_second = 0, low = 0, high = 0;
};

// Both ceilings: flat at `ops_per_second`, rising with `bytes_per_second` below.
struct RooflineCeiling {
  std::string label;
  double ops_per_second = 0, bytes_per_second = 0;
};

// Points without work or speed are left out; without any, the picture is refused with `absent`.
Figure RooflineFigure(std::string title, const std::vector<RooflinePoint>& points, const std::vector<RooflineCeiling>& ceilings, std::string absent);

}  // namespace assay
