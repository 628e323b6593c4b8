#include "advice/explain.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "advice/audit.h"
#include "core/json_number.h"
#include "store/metrics.h"
#include "store/nearest.h"

namespace assay {
namespace {

// Raw samples are stored as one JSON array of numbers; other artifacts (curves) are objects and are not samples.
std::vector<double> ReadSamples(const Store& store, const std::string& hash) {
  std::vector<double> samples;
  if (hash.empty()) return samples;
  const auto bytes = store.GetArtifact(hash);
  if (!bytes.ok()) return samples;
  const auto json = nlohmann::json::parse(*bytes, nullptr, false);
  if (!json.is_array()) return samples;
  for (const auto& value : json) {
    if (value.is_number()) samples.push_back(value.get<double>());
  }
  return samples;
}

std::string Number(double value) { return std::isinf(value) ? (value > 0 ? "no upper bound" : "no lower bound") : fmt::format("{:.6g}", value); }

}  // namespace

Result<Explanation> Explain(const Store& store, std::string_view id) {
  ASSAY_TRY(const std::vector<RunInfo> runs, store.Runs());
  const RunInfo* audit = nullptr;
  for (const RunInfo& run : runs) {
    if (run.start.command_line.rfind("assay audit", 0) == 0) audit = &run;
  }
  if (audit == nullptr) return BadInput(store.path() + ": no audit is stored here yet; run `assay audit USECASE.toml` first");
  ASSAY_TRY(std::vector<Measurement> rows, store.Find({.run_id = audit->id}));
  std::vector<std::string> ids;
  for (Measurement& row : rows) {
    ids.push_back(IdOf(row));
    if (ids.back() != id) continue;
    Explanation explanation;
    if (const Metric* metric = FindMetric(row.metric); metric != nullptr) explanation.metric_meaning = metric->meaning;
    explanation.run_id = audit->id;
    explanation.run_command = audit->start.command_line;
    explanation.run_created_utc = audit->created_utc;
    explanation.samples = ReadSamples(store, row.samples_artifact);
    explanation.row = std::move(row);
    return explanation;
  }
  const std::string nearest = NearestName(id, ids);
  return BadInput(fmt::format("the last audit ({}) has no number '{}'{}; `assay audit --json` lists all ids", audit->created_utc, id,
                              nearest.empty() ? "" : ", did you mean '" + nearest + "'?"));
}

std::string ExplanationText(const Explanation& e) {
  const Quantity& q = e.row.quantity;
  std::string out = fmt::format("{}\n  {}\n\n", IdOf(e.row), e.metric_meaning);
  if (q.refused()) {
    out += fmt::format("  refused: {}\n", q.origin);
  } else {
    out += fmt::format("  value     {} {}\n", Number(q.value), q.unit);
    if (q.low != q.high) out += fmt::format("  interval  {} to {}\n", Number(q.low), Number(q.high));
    out += fmt::format("  basis     {}\n  origin    {}\n", NameOf(q.basis), q.origin);
  }
  const Subject& subject = e.row.subject;
  if (!subject.mechanism.empty()) {
    out += fmt::format("  subject   {} ({}), revision {}\n", subject.mechanism, subject.parameters, subject.revision);
  }
  if (!subject.implementation.empty()) out += fmt::format("  ran as    {}\n", subject.implementation);
  for (const Factor& factor : e.row.factors) {
    if (factor.name != "scope") out += fmt::format("  where     {} = {}\n", factor.name, factor.value);
  }
  if (!e.row.flags.empty()) out += fmt::format("  flags     {}\n", e.row.flags);
  if (!e.samples.empty()) {
    out += fmt::format("  samples   {}:", e.samples.size());
    for (size_t i = 0; i < e.samples.size() && i < 12; ++i) out += fmt::format(" {:.4g}", e.samples[i]);
    out += e.samples.size() > 12 ? " ... (all of them: --json)\n" : "\n";
  }
  if (!e.row.provenance_json.empty()) out += fmt::format("  inputs    {}\n", e.row.provenance_json);
  out += fmt::format("  seed      {}\n  audit     {} of {}\n", e.row.seed, e.run_id, e.run_created_utc);
  out += fmt::format("\n  repeat    {}\n", e.row.command);
  return out;
}

std::string ExplanationJson(const Explanation& e) {
  nlohmann::json json = JsonEnvelope("explanation");
  json.update(JsonQuantity(e.row.quantity));
  json["id"] = IdOf(e.row);
  json["meaning"] = e.metric_meaning;
  json["subject"] = {{"mechanism", e.row.subject.mechanism}, {"parameters", e.row.subject.parameters},
                     {"implementation", e.row.subject.implementation}, {"revision", e.row.subject.revision}};
  json["factors"] = nlohmann::json::object();
  for (const Factor& factor : e.row.factors) json["factors"][factor.name] = factor.value;
  json["flags"] = e.row.flags;
  json["samples"] = nlohmann::json::array();
  for (const double sample : e.samples) json["samples"].push_back(JsonNumber(sample));
  json["inputs"] = e.row.provenance_json.empty() ? nlohmann::json::object() : nlohmann::json::parse(e.row.provenance_json, nullptr, false);
  json["seed"] = e.row.seed;
  json["run"] = {{"id", e.run_id}, {"command", e.run_command}, {"created_utc", e.run_created_utc}};
  json["command"] = e.row.command;
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace assay
