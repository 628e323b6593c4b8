// Joining the store of another machine into this one, and checking that a store is whole.
#include "fmt/format.h"
#include "store/schema.h"
#include "store/sha256.h"
#include "store/store_state.h"

namespace assay {
namespace {

// Rows of `other` whose key is ours and whose content is not, one line each.
Status FindConflicts(sqlite::Database& database, std::vector<std::string>& conflicts) {
  ASSAY_TRY(auto rows, database.Prepare(R"sql(
      SELECT o.run_id, o.cell_key, o.probe, o.metric, m.value, o.value, m.unit
      FROM other.measurements o JOIN main.measurements m USING (run_id, cell_key, probe, metric)
      WHERE m.value IS NOT o.value OR m.low IS NOT o.low OR m.high IS NOT o.high OR m.unit IS NOT o.unit OR m.basis IS NOT o.basis
         OR m.origin IS NOT o.origin OR m.sample_count IS NOT o.sample_count OR m.samples_artifact IS NOT o.samples_artifact
         OR m.flags IS NOT o.flags OR m.seed IS NOT o.seed
      ORDER BY o.id)sql"));
  for (;;) {
    ASSAY_TRY(const bool row, rows.Step());
    if (!row) break;
    conflicts.push_back(fmt::format("run {} cell {} {}/{}: here {} {}, there {}", rows.Text(0), rows.Text(1), rows.Text(2),
                                    rows.Text(3), rows.Real(4), rows.Text(6), rows.Real(5)));
  }
  ASSAY_TRY(auto runs, database.Prepare(R"sql(
      SELECT o.id FROM other.runs o JOIN main.runs m USING (id)
      WHERE m.command_line IS NOT o.command_line OR m.plan_hash IS NOT o.plan_hash OR m.machine_json IS NOT o.machine_json)sql"));
  for (;;) {
    ASSAY_TRY(const bool row, runs.Step());
    if (!row) return Ok();
    conflicts.push_back(fmt::format("run {}: another command, plan or machine under the same id", runs.Text(0)));
  }
}

// A metric the other file holds in another unit would let one number be read as another.
Status RefuseOtherUnits(sqlite::Database& database, const std::string& other_path) {
  ASSAY_TRY(auto rows, database.Prepare("SELECT o.name, o.unit, m.unit FROM other.metrics o JOIN main.metrics m USING (name) WHERE "
                                        "o.unit <> m.unit LIMIT 1"));
  ASSAY_TRY(const bool row, rows.Step());
  if (row)
    return BadInput(fmt::format("{}: its metric \"{}\" is in {}, ours in {}; nothing was merged", other_path, rows.Text(0),
                                rows.Text(1), rows.Text(2)));
  ASSAY_TRY(auto unknown, database.Prepare("SELECT name FROM other.metrics WHERE name NOT IN (SELECT name FROM main.metrics) LIMIT 1"));
  ASSAY_TRY(const bool missing, unknown.Step());
  if (missing)
    return BadInput(fmt::format("{}: its metric \"{}\" is not registered here: a newer Assay wrote it; update this one. Nothing was "
                                "merged",
                                other_path, unknown.Text(0)));
  return Ok();
}

Result<std::vector<std::string>> DamagedArtifacts(sqlite::Database& database, std::string_view schema) {
  ASSAY_TRY(auto rows, database.Prepare(fmt::format("SELECT hash, bytes FROM {}.artifacts", schema)));
  std::vector<std::string> damaged;
  for (;;) {
    ASSAY_TRY(const bool row, rows.Step());
    if (!row) return damaged;
    if (Sha256Hex(rows.Blob(1)) != rows.Text(0)) damaged.push_back(rows.Text(0));
  }
}

Result<int64_t> Copy(sqlite::Database& database, const char* sql) {
  ASSAY_TRY(auto statement, database.Prepare(sql));
  ASSAY_RETURN_IF_ERROR(statement.Run());
  return database.changes();
}

Result<MergeReport> MergeAttached(sqlite::Database& database, const std::string& other_path) {
  MergeReport report;
  ASSAY_RETURN_IF_ERROR(RefuseOtherUnits(database, other_path));
  ASSAY_TRY(const auto damaged, DamagedArtifacts(database, "other"));
  if (!damaged.empty())
    return BadInput(fmt::format("{}: artifact {} is damaged: its bytes have another hash; nothing was merged", other_path, damaged[0]));
  ASSAY_TRY(auto transaction, sqlite::Transaction::Begin(database));
  ASSAY_RETURN_IF_ERROR(FindConflicts(database, report.conflicts));
  ASSAY_TRY(report.runs_added, Copy(database, "INSERT OR IGNORE INTO main.runs SELECT * FROM other.runs"));
  ASSAY_TRY(report.artifacts_added, Copy(database, "INSERT OR IGNORE INTO main.artifacts SELECT * FROM other.artifacts"));
  ASSAY_TRY(const int64_t cells, Copy(database, "INSERT OR IGNORE INTO main.cells SELECT * FROM other.cells"));
  (void)cells;
  ASSAY_TRY(report.measurements_added, Copy(database, R"sql(
      INSERT OR IGNORE INTO main.measurements
      SELECT NULL, run_id, cell_key, probe, metric, value, low, high, unit, basis, origin, sample_count, samples_artifact, command,
             flags, seed, provenance_json, created_utc FROM other.measurements ORDER BY id)sql"));
  ASSAY_TRY(const int64_t work, Copy(database, "INSERT OR IGNORE INTO main.work_done SELECT * FROM other.work_done"));
  (void)work;
  ASSAY_TRY(const int64_t rebuttals, Copy(database, "INSERT OR IGNORE INTO main.rebuttals SELECT * FROM other.rebuttals"));
  (void)rebuttals;
  ASSAY_TRY(const int64_t theirs, database.QueryInt("SELECT count(*) FROM other.measurements"));
  report.measurements_same = theirs - report.measurements_added - static_cast<int64_t>(report.conflicts.size());
  ASSAY_RETURN_IF_ERROR(transaction.Commit());
  return report;
}

}  // namespace

Result<MergeReport> Store::Merge(const std::string& other_path) {
  const std::lock_guard lock(state_->mutex);
  {
    // Refuses a file that is missing, foreign, newer or older before it is attached.
    ASSAY_TRY(const Store other, Store::Open({.path = other_path, .read_only = true}));
    ASSAY_TRY(const CheckReport check, other.Check());
    if (!check.problems.empty()) return BadInput(fmt::format("{}: {}; nothing was merged", other_path, check.problems[0]));
  }
  sqlite::Database& database = *state_->database;
  ASSAY_TRY(auto attach, database.Prepare("ATTACH DATABASE ? AS other"));
  ASSAY_RETURN_IF_ERROR(attach.Bind(sqlite::ReadOnlyUri(other_path)).Run());
  Result<MergeReport> report = MergeAttached(database, other_path);
  ASSAY_RETURN_IF_ERROR(database.Execute("DETACH DATABASE other"));
  return report;
}

Result<CheckReport> Store::Check() const {
  const std::lock_guard lock(state_->mutex);
  sqlite::Database& database = *state_->database;
  CheckReport report;
  ASSAY_TRY(auto integrity, database.Prepare("PRAGMA integrity_check(20)"));
  for (;;) {
    ASSAY_TRY(const bool row, integrity.Step());
    if (!row) break;
    if (integrity.Text(0) != "ok") report.problems.push_back("damaged: " + integrity.Text(0));
  }
  ASSAY_TRY(auto references, database.Prepare("SELECT \"table\", \"parent\", count(*) FROM pragma_foreign_key_check GROUP BY 1, 2"));
  for (;;) {
    ASSAY_TRY(const bool row, references.Step());
    if (!row) break;
    report.problems.push_back(
        fmt::format("{} row(s) of {} point to a missing row of {}", references.Int(2), references.Text(0), references.Text(1)));
  }
  ASSAY_TRY(const auto damaged, DamagedArtifacts(database, "main"));
  for (const std::string& hash : damaged) report.problems.push_back("artifact " + hash + " is not what its hash says");
  // A failing case or a curve may be named in provenance_json only.
  ASSAY_TRY(auto orphans, database.Prepare(R"sql(
      SELECT hash FROM artifacts WHERE hash NOT IN (SELECT samples_artifact FROM measurements WHERE samples_artifact IS NOT NULL)
        AND hash NOT IN (SELECT artifact FROM rebuttals)
        AND NOT EXISTS (SELECT 1 FROM measurements WHERE instr(provenance_json, hash) > 0))sql"));
  for (;;) {
    ASSAY_TRY(const bool row, orphans.Step());
    if (!row) break;
    report.orphan_artifacts.push_back(orphans.Text(0));
  }
  ASSAY_TRY(const auto runs, Runs());
  for (const RunInfo& run : runs)
    if (run.status == RunStatus::kRunning) report.unended_runs.push_back(run.id);
  report.run_count = static_cast<int64_t>(runs.size());
  ASSAY_TRY(report.measurement_count, database.QueryInt("SELECT count(*) FROM measurements"));
  ASSAY_TRY(report.artifact_count, database.QueryInt("SELECT count(*) FROM artifacts"));
  return report;
}

}  // namespace assay
