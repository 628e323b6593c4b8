#include "report/audit_json.h"

#include <nlohmann/json.hpp>

#include "core/json_number.h"

namespace assay {
namespace {

using nlohmann::json;

json RowJson(const Measurement& row) {
  json out = JsonQuantity(row.quantity);
  out["id"] = IdOf(row);
  out["scope"] = ScopeOf(row);
  out["metric"] = row.metric;
  out["probe"] = row.probe;
  out["command"] = row.command;
  out["sample_count"] = row.sample_count;
  if (!row.flags.empty()) out["flags"] = row.flags;
  json factors = json::object();
  for (const Factor& factor : row.factors) {
    if (factor.name != "scope") factors[factor.name] = factor.value;
  }
  out["factors"] = std::move(factors);
  out["subject"] = {{"mechanism", row.subject.mechanism},
                    {"parameters", row.subject.parameters},
                    {"implementation", row.subject.implementation},
                    {"revision", row.subject.revision}};
  return out;
}

json CandidateJson(const AuditCandidate& candidate) {
  json risks = json::array();
  for (const auto& risk : candidate.risks) {
    risks.push_back({{"feature", risk.feature}, {"what", risk.what}, {"date", risk.date}, {"url", risk.url}});
  }
  return {{"letter", candidate.letter},
          {"id", candidate.id},
          {"stack", candidate.stack},
          {"kv", candidate.kv},
          {"implementation", candidate.implementation},
          {"availability", candidate.availability},
          {"unreported", candidate.unreported},
          {"risks", std::move(risks)}};
}

}  // namespace

json FigureJson(const Figure& figure) {
  json curves = json::array();
  for (const Curve& curve : figure.curves) {
    json points = json::array();
    for (const CurvePoint& p : curve.points) points.push_back({JsonNumber(p.x), JsonNumber(p.y), JsonNumber(p.low), JsonNumber(p.high)});
    curves.push_back({{"scope", curve.scope}, {"label", curve.label}, {"basis", NameOf(curve.basis)}, {"points", std::move(points)}});
  }
  return {{"id", figure.id},         {"title", figure.title}, {"x_label", figure.x_label},  {"y_label", figure.y_label},
          {"x_log", figure.x_log},   {"y_log", figure.y_log}, {"curves", std::move(curves)}, {"refused", figure.refused}};
}

namespace {

json CrossoverJson(const CrossoverMap& map) {
  json cells = json::array();
  for (const auto& cell : map.cells) {
    cells.push_back({{"winner", cell.winner}, {"margin", JsonNumber(cell.margin)}, {"decided", cell.decided}, {"traffic_share", cell.traffic_share}});
  }
  return {{"context_tokens", map.context_tokens}, {"concurrency", map.concurrency}, {"cells", std::move(cells)}, {"refused", map.refused}};
}

json AdviceJson(const Advice& advice) {
  constexpr std::string_view kVerbs[] = {"keep", "switch", "cannot_tell"};
  json assessments = json::array();
  for (const Assessment& a : advice.assessments) {
    assessments.push_back({{"letter", a.letter},
                           {"standing", StandingText(a)},
                           {"reason", a.reason},
                           {"replicas", JsonQuantity(a.replicas)},
                           {"usd_per_month", JsonQuantity(a.usd_per_month)},
                           {"saving_usd_per_month", JsonQuantity(a.saving_usd_per_month)},
                           {"switching_usd", JsonQuantity(a.switching_usd)},
                           {"break_even_months", JsonQuantity(a.break_even_months)},
                           {"net_usd_over_horizon", JsonQuantity(a.net_usd_over_horizon)}});
  }
  return {{"verb", kVerbs[static_cast<size_t>(advice.verb)]},
          {"letter", advice.letter},
          {"sentence", advice.sentence},
          {"counter_argument", advice.counter_argument},
          {"unknown", advice.unknown},
          {"next_letter", advice.next_letter},
          {"next_command", advice.next_command},
          {"assessments", std::move(assessments)}};
}

json ClaimJson(const AuditClaim& claim) {
  return {{"id", claim.id},
          {"mechanism", claim.mechanism},
          {"statement", claim.statement},
          {"source_url", claim.source_url},
          {"date", claim.date},
          {"at_origin", {{"verdict", claim.at_origin}, {"why", claim.at_origin_why}}},
          {"for_you", {{"verdict", claim.for_you}, {"why", claim.for_you_why}}},
          {"basis", claim.basis},
          {"unsaid", claim.unsaid},
          {"evidence_against", claim.evidence_against},
          {"expired", claim.expired},
          {"bears_on_use_case", claim.bears_on_use_case}};
}

}  // namespace

std::string AuditJson(const AuditResult& audit, bool indent) {
  json out = JsonEnvelope("audit");
  out["title"] = audit.title;
  out["run_id"] = audit.run_id;
  out["usecase"] = audit.usecase_path;
  out["command"] = audit.command;
  out["date"] = audit.date;
  out["version"] = audit.version;
  out["machine"] = audit.machine;
  out["seed"] = audit.seed;
  out["advice"] = AdviceJson(audit.advice);
  for (const char* list : {"flips", "candidates", "rows", "figures", "claims", "probes"}) out[list] = json::array();
  for (const Flip& flip : audit.flips) {
    out["flips"].push_back({{"factor", flip.factor},
                            {"at", JsonNumber(flip.at)},
                            {"today", JsonNumber(flip.today)},
                            {"same_at", JsonNumber(flip.same_at)},
                            {"advice_there", flip.advice_there},
                            {"command", flip.command}});
  }
  out["flips_refused"] = audit.flips_refused;
  for (const AuditCandidate& candidate : audit.candidates) out["candidates"].push_back(CandidateJson(candidate));
  for (const Measurement& row : audit.rows) out["rows"].push_back(RowJson(row));
  for (const Figure& figure : audit.figures) out["figures"].push_back(FigureJson(figure));
  out["crossover"] = CrossoverJson(audit.crossover);
  for (const AuditClaim& claim : audit.claims) out["claims"].push_back(ClaimJson(claim));
  for (const AuditProbe& probe : audit.probes) {
    out["probes"].push_back({{"probe", probe.probe},
                             {"subject", probe.subject},
                             {"title", probe.title},
                             {"outcome", probe.outcome},
                             {"severity", probe.severity},
                             {"detail", probe.detail}});
  }
  out["notes"] = audit.notes;
  return out.dump(indent ? 2 : -1, ' ', false, json::error_handler_t::replace);
}

}  // namespace assay
