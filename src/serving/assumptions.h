// Assumptions: the ranges that a use case (or `--set assume.NAME=...`) gives for what nobody knows, read at one corner of what is uncertain.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "formats/usecase.h"

namespace assay::serving {

// The three points of what is uncertain at which a service is simulated: everything fast, likely values, everything slow.
enum Corner : size_t { kFast = 0, kLikely = 1, kSlow = 2 };
inline constexpr std::array kCorners = {kFast, kLikely, kSlow};

// A range at a corner; what spans factors is likeliest in its geometric middle.
double At(const formats::Interval& range, Corner corner);

// Ranges that replace the use case's own, by name ("host_us_per_step"); a fixed value has equal ends.
using AssumeOverrides = std::map<std::string, formats::Interval, std::less<>>;

class Assumptions {
 public:
  Assumptions() = default;  // nobody assumed anything: every part states its own range
  explicit Assumptions(const formats::UseCase& usecase, AssumeOverrides overrides = {});

  // nullptr: nothing was assumed.
  [[nodiscard]] const formats::Interval* Find(std::string_view name) const;

 private:
  AssumeOverrides ranges_;
};

}  // namespace assay::serving
