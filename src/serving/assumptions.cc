// Lookup by name; an override goes before the use case's own range.
#include "serving/assumptions.h"

#include <cmath>
#include <initializer_list>
#include <utility>

namespace assay::serving {

double At(const formats::Interval& range, Corner corner) {
  if (corner == kFast) return range.low;
  if (corner == kSlow) return range.high;
  return range.low > 0 ? std::sqrt(range.low * range.high) : (range.low + range.high) / 2;
}

Assumptions::Assumptions(const formats::UseCase& usecase, AssumeOverrides overrides) : ranges_(std::move(overrides)) {
  for (const formats::Assumption& assumption : usecase.assume) ranges_.emplace(assumption.name, assumption.range);
}

const formats::Interval* Assumptions::Find(std::string_view name) const {
  asked_.emplace(name);
  const auto found = ranges_.find(name);
  return found == ranges_.end() ? nullptr : &found->second;
}

namespace {

std::optional<double> Sum(const Assumptions& assumptions, std::initializer_list<std::string_view> names, const EndOf& end) {
  std::optional<double> sum;
  for (const std::string_view name : names) {
    if (const formats::Interval* range = assumptions.Find(name); range != nullptr) sum = sum.value_or(0) + end(*range);
  }
  return sum;
}

}  // namespace

std::optional<double> LayerOverheadUs(const Assumptions& assumptions, const EndOf& end) {
  return Sum(assumptions, {"layer_overhead_us", "norms_us_per_layer", "rope_us_per_layer", "activation_us_per_layer"}, end);
}

std::optional<double> HostUsPerStep(const Assumptions& assumptions, const EndOf& end) {
  return Sum(assumptions, {"host_us_per_step", "sampling_us_per_step"}, end);
}

}  // namespace assay::serving
