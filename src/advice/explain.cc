#include "advice/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "advice/audit.h"
#include "core/json_number.h"
#include "store/metrics.h"
#include "store/nearest.h"

namespace assay {
namespace {

// Fills in what stands behind the row: an artifact that is an array holds its raw samples, any other is the document it came from.
void ReadArtifact(const Store& store, Explanation* explanation) {
  if (explanation->row.samples_artifact.empty()) return;
  const auto bytes = store.GetArtifact(explanation->row.samples_artifact);
  if (!bytes.ok()) return;
  const auto json = nlohmann::json::parse(*bytes, nullptr, false);
  if (json.is_object()) explanation->document_json = *bytes;
  if (!json.is_array()) return;
  for (const auto& value : json) {
    if (value.is_number()) explanation->samples.push_back(value.get<double>());
  }
}

// "A.max_rate" is short for "A.max_rate_per_second": of the ids that go on as `id` begins, the one that does so longest; empty if none
// shares more than the scope and three letters.
std::string LongestCommonStart(std::string_view id, const std::vector<std::string>& ids) {
  size_t longest = std::min(id.find('.'), id.size()) + 3;
  std::string best;
  for (const std::string& known : ids) {
    const auto shared = static_cast<size_t>(std::mismatch(id.begin(), id.end(), known.begin(), known.end()).first - id.begin());
    if (shared > longest) {
      longest = shared;
      best = known;
    }
  }
  return best;
}

std::string Number(double value) { return std::isinf(value) ? (value > 0 ? "no upper bound" : "no lower bound") : fmt::format("{:.6g}", value); }

}  // namespace

Result<Explanation> Explain(const Store& store, std::string_view id) {
  ASSAY_TRY(std::vector<RunInfo> runs, store.Runs());
  std::erase_if(runs, [](const RunInfo& run) { return run.start.command_line.rfind("assay audit", 0) != 0; });
  if (runs.empty()) return BadInput(store.path() + ": no audit is stored here yet; run `assay audit USECASE.toml` first");
  // The newest audit that has the number: one that was stopped early may lack it.
  std::vector<std::string> ids;
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
    ASSAY_TRY(std::vector<Measurement> rows, store.Find({.run_id = run->id}));
    for (Measurement& row : rows) {
      if (IdOf(row) != id) {
        ids.push_back(IdOf(row));
        continue;
      }
      Explanation explanation;
      if (const Metric* metric = FindMetric(row.metric); metric != nullptr) explanation.metric_meaning = metric->meaning;
      explanation.run = *run;
      explanation.newer_audits = run - runs.rbegin();
      explanation.row = std::move(row);
      ReadArtifact(store, &explanation);
      return explanation;
    }
  }
  std::string nearest = NearestName(id, ids);
  if (nearest.empty()) nearest = LongestCommonStart(id, ids);
  return BadInput(fmt::format("no audit in {} has a number '{}'{}; `assay audit --json` lists all ids", store.path(), id,
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
    out += fmt::format("  samples   {} in {}:", e.samples.size(), q.unit);
    for (size_t i = 0; i < e.samples.size() && i < 12; ++i) out += fmt::format(" {:.4g}", e.samples[i]);
    out += e.samples.size() > 12 ? " ... (all of them: --json)\n" : "\n";
  }
  if (!e.document_json.empty()) out += fmt::format("  from      document {:.12} (--json prints it)\n", e.row.samples_artifact);
  if (!e.row.provenance_json.empty()) out += fmt::format("  inputs    {}\n", e.row.provenance_json);
  out += fmt::format("  seed      {}\n  audit     {} of {}{}{}\n", e.row.seed, e.run.id, e.run.created_utc,
                     e.run.status == RunStatus::kComplete ? "" : fmt::format(", {}", NameOf(e.run.status)),
                     e.newer_audits == 0 ? "" : fmt::format("; {} newer without this number", e.newer_audits));
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
  json["document"] = e.document_json.empty() ? nlohmann::json() : nlohmann::json::parse(e.document_json, nullptr, false);
  json["inputs"] = e.row.provenance_json.empty() ? nlohmann::json::object() : nlohmann::json::parse(e.row.provenance_json, nullptr, false);
  json["seed"] = e.row.seed;
  json["run"] = {{"id", e.run.id}, {"command", e.run.start.command_line}, {"created_utc", e.run.created_utc}, {"status", NameOf(e.run.status)}};
  json["command"] = e.row.command;
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace assay
