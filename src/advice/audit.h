// The audit: everything the main job learnt about a use case, as rows and curves that the report draws and `assay explain` looks up.
// A number exists once, as a Measurement whose scope ("A".."Z" a candidate, or "traffic", "step", "machine") and metric form its id:
// "B.max_rate_per_second". Nothing here is text that a reader would have to trust.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "advice/decision.h"
#include "core/result.h"
#include "store/measurement.h"

namespace assay {

// One design under audit.
struct AuditCandidate {
  std::string letter;          // "A" is the baseline
  std::string id;              // as the use case names it
  std::string stack;           // "27 x sliding_window(1024) + 5 x gqa"
  std::string kv;              // "bf16", "e4m3, one scale a token"
  std::string implementation;  // "vllm 0.24.0 on h100_sxm"
  std::string availability;    // "drop_in", "convert", "pretrain"
  std::vector<std::string> unreported;  // knobs that papers leave out, with the value taken here
  struct Risk {
    std::string feature, what, date, url;
  };
  std::vector<Risk> risks;  // serving features that have publicly broken with it
};

struct CurvePoint {
  double x = 0;
  double y = 0;
  double low = 0;  // interval of y; equals y where there is none
  double high = 0;
};

// One line of a picture.
struct Curve {
  std::string scope;  // candidate letter, or a free label
  std::string label;
  Basis basis = Basis::kRefused;
  std::vector<CurvePoint> points{};
};

// A picture: what its axes are and its lines. Pictures without data are not made; the reason stands in their place.
struct Figure {
  std::string id;  // "ttft_ms", "roofline", "error_growth", ...
  std::string title;
  std::string x_label, y_label;  // with units
  bool x_log = false, y_log = false;
  std::vector<Curve> curves{};
  std::string refused{};  // why there is nothing to draw; empty otherwise
};

// The crossover map: for each cell of (context tokens, concurrency), which candidate's decode step is fastest, and how much of the traffic
// lies there.
struct CrossoverMap {
  std::vector<double> context_tokens;  // ascending grid
  std::vector<double> concurrency;
  struct Cell {
    std::string winner;      // letter; empty: no candidate has a time there
    double margin = 0;       // runner-up's time over the winner's, minus 1
    bool decided = false;    // the winner's interval lies below every other's, and none is extrapolated
    double traffic_share = 0;
  };
  std::vector<Cell> cells;  // row-major: concurrency, then context
  std::string refused;
};

struct AuditClaim {
  std::string id, mechanism, statement, source_url, date;
  std::string at_origin, at_origin_why;  // verdicts with their reasons (docs/evidence.md)
  std::string for_you, for_you_why;
  std::string basis;
  std::vector<std::string> unsaid;
  std::vector<std::string> evidence_against{};
  std::string expired{};  // what superseded the claim's baseline, with which its verdict expires; empty: nothing known
  bool bears_on_use_case = false;
};

struct AuditProbe {
  std::string probe, subject, title;
  std::string outcome;  // "passed", "finding", "not_applicable"
  std::string severity; // of a finding
  std::string detail;   // reason, or reproducer
};

// A change of one condition that changes the advice; found by search and confirmed by running the decision there.
struct Flip {
  std::string factor;  // "rate_factor", "prompt_length_factor", "assume.host_us_per_step", ...
  double at = 0;       // value of the factor at which the advice differs
  double today = 0;
  double same_at = 0;  // the nearest value on the way at which the advice is still today's: within 2 % where the axis is continuous
  std::string advice_there;
  std::string command;  // reruns the audit at that value
};

struct AuditResult {
  std::string title;
  std::string run_id;
  std::string usecase_path;
  std::string command;  // reproduces the whole audit
  std::string date;     // ISO 8601, UTC
  std::string version;
  std::string machine;  // one line
  uint64_t seed = 0;

  std::vector<AuditCandidate> candidates;
  std::vector<Measurement> rows;
  std::vector<Figure> figures;
  CrossoverMap crossover;
  std::vector<AuditClaim> claims;
  std::vector<AuditProbe> probes;
  Advice advice;
  std::vector<Flip> flips;
  std::string flips_refused;  // why nothing was searched; empty: it was, and where `flips` is empty too, nothing within the ranges flips
  std::vector<std::string> notes;  // what a reader must know before trusting the numbers: traffic rescaled, tables not found, ...

  // The row of a number, or nullptr.
  [[nodiscard]] const Measurement* Find(std::string_view scope, std::string_view metric) const;
};

// "B.max_rate_per_second"; the scope is the factor named "scope".
std::string IdOf(const Measurement& row);
std::string_view ScopeOf(const Measurement& row);

}  // namespace assay
