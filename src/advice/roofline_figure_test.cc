// The roofline: both ceilings meet at the ridge, and what was not measured is not drawn.
#include "advice/roofline_figure.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace assay {
namespace {

const RooflinePoint kPoint{.scope = "a", .label = "kernel a", .ops_per_byte = 3, .ops_per_second = 6e9, .low = 5e9, .high = 7e9};
const RooflineCeiling kCeiling{.label = "ceiling", .ops_per_second = 30e9, .bytes_per_second = 10e9};

TEST(Roofline, CeilingsMeetAtTheRidge) {
  const Figure figure = RooflineFigure("title", {kPoint}, {kCeiling}, "nothing");
  ASSERT_EQ(figure.curves.size(), 2u);
  const Curve& ceiling = figure.curves[1];
  const auto ridge = std::find_if(ceiling.points.begin(), ceiling.points.end(), [](const CurvePoint& p) { return p.x == 3; });
  ASSERT_NE(ridge, ceiling.points.end());
  EXPECT_EQ(ridge->y, 30);
  for (const CurvePoint& p : ceiling.points) EXPECT_DOUBLE_EQ(p.y, std::min(30.0, 10 * p.x));
  EXPECT_TRUE(std::is_sorted(ceiling.points.begin(), ceiling.points.end(), [](const CurvePoint& a, const CurvePoint& b) { return a.x < b.x; }));
}

TEST(Roofline, APointKeepsItsInterval) {
  const Figure figure = RooflineFigure("title", {kPoint}, {}, "nothing");
  ASSERT_EQ(figure.curves.size(), 1u);
  EXPECT_EQ(figure.curves[0].points[0].y, 6);
  EXPECT_EQ(figure.curves[0].points[0].low, 5);
  EXPECT_EQ(figure.curves[0].points[0].high, 7);
}

TEST(Roofline, WithoutAPointIsRefusedWithTheReason) {
  const Figure figure = RooflineFigure("title", {RooflinePoint{}}, {kCeiling}, "nothing was measured");
  EXPECT_TRUE(figure.curves.empty());
  EXPECT_EQ(figure.refused, "nothing was measured");
}

}  // namespace
}  // namespace assay
