#include "core/quantity.h"

#include <algorithm>
#include <array>

#include "core/check.h"

namespace assay {
namespace {
constexpr std::array<std::string_view, 8> kBasisNames = {"arithmetic", "measured", "interpolated", "simulated",
                                                         "cited",      "bounded",  "assumed",      "refused"};
}  // namespace

std::string_view NameOf(Basis basis) { return kBasisNames[static_cast<size_t>(basis)]; }

Basis Weaker(Basis a, Basis b) { return std::max(a, b); }

Quantity Quantity::Exact(double value, std::string unit, std::string origin) {
  return {value, value, value, std::move(unit), Basis::kArithmetic, std::move(origin)};
}

Quantity Quantity::Refused(std::string unit, std::string reason) {
  return {0, 0, 0, std::move(unit), Basis::kRefused, std::move(reason)};
}

Quantity Scale(const Quantity& a, double factor) {
  ASSAY_CHECK(factor >= 0, "a negative factor would swap the bounds");
  // Nothing of it is nothing, also where an end of the interval is open: infinity times zero would be NaN.
  const auto times = [factor](double end) { return factor == 0 ? 0 : end * factor; };
  Quantity scaled = a;
  scaled.value = times(a.value);
  scaled.low = times(a.low);
  scaled.high = times(a.high);
  return scaled;
}

}  // namespace assay
