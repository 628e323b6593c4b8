// `assay ledger list|show|score`: dated predictions, what is open and overdue, and how forecasts fared.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "claims/claims_json.h"
#include "claims/ledger.h"
#include "cli/command.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "store/nearest.h"
#include "store/time.h"

namespace assay::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string directory;
  std::string today;
  std::string id;
};

void Print(const Json& json) { fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace)); }

Result<std::vector<Prediction>> Read(Options& options) {
  if (options.today.empty()) options.today = UtcToday();
  if (!IsDate(options.today)) return BadInput(fmt::format("--today {}: no date; write YYYY-MM-DD", options.today));
  return options.directory.empty() ? ShippedPredictions() : LoadPredictions(options.directory);
}

std::string ForecastText(const Forecast& forecast) {
  return fmt::format("{} {:.2f}{}{}", forecast.owner, forecast.probability, forecast.imputed ? " (imputed)" : "",
                     forecast.provisional ? " (provisional)" : "");
}

int List(const Common& common, Options& options) {
  const auto predictions = Read(options);
  if (!predictions.ok()) return Fail(predictions.error());
  if (common.json) {
    Json list = Json::array();
    for (const Prediction& prediction : *predictions) list.push_back(ToJson(prediction, options.today));
    Print({{"schema_version", 1}, {"today", options.today}, {"predictions", list}});
    return kFine;
  }
  fmt::print("as of {}\n", options.today);
  for (const Prediction& prediction : *predictions)
    fmt::print("{:<11} {:<12} until {}  {}\n", prediction.id, NameOf(StateOf(prediction, options.today)), prediction.deadline,
               prediction.statement);
  return kFine;
}

int Show(const Common& common, Options& options) {
  const auto predictions = Read(options);
  if (!predictions.ok()) return Fail(predictions.error());
  const auto at = std::find_if(predictions->begin(), predictions->end(), [&](const Prediction& p) { return p.id == options.id; });
  if (at == predictions->end()) {
    std::vector<std::string_view> known;
    for (const Prediction& prediction : *predictions) known.push_back(prediction.id);
    const std::string nearest = NearestName(options.id, known);
    return Fail(BadInput(fmt::format("no prediction {}{}; `assay ledger list` lists them", options.id,
                                     nearest.empty() ? "" : ", the nearest is " + nearest)));
  }
  if (common.json) {
    Json json = ToJson(*at, options.today);
    json["schema_version"] = 1;
    json["today"] = options.today;
    Print(json);
    return kFine;
  }
  fmt::print("{}  {}\n  reading    {}\n  criteria   {}\n", at->id, at->statement, at->reading, at->criteria);
  fmt::print("  state      {} (made {}, window {} to {}, to be resolved by {})\n", NameOf(StateOf(*at, options.today)), at->made_on,
             at->window_start, at->deadline, at->resolve_by);
  fmt::print("  verified   {}\n", fmt::join(at->verified_by, "; "));
  for (const Forecast& forecast : at->forecasts)
    fmt::print("  forecast   {}{}{}\n", ForecastText(forecast), forecast.note.empty() ? "" : ": ", forecast.note);
  for (const bool against : {false, true})
    for (const Evidence& item : at->evidence)
      if (item.against == against)
        fmt::print("  {:<10} {} {} ({}, {})\n", against ? "against" : "for", item.id, item.summary, item.date, item.url);
  if (!at->provisional_reading.empty()) fmt::print("  today      {} (provisional: it scores nothing)\n", at->provisional_reading);
  if (at->outcome != Outcome::kOpen)
    fmt::print("  resolved   {} on {} by {}: {}\n", NameOf(at->outcome), at->resolved_on, at->resolved_by, at->resolution_note);
  return kFine;
}

int ScoreVerb(const Common& common, Options& options) {
  const auto predictions = Read(options);
  if (!predictions.ok()) return Fail(predictions.error());
  const LedgerScore score = Score(*predictions, options.today);
  if (common.json) {
    Json json = ToJson(score);
    json["schema_version"] = 1;
    json["today"] = options.today;
    Print(json);
    return kFine;
  }
  fmt::print("as of {}: {} resolved, {} ambiguous, {} open, {} overdue, {} not started\n", options.today, score.resolved, score.ambiguous,
             score.open, score.overdue, score.not_started);
  if (score.resolved == 0) {
    fmt::print("no prediction is resolved, so there is nothing to score{}\n",
               score.overdue > 0 ? "; the overdue ones wait for someone to resolve them" : "");
    return kFine;
  }
  fmt::print("{:<18} {:>6} {:>7} {:>10} {:>9} {:>7}\n", "owner", "scored", "Brier", "base rate", "one half", "skill");
  for (const auto* scores : {&score.owners, &score.sensitivity})
    for (const OwnerScore& row : *scores)
      fmt::print("{:<18} {:>6} {:>7.3f} {:>10.3f} {:>9.3f} {:>7}{}\n", row.owner, row.scored, row.brier, row.base_rate_brier, row.half_brier,
                 std::isfinite(row.skill) ? fmt::format("{:.2f}", row.skill) : "none", row.imputed ? "  imputed" : "");
  if (score.resolved < 10) fmt::print("{} resolved predictions are too few to tell forecasters apart\n", score.resolved);
  return kFine;
}

}  // namespace

void Register_ledger(CLI::App& app, const Common& common, int& exit_code) {
  app.require_subcommand(1);
  auto options = std::make_shared<Options>();
  app.add_option("--predictions-dir", options->directory, "read predictions from *.toml of this folder instead of the shipped ones");
  app.add_option("--today", options->today, "the date to judge from, YYYY-MM-DD; default: today");
  app.add_subcommand("list", "every prediction in a line: open, overdue, resolved")
      ->callback([&, options] { exit_code = List(common, *options); });
  auto* show = app.add_subcommand("show", "one prediction: criteria, window, forecasts, evidence for and against");
  show->add_option("ID", options->id, "id of the prediction")->required();
  show->callback([&, options] { exit_code = Show(common, *options); });
  app.add_subcommand("score", "Brier scores of the resolved predictions, beside the base rate and always one half")
      ->callback([&, options] { exit_code = ScoreVerb(common, *options); });
}

}  // namespace assay::cli
