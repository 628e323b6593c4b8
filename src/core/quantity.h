// Quantity: a number with an interval, a basis and an origin. No number is shown to a user in any other form.
#pragma once

#include <string>
#include <string_view>

namespace assay {

// How a number came to be, strongest first; a sum takes the weakest basis among its parts and names that part.
// The numbering is stored in databases and never changes.
enum class Basis : int {
  kArithmetic = 0,    // counted
  kMeasured = 1,      // timed or computed here
  kInterpolated = 2,  // inside the coverage of a measured table, with its held-out error
  kSimulated = 3,     // from a validated model driven by the user's traffic
  kCited = 4,         // printed by someone else; the source is in the origin
  kBounded = 5,       // one-sided: at least (or at most) this, from bytes and FLOPs
  kAssumed = 6,       // a declared range, swept
  kRefused = 7,       // cannot be known here; the origin says why and what would fill it
};

std::string_view NameOf(Basis basis);  // "arithmetic", "measured", ...
Basis Weaker(Basis a, Basis b);

struct Quantity {
  double value = 0;
  double low = 0;   // interval; equals value for arithmetic; -infinity or +infinity on the open side of a bound
  double high = 0;
  std::string unit;
  Basis basis = Basis::kRefused;
  // Where it comes from, in words a user can follow: a formula, a table with its version, a probe, or, if refused, the reason.
  std::string origin;

  static Quantity Exact(double value, std::string unit, std::string origin);
  static Quantity Refused(std::string unit, std::string reason);
  [[nodiscard]] bool refused() const { return basis == Basis::kRefused; }
};

Quantity Scale(const Quantity& a, double factor);

}  // namespace assay
