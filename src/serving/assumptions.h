// Assumptions: the ranges that a use case (or `--set assume.NAME=...`) gives for what nobody knows, read at one corner of what is uncertain.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>
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
  // Every name that was looked up, assumed or not: whoever asks is who depends on it, so no list is kept by hand.
  [[nodiscard]] const std::set<std::string, std::less<>>& asked() const { return asked_; }

 private:
  AssumeOverrides ranges_;
  mutable std::set<std::string, std::less<>> asked_;
};

// A sum of assumed parts at `end` of their ranges; empty where nothing of it was assumed. The two sums that have several names:
using EndOf = std::function<double(const formats::Interval&)>;
std::optional<double> LayerOverheadUs(const Assumptions& assumptions, const EndOf& end);  // norms, RoPE, activation and launches, a layer and step
std::optional<double> HostUsPerStep(const Assumptions& assumptions, const EndOf& end);    // scheduler and sampling

}  // namespace assay::serving
