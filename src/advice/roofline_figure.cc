#include "advice/roofline_figure.h"

#include <algorithm>
#include <utility>

namespace assay {

Figure RooflineFigure(std::string title, const std::vector<RooflinePoint>& points, const std::vector<RooflineCeiling>& ceilings, std::string absent) {
  constexpr double kGiga = 1e9;
  Figure figure{.id = "roofline", .title = std::move(title), .x_label = "Useful work per byte moved (FLOP/B)", .y_label = "GFLOP/s", .x_log = true, .y_log = true};
  for (const RooflinePoint& point : points) {
    if (point.ops_per_byte <= 0 || point.ops_per_second <= 0) continue;
    figure.curves.push_back({.scope = point.scope, .label = point.label, .basis = Basis::kMeasured,
                             .points = {{.x = point.ops_per_byte, .y = point.ops_per_second / kGiga, .low = point.low / kGiga, .high = point.high / kGiga}}});
  }
  if (figure.curves.empty()) {
    figure.refused = std::move(absent);
    return figure;
  }
  for (const RooflineCeiling& ceiling : ceilings) {
    if (ceiling.ops_per_second <= 0 || ceiling.bytes_per_second <= 0) continue;
    Curve curve{.scope = "ceiling", .label = ceiling.label, .basis = Basis::kMeasured};
    std::vector<double> xs = {ceiling.ops_per_second / ceiling.bytes_per_second};  // the ridge, where both meet
    for (double x = 0.125; x <= 4096; x *= 2) xs.push_back(x);
    std::sort(xs.begin(), xs.end());
    for (const double x : xs) {
      const double y = std::min(ceiling.ops_per_second, ceiling.bytes_per_second * x) / kGiga;
      curve.points.push_back({.x = x, .y = y, .low = y, .high = y});
    }
    figure.curves.push_back(std::move(curve));
  }
  return figure;
}

}  // namespace assay
