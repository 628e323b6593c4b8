#include "claims/evaluate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "fmt/format.h"
#include "stats/interval.h"
#include "stats/power.h"

namespace assay {
namespace {

// Points of a premise: fine enough that a crossover found between two of them is the only one there for formulas of this size.
constexpr int kPremisePoints = 257;

enum class Side { kInside, kOutside, kStraddles };

struct Derived {
  double low = 0, high = 0;
};

// A check with its formulas compiled.
class Compiled {
 public:
  static Result<Compiled> Make(const ClaimCheck& check) {
    Compiled compiled(check);
    for (const std::string* text : {&check.formula, &check.first, &check.second, &check.trials}) {
      if (text->empty()) continue;
      ASSAY_TRY(Formula formula, Formula::Compile(*text));
      compiled.formulas_.push_back(std::move(formula));
    }
    return compiled;
  }

  [[nodiscard]] bool Uses(std::string_view name) const {
    return std::any_of(formulas_.begin(), formulas_.end(), [name](const Formula& formula) {
      return std::binary_search(formula.names().begin(), formula.names().end(), name);
    });
  }

  [[nodiscard]] Result<Derived> At(const Variables& variables) const {
    if (check_.kind == ClaimCheck::Kind::kFormula) {
      ASSAY_TRY(const double value, formulas_[0].Evaluate(variables));
      return Derived{value, value};
    }
    ASSAY_TRY(const double first, formulas_[0].Evaluate(variables));
    ASSAY_TRY(const double second, formulas_[1].Evaluate(variables));
    ASSAY_TRY(const double trials, formulas_[2].Evaluate(variables));
    if (first < 0 || first > 1 || second < 0 || second > 1 || trials < 1)
      return BadInput(fmt::format("check {}: proportions {} and {} of {} trials are impossible", check_.name, first, second, trials));
    return Difference(first, second, static_cast<long>(trials));
  }

  [[nodiscard]] Result<int64_t> SamplesNeeded(const Variables& variables) const {
    if (check_.kind != ClaimCheck::Kind::kDifference) return int64_t{0};
    ASSAY_TRY(const double first, formulas_[0].Evaluate(variables));
    ASSAY_TRY(const double second, formulas_[1].Evaluate(variables));
    return int64_t{stats::TrialsPerArmNeeded(first, second, {})};
  }

  [[nodiscard]] const ClaimCheck& check() const { return check_; }

 private:
  explicit Compiled(const ClaimCheck& check) : check_(check) {}

  // Newcombe (1998), method 10: the difference of two independent proportions from their Wilson intervals. In points.
  static Derived Difference(double p1, double p2, long trials) {
    const auto count = static_cast<double>(trials);
    const auto w1 = stats::WilsonProportion(std::lround(p1 * count), trials);
    const auto w2 = stats::WilsonProportion(std::lround(p2 * count), trials);
    const double difference = p1 - p2;
    return {100 * (difference - std::hypot(p1 - w1.low, w2.high - p2)), 100 * (difference + std::hypot(w1.high - p1, p2 - w2.low))};
  }

  ClaimCheck check_;
  std::vector<Formula> formulas_;
};

Side SideOf(const ClaimCheck& check, Derived derived, bool negated) {
  // The figures are decimal: 93.3 + 0.05 must contain 93.35 whatever the rounding of the sum.
  const double slack = 1e-12 * std::max(std::abs(check.claimed), 1.0);
  double low = check.claimed - check.tolerance - slack;
  double high = check.claimed + check.tolerance + slack;
  if (check.relation == ClaimCheck::Relation::kAtLeast) high = std::numeric_limits<double>::infinity();
  if (check.relation == ClaimCheck::Relation::kAtMost) low = -std::numeric_limits<double>::infinity();
  const bool inside = derived.low >= low && derived.high <= high;
  const bool outside = derived.high < low || derived.low > high;
  if (inside) return negated ? Side::kOutside : Side::kInside;
  if (outside) return negated ? Side::kInside : Side::kOutside;
  return Side::kStraddles;
}

std::vector<double> PointsOf(const Plausible& range, int count) {
  if (!range.points.empty()) return range.points;
  std::vector<double> points;
  for (int i = 0; i < count; ++i) {
    const double share = static_cast<double>(i) / (count - 1);
    points.push_back(range.log_scale ? range.low * std::pow(range.high / range.low, share) : range.low + (range.high - range.low) * share);
  }
  points.back() = range.high;
  return points;
}

// A file from elsewhere must not keep the program busy for an hour.
constexpr size_t kMostCorners = 4096;

// All combinations of the other unsaid values: ends and middle, or every listed point.
Result<std::vector<Variables>> Corners(const Compiled& check, const Variables& given, const std::vector<Plausible>& plausible) {
  std::vector<Variables> corners = {given};
  for (const Plausible& range : plausible) {
    if (range.name == check.check().premise || !check.Uses(range.name)) continue;
    const std::vector<double> points = PointsOf(range, 3);
    if (corners.size() * points.size() > kMostCorners)
      return BadInput(fmt::format("check {}: more than {} combinations of unsaid values; give fewer ranges or points", check.check().name,
                                  kMostCorners));
    std::vector<Variables> next;
    for (const Variables& corner : corners)
      for (const double value : points) {
        next.push_back(corner);
        next.back()[range.name] = value;
      }
    corners = std::move(next);
  }
  return corners;
}

struct Scan {
  std::vector<double> premise;          // the points scanned; one dummy when there is no premise
  std::vector<std::vector<Side>> sides; // [corner][point]
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double smallest_gap = std::numeric_limits<double>::infinity();  // |derived - claimed| / |claimed|
  int64_t samples_needed = 0;
};

Result<Scan> ScanAll(const Compiled& check, const std::vector<Variables>& corners, const Plausible* premise, bool negated) {
  Scan scan;
  scan.premise = premise != nullptr ? PointsOf(*premise, kPremisePoints) : std::vector<double>{0};
  const double claimed = check.check().claimed;
  for (Variables corner : corners) {
    std::vector<Side>& sides = scan.sides.emplace_back();
    for (const double value : scan.premise) {
      if (premise != nullptr) corner[premise->name] = value;
      ASSAY_TRY(const Derived derived, check.At(corner));
      sides.push_back(SideOf(check.check(), derived, negated));
      scan.low = std::min(scan.low, derived.low);
      scan.high = std::max(scan.high, derived.high);
      if (claimed != 0)
        for (const double end : {derived.low, derived.high})
          scan.smallest_gap = std::min(scan.smallest_gap, std::abs(end - claimed) / std::abs(claimed));
      ASSAY_TRY(const int64_t needed, check.SamplesNeeded(corner));
      scan.samples_needed = std::max(scan.samples_needed, needed);
    }
  }
  return scan;
}

// Where one corner's answer changes between two neighbouring points, by bisection (or the two points, where only they are possible).
Result<Crossover> Locate(const Compiled& check, Variables corner, const Plausible& premise, double left, double right, bool holds_above,
                         bool negated) {
  Crossover crossover{premise.name, left, right, holds_above};
  if (!premise.points.empty()) return crossover;
  for (int step = 0; step < 60; ++step) {
    const double middle = premise.log_scale ? std::sqrt(left * right) : 0.5 * (left + right);
    corner[premise.name] = middle;
    ASSAY_TRY(const Derived derived, check.At(corner));
    const bool inside = SideOf(check.check(), derived, negated) == Side::kInside;
    (inside == holds_above ? right : left) = middle;
  }
  crossover.low = left;
  crossover.high = right;
  return crossover;
}

// Every change of side along the premise; the n-th changes of all corners are one crossover, whose interval spans them.
Result<std::vector<Crossover>> Crossovers(const Compiled& check, const std::vector<Variables>& corners, const Plausible& premise,
                                          const Scan& scan, bool negated) {
  std::vector<Crossover> merged;
  for (size_t corner = 0; corner < corners.size(); ++corner) {
    size_t found = 0;
    for (size_t i = 1; i < scan.premise.size(); ++i) {
      const bool before = scan.sides[corner][i - 1] == Side::kInside;
      const bool after = scan.sides[corner][i] == Side::kInside;
      if (before == after) continue;
      ASSAY_TRY(const Crossover here, Locate(check, corners[corner], premise, scan.premise[i - 1], scan.premise[i], after, negated));
      if (found == merged.size()) {
        merged.push_back(here);
      } else {
        merged[found].low = std::min(merged[found].low, here.low);
        merged[found].high = std::max(merged[found].high, here.high);
      }
      ++found;
    }
  }
  return merged;
}

// Four significant digits without an exponent: "68,270" is read, "6.827e+04" is deciphered.
std::string Readable(double value) {
  const double size = std::abs(value);
  if (size < 10000 || size >= 1e15) return fmt::format("{:.4g}", value);
  const double unit = std::pow(10, std::floor(std::log10(size)) - 3);
  std::string digits = fmt::format("{:.0f}", std::round(value / unit) * unit);
  for (size_t at = digits.size(); at > (value < 0 ? 4U : 3U);) digits.insert(at -= 3, ",");
  return digits;
}

std::string Range(double low, double high, std::string_view unit) {
  return low == high ? fmt::format("{:.6g} {}", low, unit) : fmt::format("{} to {} {}", Readable(low), Readable(high), unit);
}

std::string Claimed(const ClaimCheck& check) {
  constexpr std::array<std::string_view, 3> kWords = {"", "at least ", "at most "};
  return fmt::format("claimed {}{:.6g} (tolerance {:.3g})", kWords[static_cast<size_t>(check.relation)], check.claimed, check.tolerance);
}

std::string DescribeCrossovers(const std::vector<Crossover>& crossovers) {
  std::string text;
  for (const Crossover& at : crossovers)
    text += fmt::format("{}{} {} {}", text.empty() ? "" : ", ", at.holds_above ? "holds above" : "fails above", at.variable,
                        at.low == at.high || (at.high - at.low) < 1e-6 * std::abs(at.high) ? Readable(at.high)
                                                                                           : Readable(at.low) + ".." + Readable(at.high));
  return text;
}

}  // namespace

Decision Compare(const ClaimCheck& check, double low, double high, const EvaluateOptions& options) {
  Decision decision{.low = low, .high = high};
  switch (SideOf(check, {low, high}, options.negated)) {
    case Side::kInside: decision.value = VerdictValue::kSupported; break;
    case Side::kOutside: decision.value = VerdictValue::kRefuted; break;
    case Side::kStraddles: decision.value = VerdictValue::kCannotTell; break;
  }
  decision.reason = fmt::format("{}: {}, {}", check.metric, Range(low, high, check.unit), Claimed(check));
  return decision;
}

Result<Decision> Evaluate(const ClaimCheck& check, const Variables& given, const std::vector<Plausible>& plausible,
                          const EvaluateOptions& options) {
  ASSAY_TRY(const Compiled compiled, Compiled::Make(check));
  const auto premise_at = std::find_if(plausible.begin(), plausible.end(),
                                       [&check](const Plausible& range) { return range.name == check.premise; });
  const Plausible* premise = premise_at == plausible.end() ? nullptr : &*premise_at;
  ASSAY_TRY(const std::vector<Variables> corners, Corners(compiled, given, plausible));
  ASSAY_TRY(const Scan scan, ScanAll(compiled, corners, premise, options.negated));

  bool any_inside = false, any_outside = false, any_straddles = false, decided_inside = false, decided_outside = false;
  for (size_t point = 0; point < scan.premise.size(); ++point) {
    bool all_inside = true, all_outside = true;
    for (const auto& sides : scan.sides) {
      all_inside = all_inside && sides[point] == Side::kInside;
      all_outside = all_outside && sides[point] == Side::kOutside;
      any_inside = any_inside || sides[point] == Side::kInside;
      any_outside = any_outside || sides[point] == Side::kOutside;
      any_straddles = any_straddles || sides[point] == Side::kStraddles;
    }
    decided_inside = decided_inside || all_inside;
    decided_outside = decided_outside || all_outside;
  }

  Decision decision{.low = scan.low, .high = scan.high};
  const std::string derived = fmt::format("{}: {}, {}", check.metric, Range(scan.low, scan.high, check.unit), Claimed(check));
  decision.reason = derived;
  if (any_inside && !any_outside && !any_straddles) {
    decision.value = VerdictValue::kSupported;
  } else if (any_outside && !any_inside && !any_straddles) {
    const bool slip = options.allow_misprint && !options.negated && check.relation == ClaimCheck::Relation::kEqual &&
                      scan.smallest_gap <= kMisprintShare;
    decision.value = slip ? VerdictValue::kMisprint : VerdictValue::kRefuted;
  } else if (premise != nullptr && decided_inside && decided_outside) {
    decision.value = VerdictValue::kConditional;
    ASSAY_TRY(decision.crossovers, Crossovers(compiled, corners, *premise, scan, options.negated));
    decision.reason += "; " + DescribeCrossovers(decision.crossovers);
  } else {
    decision.value = VerdictValue::kCannotTell;
    decision.samples_needed = any_straddles ? scan.samples_needed : 0;
    decision.reason += decision.samples_needed > 0
                           ? fmt::format("; the interval straddles it: about {} samples a side would decide", decision.samples_needed)
                           : "; it depends on what the source leaves unsaid, and no single condition separates the cases";
  }
  return decision;
}

}  // namespace assay
