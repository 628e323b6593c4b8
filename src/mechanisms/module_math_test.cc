// Projections, norms, rotations and convolutions against values worked by hand.
#include "mechanisms/module_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace assay::module_math {
namespace {

Array Make(std::vector<int64_t> shape, std::vector<double> values) {
  Array array(std::move(shape));
  std::copy(values.begin(), values.end(), array.data());
  return array;
}

TEST(ModuleMath, LinearMultipliesByTheTransposedWeight) {
  const Array bias = Make({2}, {10, 20});
  const Array y = Linear(Make({1, 3}, {1, 2, 3}), Make({2, 3}, {1, 0, 1, 0, 1, 0}), &bias);
  EXPECT_EQ(y(0, 0), 14);
  EXPECT_EQ(y(0, 1), 22);
}

TEST(ModuleMath, RmsNormPlusOneAddsOneToTheWeight) {
  Array x = Make({1, 2}, {3, 4});
  const Array zero = Make({2}, {0, 0});
  RmsNorm(x, &zero, {.epsilon = 0, .plus_one = true});
  EXPECT_NEAR(x(0, 0), 3 / std::sqrt(12.5), 1e-15);
  RmsNorm(x, &zero, {.epsilon = 0, .plus_one = false});
  EXPECT_EQ(x(0, 1), 0);
}

TEST(ModuleMath, RotationPairsHalvesOrNeighbours) {
  const double right_angle = std::acos(-1.0) / 2;
  Rope rope = {.inverse_frequency = {right_angle, 0}};
  Array halves = Make({4}, {1, 2, 3, 4});
  Rotate(halves.Row(), 1, rope);
  EXPECT_NEAR(halves(0), -3, 1e-15);
  EXPECT_NEAR(halves(2), 1, 1e-15);
  rope.pairing = Rope::Pairing::kPairs;
  Array pairs = Make({4}, {1, 2, 3, 4});
  Rotate(pairs.Row(), 1, rope);
  EXPECT_NEAR(pairs(0), -2, 1e-15);
  EXPECT_NEAR(pairs(1), 1, 1e-15);
  Rotate(pairs.Row(), -1, rope);
  EXPECT_NEAR(pairs(0), 1, 1e-15);
}

TEST(ModuleMath, ConvolutionSeesThePastAndItsTailContinuesIt) {
  const Array weight = Make({1, 3}, {100, 10, 1});
  const Array whole = CausalConv(Make({1, 4, 1}, {1, 2, 3, 4}), weight, nullptr, nullptr);
  EXPECT_EQ(whole(0, 0, 0), 1);
  EXPECT_EQ(whole(0, 3, 0), 234);
  const Array tail = ConvTail(Make({1, 2, 1}, {1, 2}), nullptr, 2);
  const Array rest = CausalConv(Make({1, 2, 1}, {3, 4}), weight, nullptr, &tail);
  EXPECT_EQ(rest(0, 0, 0), whole(0, 2, 0));
  EXPECT_EQ(rest(0, 1, 0), whole(0, 3, 0));
}

TEST(ModuleMath, SlicesConcatenateToTheWhole) {
  const Array x = Make({2, 3}, {1, 2, 3, 4, 5, 6});
  const Array left = x.Slice(-1, 0, 1);
  const Array right = x.Slice(-1, 1, 3);
  const Array whole = Concatenate(-1, {&left, &right});
  EXPECT_EQ(whole(1, 0), 4);
  EXPECT_EQ(whole(1, 2), 6);
  EXPECT_EQ(x.Transposed({1, 0})(2, 1), 6);
}

}  // namespace
}  // namespace assay::module_math
