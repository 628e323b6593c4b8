#include "claims/claims_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

// An open end of an interval must not become null, which would read as unknown.
Json Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

Json PartsJson(const std::vector<CheckVerdict>& parts) {
  Json list = Json::array();
  for (const CheckVerdict& part : parts) {
    Json entry = ToJson(part.verdict);
    entry["check"] = part.check;
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace

Json ToJson(const Claim& claim) {
  Json unsaid = Json::array();
  for (const Unsaid item : claim.unsaid) unsaid.push_back(NameOf(item));
  Json evidence = Json::array();
  for (const ClaimEvidence& item : claim.evidence)
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
          {{"variable", at.variable}, {"low", Number(at.low)}, {"high", Number(at.high)}, {"holds", at.holds_above ? "above" : "below"}});
  }
  if (verdict.samples_needed > 0) json["samples_needed"] = verdict.samples_needed;
  if (!verdict.decides_command.empty())
    json["decided_by"] = {{"command", verdict.decides_command}, {"hardware", verdict.decides_hardware}};
  if (verdict.derived_low != 0 || verdict.derived_high != 0)
    json["derived"] = {{"low", Number(verdict.derived_low)}, {"high", Number(verdict.derived_high)}};
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

}  // namespace assay
