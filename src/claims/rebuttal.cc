#include "claims/rebuttal.h"

#include <algorithm>

#include "claims/toml_files.h"
#include "fmt/format.h"
#include "store/metrics.h"
#include "store/nearest.h"
#include "store/time.h"

namespace assay {
namespace {

using formats::TomlErrors;
using formats::TomlReader;

struct File {
  Rebuttal rebuttal;
  std::string statement, author;
  std::vector<Measurement> rows;
};

void ReadRow(TomlReader& table, File& file) {
  Measurement row;
  row.metric = table.Text("metric", "a registered metric, or claim_figure");
  row.quantity.unit = table.Text("unit", "of the value");
  row.quantity.basis = Basis::kCited;  // measured by its author; here it is what a source says
  row.quantity.origin = table.Text("origin", "machine, engine with version, and how it was measured");
  row.command = table.Text("command", "that repeats it");
  table.Require("value", "the measured value");
  row.quantity.value = table.Number("value", {}).value_or(0);
  table.Require("low", "lower end of its interval");
  table.Require("high", "upper end of its interval");
  row.quantity.low = table.Number("low", {}).value_or(0);
  row.quantity.high = table.Number("high", {}).value_or(0);
  row.sample_count = table.Integer("samples", {.low = 1, .high = 1e15}).value_or(1);
  row.probe = "rebuttal";
  row.factors = {{"rebuttal", file.rebuttal.id}, {"row", std::to_string(file.rows.size())}};
  table.Close();
  file.rows.push_back(std::move(row));
}

Result<File> ParseRebuttal(std::string_view text, const std::string& path) {
  ASSAY_TRY(const formats::TomlNode node, formats::ParseToml(text, path));
  TomlErrors errors(path);
  TomlReader root(node, "", &errors);
  File file;
  root.Require("schema_version", "schema_version = 1");
  (void)root.Integer("schema_version", {.low = 1, .high = 1});
  file.rebuttal.id = root.Text("id", "id = \"R-2026-001\"");
  file.rebuttal.claim_id = root.Text("claim", "the id of the claim it attacks");
  file.rebuttal.premise = root.Text("premise", "the omission, unsaid value or check that it attacks");
  file.statement = root.Text("statement", "what was found, in a sentence");
  file.author = root.Text("author", "who measured");
  const std::string date = root.Text("date", "YYYY-MM-DD");
  if (!IsDate(date)) root.Fail("date", fmt::format("\"{}\" is no date; write YYYY-MM-DD", date));
  for (TomlReader& table : root.Tables("measurements")) ReadRow(table, file);
  if (file.rows.empty()) root.Fail("measurements", "a rebuttal brings at least one [[measurements]]");
  root.Close();
  ASSAY_RETURN_IF_ERROR(errors.ToStatus());
  return file;
}

Status CheckPremise(const Claim& claim, const Rebuttal& rebuttal, const std::string& path) {
  std::vector<std::string> premises;
  for (const Unsaid item : claim.unsaid) premises.emplace_back(NameOf(item));
  for (const Plausible& range : claim.plausible) premises.push_back(range.name);
  for (const ClaimCheck& check : claim.checks) premises.push_back(check.name);
  if (std::find(premises.begin(), premises.end(), rebuttal.premise) != premises.end()) return Ok();
  return BadInput(fmt::format("{}: {} has no premise \"{}\"; the nearest is \"{}\"", path, claim.id, rebuttal.premise,
                              NearestName(rebuttal.premise, premises)));
}

}  // namespace

Result<Rebuttal> StoreRebuttal(Store& store, const std::string& path, const std::vector<Claim>& claims, const std::string& command) {
  ASSAY_TRY(const std::string text, formats::ReadFile(path, kLargestClaimBytes));
  ASSAY_TRY(File file, ParseRebuttal(text, path));
  const auto claim = std::find_if(claims.begin(), claims.end(), [&](const Claim& c) { return c.id == file.rebuttal.claim_id; });
  if (claim == claims.end()) return BadInput(fmt::format("{}: no claim {}; `assay claims list` lists them", path, file.rebuttal.claim_id));
  ASSAY_RETURN_IF_ERROR(CheckPremise(*claim, file.rebuttal, path));
  for (Measurement& row : file.rows) {
    row.subject.mechanism = claim->mechanism;
    row.cell_key = CellKey(row.subject, row.factors, row.machine);
    row.run_id = "unset";
    if (Status fit = CheckMeasurement(row); !fit.ok()) return std::move(fit).TakeError().In(path);
  }
  ASSAY_TRY(file.rebuttal.artifact, store.PutArtifact(text, "application/toml"));
  ASSAY_TRY(const std::string run, store.BeginRun({.command_line = command}));
  for (Measurement& row : file.rows) row.run_id = run;
  ASSAY_RETURN_IF_ERROR(store.Put(file.rows));
  ASSAY_RETURN_IF_ERROR(store.PutRebuttal(file.rebuttal));
  ASSAY_RETURN_IF_ERROR(store.EndRun(run, RunStatus::kComplete));
  return file.rebuttal;
}

}  // namespace assay
