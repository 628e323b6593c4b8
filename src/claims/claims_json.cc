#include "claims/claims_json.h"

#include <nlohmann/json.hpp>

#include "core/json_number.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

Json PartsJson(const std::vector<CheckVerdict>& parts) {
  Json list = Json::array();
  for (const CheckVerdict& part : parts) {
    Json entry = ToJson(part.verdict);
    entry["check"] = part.check;
    list.push_back(std::move(entry));
  }
  return list;
}

Json ScoresJson(const std::vector<OwnerScore>& scores) {
  Json list = Json::array();
  for (const OwnerScore& score : scores)
    list.push_back({{"owner", score.owner}, {"imputed", score.imputed}, {"scored", score.scored}, {"brier", JsonNumberOrNull(score.brier)},
                    {"brier_of_base_rate", JsonNumberOrNull(score.base_rate_brier)}, {"brier_of_one_half", JsonNumberOrNull(score.half_brier)},
                    {"skill", JsonNumberOrNull(score.skill)}});
  return list;
}

}  // namespace

Json ToJson(const Claim& claim) {
  Json unsaid = Json::array();
  for (const Unsaid item : claim.unsaid) unsaid.push_back(NameOf(item));
  Json evidence = Json::array();
  for (const Evidence& item : claim.evidence)
    evidence.push_back({{"side", item.against ? "against" : "for"}, {"summary", item.summary}, {"url", item.url}, {"date", item.date}});
  return {{"id", claim.id},
          {"mechanism", claim.mechanism},
          {"statement", claim.statement},
          {"figures", claim.figures},
          {"unit", claim.unit},
          {"conditions", claim.conditions},
          {"class", NameOf(claim.claim_class)},
          {"about", NameOf(claim.about)},
          {"unsaid", unsaid},
          {"unsaid_note", claim.unsaid_note},
          {"source", {{"title", claim.source_title}, {"url", claim.source_url}, {"date", claim.date}}},
          {"baseline", {{"name", claim.baseline}, {"version", claim.baseline_version}, {"superseded", claim.baseline_superseded}}},
          {"frozen", claim.frozen},
          {"evidence", evidence}};
}

Json ToJson(const Verdict& verdict) {
  Json json = {{"verdict", NameOf(verdict.value)}, {"label", verdict.Label()}, {"basis", NameOf(verdict.basis)}, {"reason", verdict.reason}};
  if (verdict.arithmetic) json["arithmetic"] = NameOf(*verdict.arithmetic);
  if (!verdict.crossovers.empty()) {
    json["crossovers"] = Json::array();
    for (const Crossover& at : verdict.crossovers)
      json["crossovers"].push_back(
          {{"variable", at.variable}, {"low", JsonNumber(at.low)}, {"high", JsonNumber(at.high)}, {"holds", at.holds_above ? "above" : "below"}});
  }
  if (verdict.samples_needed > 0) json["samples_needed"] = verdict.samples_needed;
  if (!verdict.decides_command.empty())
    json["decided_by"] = {{"command", verdict.decides_command}, {"hardware", verdict.decides_hardware}};
  if (verdict.derived_low != 0 || verdict.derived_high != 0)
    json["derived"] = {{"low", JsonNumber(verdict.derived_low)}, {"high", JsonNumber(verdict.derived_high)}};
  return json;
}

Json ToJson(const ClaimVerdict& verdict) {
  Json json = {{"id", verdict.claim_id}, {"at_origin", ToJson(verdict.at_origin)}, {"parts", PartsJson(verdict.parts)}};
  json["for_you"] = verdict.for_you ? ToJson(*verdict.for_you) : Json();
  json["parts_for_you"] = PartsJson(verdict.parts_for_you);
  json["expired"] = verdict.expired;
  json["planted_violation"] = verdict.planted_violation;
  json["negation"] = verdict.negation ? ToJson(*verdict.negation) : Json();
  json["shams"] = verdict.shams;
  return json;
}

Json ToJson(const Prediction& prediction, std::string_view today) {
  Json forecasts = Json::array(), evidence = Json::array();
  for (const Forecast& forecast : prediction.forecasts)
    forecasts.push_back({{"owner", forecast.owner}, {"probability", forecast.probability}, {"imputed", forecast.imputed},
                         {"provisional", forecast.provisional}, {"note", forecast.note}});
  for (const Evidence& item : prediction.evidence)
    evidence.push_back({{"id", item.id}, {"side", item.against ? "against" : "for"}, {"summary", item.summary}, {"url", item.url},
                        {"date", item.date}});
  Json json = {{"id", prediction.id},
               {"question", prediction.question},
               {"reading", prediction.reading},
               {"statement", prediction.statement},
               {"criteria", prediction.criteria},
               {"state", NameOf(StateOf(prediction, today))},
               {"made_on", prediction.made_on},
               {"window_start", prediction.window_start},
               {"deadline", prediction.deadline},
               {"resolve_by", prediction.resolve_by},
               {"verified_by", prediction.verified_by},
               {"forecasts", forecasts},
               {"evidence", evidence},
               {"provisional_reading", prediction.provisional_reading}};
  json["resolution"] = prediction.outcome == Outcome::kOpen
                           ? Json()
                           : Json{{"outcome", NameOf(prediction.outcome)}, {"date", prediction.resolved_on}, {"by", prediction.resolved_by},
                                  {"note", prediction.resolution_note}};
  return json;
}

Json ToJson(const LedgerScore& score) {
  return {{"resolved", score.resolved}, {"ambiguous", score.ambiguous},     {"open", score.open},
          {"overdue", score.overdue},   {"not_started", score.not_started}, {"owners", ScoresJson(score.owners)},
          {"sensitivity", ScoresJson(score.sensitivity)}};
}

}  // namespace assay
