#include "claims/ledger.h"

#include <algorithm>
#include <array>
#include <map>

#include "claims/toml_files.h"
#include "fmt/format.h"
#include "formats/toml.h"
#include "stats/forecast.h"
#include "store/time.h"

namespace assay {
namespace {

using formats::TomlErrors;
using formats::TomlReader;

constexpr std::array<std::string_view, 4> kOutcomeNames = {"open", "yes", "no", "ambiguous"};
constexpr std::array<std::string_view, kPredictionStateCount> kStateNames = {"not_started", "open", "overdue", "resolved", "ambiguous"};

std::string Date(TomlReader& reader, std::string_view key) {
  const std::string text = reader.Text(key, "YYYY-MM-DD");
  if (!text.empty() && !IsDate(text)) reader.Fail(key, fmt::format("\"{}\" is no date; write YYYY-MM-DD", text));
  return text;
}

void ReadForecasts(TomlReader& root, Prediction& prediction) {
  for (TomlReader& table : root.Tables("forecasts")) {
    Forecast forecast;
    forecast.owner = table.Text("owner", "whose probability it is");
    table.Require("probability", "of YES, between 0 and 1");
    forecast.probability = table.Number("probability", {.low = 0, .high = 1, .unit = "a probability"}).value_or(0.5);
    forecast.imputed = table.Bool("imputed").value_or(false);
    forecast.provisional = table.Bool("provisional").value_or(false);
    forecast.note = table.String("note").value_or("");
    table.Close();
    prediction.forecasts.push_back(std::move(forecast));
  }
}

void ReadEvidence(TomlReader& root, Prediction& prediction) {
  for (TomlReader& table : root.Tables("evidence")) {
    Evidence evidence = TakeEvidence(table);
    evidence.id = table.Text("id", "id = \"E11\"");
    table.Close();
    prediction.evidence.push_back(std::move(evidence));
  }
}

void ReadResolution(TomlReader& root, Prediction& prediction) {
  std::optional<TomlReader> table = root.Table("resolution");
  if (!table) return;
  table->Require("outcome", "yes, no or ambiguous");
  prediction.outcome = static_cast<Outcome>(table->Choice("outcome", kOutcomeNames).value_or(0));
  if (prediction.outcome == Outcome::kOpen) table->Fail("outcome", "a resolution is yes, no or ambiguous; leave [resolution] out while it is open");
  prediction.resolved_on = Date(*table, "date");
  prediction.resolved_by = table->Text("by", "who resolved it");
  prediction.resolution_note = table->Text("note", "on what evidence");
  table->Close();
  if (prediction.resolved_on < prediction.window_start)
    table->Fail("date", fmt::format("resolved on {}, before its window began on {}", prediction.resolved_on, prediction.window_start));
}

}  // namespace

std::string_view NameOf(Outcome outcome) { return kOutcomeNames[static_cast<size_t>(outcome)]; }
std::string_view NameOf(PredictionState state) { return kStateNames[static_cast<size_t>(state)]; }

Result<Prediction> ParsePrediction(std::string_view text, const std::string& path) {
  ASSAY_TRY(const formats::TomlNode node, formats::ParseToml(text, path));
  TomlErrors errors(path);
  TomlReader root(node, "", &errors);
  Prediction prediction;
  prediction.path = path;
  root.Require("schema_version", "schema_version = 1");
  (void)root.Integer("schema_version", {.low = 1, .high = 1});
  prediction.id = root.Text("id", "id = \"P2b\"");
  prediction.question = root.Text("question", "question = \"P2\"");
  prediction.reading = root.Text("reading", "how this reading understands the statement");
  prediction.statement = root.Text("statement", "what is predicted, in our own words");
  prediction.criteria = root.Text("criteria", "YES if and only if ...");
  prediction.provisional_reading = root.String("provisional_reading").value_or("");
  prediction.made_on = Date(root, "made_on");
  prediction.window_start = Date(root, "window_start");
  prediction.deadline = Date(root, "deadline");
  prediction.resolve_by = Date(root, "resolve_by");
  if (prediction.window_start < prediction.made_on) root.Fail("window_start", "the window begins before the prediction was made");
  if (prediction.deadline < prediction.window_start) root.Fail("deadline", "the deadline lies before the window");
  if (prediction.resolve_by < prediction.deadline) root.Fail("resolve_by", "it cannot be resolved before its deadline");
  root.Require("verified_by", "the channels in which the evidence must be found");
  prediction.verified_by = root.Strings("verified_by");
  ReadForecasts(root, prediction);
  if (prediction.forecasts.empty()) root.Fail("forecasts", "at least one [[forecasts]] with owner and probability");
  ReadEvidence(root, prediction);
  ReadResolution(root, prediction);
  root.Close();
  ASSAY_RETURN_IF_ERROR(errors.ToStatus());
  return prediction;
}

namespace {

// One owner's forecasts of resolved questions, in two parallel lists.
struct Scored {
  std::vector<double> probabilities;
  std::vector<int> outcomes;
  bool imputed = false;
};

OwnerScore ScoreOf(std::string owner, const Scored& scored) {
  OwnerScore score;
  score.owner = std::move(owner);
  score.imputed = scored.imputed;
  score.scored = static_cast<int64_t>(scored.outcomes.size());
  score.brier = stats::BrierScore(scored.probabilities, scored.outcomes);
  double rate = 0;
  for (const int outcome : scored.outcomes) rate += outcome;
  rate /= static_cast<double>(scored.outcomes.size());
  score.base_rate_brier = stats::BrierScore(std::vector<double>(scored.outcomes.size(), rate), scored.outcomes);
  score.half_brier = stats::BrierScore(std::vector<double>(scored.outcomes.size(), 0.5), scored.outcomes);
  score.skill = stats::BrierSkill(scored.probabilities, scored.outcomes);
  return score;
}

}  // namespace

Result<std::vector<Prediction>> ShippedPredictions() { return ParseEmbedded(EmbeddedPredictions(), &ParsePrediction); }
Result<std::vector<Prediction>> LoadPredictions(const std::string& directory) { return ParseFolder(directory, &ParsePrediction); }

PredictionState StateOf(const Prediction& prediction, std::string_view today) {
  // A resolution dated after `today` was not known then.
  const bool known = prediction.outcome != Outcome::kOpen && prediction.resolved_on <= today;
  if (known) return prediction.outcome == Outcome::kAmbiguous ? PredictionState::kAmbiguous : PredictionState::kResolved;
  if (today < prediction.window_start) return PredictionState::kNotStarted;
  return today > prediction.resolve_by ? PredictionState::kOverdue : PredictionState::kOpen;
}

LedgerScore Score(const std::vector<Prediction>& predictions, std::string_view today) {
  LedgerScore score;
  std::map<std::string, Scored> by_owner;
  for (const Prediction& prediction : predictions) {
    switch (StateOf(prediction, today)) {
      case PredictionState::kNotStarted: ++score.not_started; continue;
      case PredictionState::kOpen: ++score.open; continue;
      case PredictionState::kOverdue: ++score.overdue; continue;
      case PredictionState::kAmbiguous: ++score.ambiguous; continue;
      case PredictionState::kResolved: ++score.resolved; break;
    }
    for (const Forecast& forecast : prediction.forecasts) {
      Scored& scored = by_owner[forecast.owner];
      scored.probabilities.push_back(forecast.probability);
      scored.outcomes.push_back(prediction.outcome == Outcome::kYes ? 1 : 0);
      scored.imputed = scored.imputed || forecast.imputed;
    }
  }
  for (const auto& [owner, scored] : by_owner) {
    score.owners.push_back(ScoreOf(owner, scored));
    if (!scored.imputed) continue;
    for (const double probability : {0.70, 0.95}) {
      Scored other = scored;
      std::fill(other.probabilities.begin(), other.probabilities.end(), probability);
      score.sensitivity.push_back(ScoreOf(fmt::format("{} at {}", owner, probability), other));
    }
  }
  return score;
}

}  // namespace assay
