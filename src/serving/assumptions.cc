// Lookup by name; an override goes before the use case's own range.
#include "serving/assumptions.h"

#include <cmath>
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
  const auto found = ranges_.find(name);
  return found == ranges_.end() ? nullptr : &found->second;
}

}  // namespace assay::serving
