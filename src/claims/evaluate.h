// From one check to a decision: evaluates it at every plausible value of what was unsaid and looks where it holds. Private to claims/.
#pragma once

#include <vector>

#include "claims/claim.h"
#include "claims/verdict.h"
#include "core/result.h"

namespace assay {

struct Decision {
  VerdictValue value = VerdictValue::kCannotTell;
  double low = 0, high = 0;  // of the derived figure over everything plausible
  std::vector<Crossover> crossovers{};
  int64_t samples_needed = 0;
  std::string reason{};
};

struct EvaluateOptions {
  bool negated = false;         // what lies inside the tolerance counts as outside, and the other way round
  bool allow_misprint = true;   // for a use case another figure is another figure, not a slip
};

// `check.kind` is kFormula or kDifference.
Result<Decision> Evaluate(const ClaimCheck& check, const Variables& given, const std::vector<Plausible>& plausible,
                          const EvaluateOptions& options);

// An interval that was measured, against the check's figure.
Decision Compare(const ClaimCheck& check, double low, double high, const EvaluateOptions& options);

}  // namespace assay
