// A claim: a headline about an attention mechanism, what it leaves unsaid, and a check that re-derives it. Claims are TOML files under
// claims/ (format: claims/README.md), embedded in the program.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "claims/evidence.h"
#include "claims/formula.h"
#include "core/result.h"

namespace assay {

// What headlines leave out. The names are those of the files and of the JSON.
enum class Unsaid {
  kWeakBaseline,         // the other side was slow, old, or not what one would run
  kPrecisionMismatch,    // the two sides keep different dtypes
  kAsymptoticOnly,       // true in a limit that the reader may never reach
  kExpectedNotMeasured,  // counted or predicted, printed as if timed
  kSettingsMerged,       // two figures of one sentence hold under different settings
  kMetricBlind,          // the metric cannot see what is lost
  kLoadDependent,        // reverses with batch, concurrency or traffic
  kNeedsRetraining,      // not a switch to flip
  kBreaksOtherFeature,   // prefix caching, speculation, ...
  kNotAttentionOnly,     // something else changed as well
  kUnitOrRounding,       // kB or KiB, a figure that does not follow from the ones beside it
};
constexpr int kUnsaidCount = 11;
std::string_view NameOf(Unsaid unsaid);

// What testing takes.
enum class ClaimClass { kArithmetic, kCpuRatio, kSyntheticQuality, kGpuOnly };
std::string_view NameOf(ClaimClass claim_class);

// What the figure is about. A speed-up is never supported by arithmetic.
enum class ClaimSubject { kBytes, kFlops, kTokens, kSpeed, kQuality, kOther };
std::string_view NameOf(ClaimSubject subject);

// A value that the source does not state: every point of it is plausible, and a verdict must survive all of them.
struct Plausible {
  std::string name{};
  double low = 0;
  double high = 0;
  std::vector<double> points{};  // if given, only these are possible (bits, head counts); low and high are their ends
  bool log_scale = false;
  std::string why{};  // where the range comes from
};

// How one figure of the claim is tested.
struct ClaimCheck {
  enum class Kind {
    kFormula,     // the figure follows from an expression
    kDifference,  // of two proportions out of `trials` trials each, in points; has an interval
    kQuantity,    // a number that only a measurement gives: compared where the caller has one
  };
  enum class Relation { kEqual, kAtLeast, kAtMost };
  std::string name;      // "multiplier_405b"
  Kind kind = Kind::kFormula;
  std::string metric;    // what is compared, in words: "KV bytes saved"
  std::string unit;
  std::string formula;   // kFormula
  std::string first, second, trials;  // kDifference: expressions (proportions in 0..1, and a count)
  std::string quantity;  // kQuantity: the name under which the caller may offer it
  Relation relation = Relation::kEqual;
  double claimed = 0;    // the figure as printed
  double tolerance = 0;  // absolute, in the figure's unit; half a unit of its last digit unless the claim says "about"
  std::string premise;   // the plausible value along which the verdict turns; empty: none
  int64_t line = 0;      // of the claim's file, for messages
};

struct ClaimDomain {
  std::vector<std::string> mechanisms;  // any of them among the candidates
  std::vector<std::string> gpus;        // empty: any
  std::vector<std::string> engines;
  std::vector<std::string> when;        // expressions over the use case's variables, all must hold
};

// How the check is carried to a use case: a variable of the formulas takes the values that the use case spans.
struct ClaimBinding {
  std::string variable;
  std::vector<std::string> from;  // variables of the use case; their smallest and largest value are the range
};

struct Claim {
  std::string path;  // of its file, for messages
  std::string id, mechanism, statement;
  std::vector<double> figures;
  std::string unit, conditions;
  std::string source_title, source_url, date;
  std::vector<Unsaid> unsaid;
  std::string unsaid_note;
  ClaimClass claim_class = ClaimClass::kArithmetic;
  ClaimSubject about = ClaimSubject::kBytes;
  std::string baseline, baseline_version;
  std::string baseline_superseded;  // what has replaced it; a verdict expires with its baseline
  Variables given;                  // stated by the source
  std::vector<Plausible> plausible; // not stated
  std::vector<ClaimCheck> checks;
  ClaimDomain domain;
  // Whether the verdict at the origin holds for every use case in the domain. Otherwise, without bindings, the figures are about a model
  // of the claim's own and say nothing about another.
  bool carries_over = false;
  std::vector<ClaimBinding> bindings;
  std::string decided_by_command, decided_by_hardware;  // when it is not testable here
  std::string tuning_budget;        // what either side may be tuned before a re-measurement; empty when nothing is timed
  std::vector<Evidence> evidence;
  std::string frozen;               // FrozenHash when the check was written down
};

// Reads one claim; unknown keys, units, names of variables and formulas that do not parse are refused with file and line.
Result<Claim> ParseClaim(std::string_view text, const std::string& path);
Result<std::vector<Claim>> ShippedClaims();                         // embedded in the program, sorted by id
Result<std::vector<Claim>> LoadClaims(const std::string& directory);  // *.toml, sorted by id

// Hash over what must not change once results are known: checks with tolerances, domain, metrics, baseline, plausible ranges and tuning
// budget. 16 hex digits.
std::string FrozenHash(const Claim& claim);
// Ok where the claim says what was frozen. A check that was changed once its answer was known judges nothing, so whoever prints a verdict
// asks this first; the error says what to do.
Status CheckFrozen(const Claim& claim);
// Writes the hash into the claim's file; false where it stood there already.
Result<bool> Freeze(const Claim& claim);
// The file's text with its `frozen` line brought up to date.
std::string WithFrozenHash(std::string_view text, std::string_view hash);

}  // namespace assay
