// Verdicts: what a claim's check says, at the claim's own conditions and for a use case. Pure functions of the claim and the context.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "claims/claim.h"
#include "core/quantity.h"

namespace assay {

enum class VerdictValue {
  kSupported,
  kConditional,        // decided one way on one side of a crossover and the other way on the other
  kRefuted,            // outside, for every plausible value of what was unsaid
  kMisprint,           // refuted by a rounding slip: off by at most kMisprintShare, which changes no conclusion
  kOutsideYourDomain,  // the use case never enters the claim's conditions
  kCannotTell,         // straddles; says how many samples would decide
  kNotTestableHere,    // says what command and hardware decide
};
constexpr int kVerdictCount = 7;
std::string_view NameOf(VerdictValue value);  // "supported", "conditional", ...

// Largest relative gap that counts as a slip of rounding or of the pen.
constexpr double kMisprintShare = 0.02;

// Where a verdict turns.
struct Crossover {
  std::string variable;
  double low = 0, high = 0;  // the interval in which it lies, over everything else that is unsaid
  bool holds_above = false;  // the claim holds for values above it
};

struct Verdict {
  VerdictValue value = VerdictValue::kCannotTell;
  Basis basis = Basis::kRefused;      // of what the verdict rests on
  std::string reason;                 // one sentence with the numbers
  std::vector<Crossover> crossovers;  // kConditional
  int64_t samples_needed = 0;         // kCannotTell, where counting samples makes sense
  std::string decides_command, decides_hardware;  // kNotTestableHere
  // A speed claim whose arithmetic was checked: what the arithmetic said. Never shown as a verdict on the speed.
  std::optional<VerdictValue> arithmetic;
  double derived_low = 0, derived_high = 0;  // of the check that decided; both 0 when nothing was derived
  // "supported", "arithmetic supported, speed-up not testable here", ...: the only text a surface may show for the verdict.
  [[nodiscard]] std::string Label() const;
};

struct CheckVerdict {
  std::string check;  // ClaimCheck::name
  Verdict verdict;
};

struct ClaimVerdict {
  std::string claim_id;
  Verdict at_origin;
  std::vector<CheckVerdict> parts;  // of at_origin, one a check
  std::optional<Verdict> for_you;  // empty without a use case
  std::vector<CheckVerdict> parts_for_you;
  bool expired = false;  // the baseline has been superseded
  // A defect planted in the check's inputs: which variable, scaled, turned "supported" into something else. Empty where nothing was supported.
  std::string planted_violation;
  std::optional<Verdict> negation;  // of the claim that says the opposite; empty where the claim has no checks
  int shams = 0;  // false figures that the supported checks were tried on; one that passes leaves its check without a verdict
};

// What a use case knows, for the second part of a verdict. Variables not known are absent, never zero.
struct ClaimContext {
  Variables variables;                  // "context_p95_tokens", "decode_context_tokens", "concurrency", "kv_bytes_per_token", ...
  // Variables of the candidate that uses a mechanism ("window_tokens" of "sliding_window"); they count for claims about that mechanism.
  std::map<std::string, Variables, std::less<>> of_mechanism;
  std::vector<std::string> mechanisms;  // ids of the candidates' mechanisms, the baseline's included
  std::string gpu, engine, engine_version;
  std::map<std::string, Quantity> quantities;  // measured or interpolated figures, by the names claims use
};

// The names a ClaimContext may use, so that a claim cannot wait for a variable nobody fills.
const std::vector<std::string>& ContextVariableNames();

// Runs each check, its negation and shams. Only a claim whose formulas cannot be evaluated is an error.
Result<ClaimVerdict> CheckClaim(const Claim& claim, const ClaimContext* context);

}  // namespace assay
