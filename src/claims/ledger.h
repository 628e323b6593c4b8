// The prediction ledger: dated forecasts with resolution criteria, probabilities with their owner, evidence for and against. Nothing
// resolves itself: an outcome stands in the file, with its date and the one who resolved it, or the question is open.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "claims/evidence.h"
#include "core/result.h"

namespace assay {

enum class Outcome { kOpen, kYes, kNo, kAmbiguous };
std::string_view NameOf(Outcome outcome);

enum class PredictionState {
  kNotStarted,  // its window has not begun
  kOpen,        // in its window, or waiting to be resolved
  kOverdue,     // past the date by which it was to be resolved, and not resolved
  kResolved,
  kAmbiguous,   // resolved as neither: counted, not scored
};
constexpr int kPredictionStateCount = 5;
std::string_view NameOf(PredictionState state);

// A probability of YES and whose it is.
struct Forecast {
  std::string owner;        // "author", "assay", ...
  double probability = 0.5;
  bool imputed = false;     // put into the owner's mouth, because the owner stated none
  bool provisional = false; // a judgement that may still change before the deadline
  std::string note;
};

struct Prediction {
  std::string path;
  std::string id;       // "P2b": one reading of one prediction, never merged with another reading
  std::string question; // "P2": what the readings have in common
  std::string reading;  // how this reading understands it
  std::string statement, criteria;
  std::string made_on, window_start, deadline, resolve_by;  // YYYY-MM-DD
  std::vector<std::string> verified_by;  // channels in which the evidence must be found
  std::vector<Forecast> forecasts;
  std::vector<Evidence> evidence;
  std::string provisional_reading;  // where it would stand today; scores nothing
  Outcome outcome = Outcome::kOpen;
  std::string resolved_on, resolved_by, resolution_note;
};

Result<Prediction> ParsePrediction(std::string_view text, const std::string& path);
Result<std::vector<Prediction>> ShippedPredictions();                           // sorted by id
Result<std::vector<Prediction>> LoadPredictions(const std::string& directory);  // *.toml, sorted by id

// `today` is YYYY-MM-DD; such dates compare as text.
PredictionState StateOf(const Prediction& prediction, std::string_view today);

// Scores of one owner's forecasts over the resolved predictions.
struct OwnerScore {
  std::string owner;
  bool imputed = false;   // any of the forecasts scored is imputed
  int64_t scored = 0;
  double brier = 0;       // NaN when nothing is scored
  double base_rate_brier = 0;  // of always forecasting the resolved questions' own rate of YES
  double half_brier = 0.25;    // of always one half
  double skill = 0;       // 1 - brier / base_rate_brier; NaN when every outcome is the same
};

struct LedgerScore {
  int64_t resolved = 0, ambiguous = 0, open = 0, overdue = 0, not_started = 0;
  std::vector<OwnerScore> owners;      // empty while nothing is resolved
  std::vector<OwnerScore> sensitivity; // imputed probabilities replaced by 0.7 and by 0.95
};
LedgerScore Score(const std::vector<Prediction>& predictions, std::string_view today);

}  // namespace assay
