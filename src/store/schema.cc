#include "store/schema.h"

#include <array>

#include "fmt/format.h"
#include "store/time.h"

namespace assay {
namespace {

// kMigrations[v] takes a file from version v to v + 1.
constexpr std::array<const char*, kSchemaVersion> kMigrations = {R"sql(
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_utc TEXT NOT NULL);
CREATE TABLE metrics (
  name TEXT PRIMARY KEY, unit TEXT NOT NULL, direction INTEGER NOT NULL, aggregation INTEGER NOT NULL, meaning TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE runs (
  id TEXT PRIMARY KEY, command_line TEXT NOT NULL, use_case_hash TEXT NOT NULL, plan_hash TEXT NOT NULL,
  program_version TEXT NOT NULL, machine_json TEXT NOT NULL, created_utc TEXT NOT NULL, ended_utc TEXT,
  status TEXT NOT NULL CHECK (status IN ('running', 'complete', 'stopped', 'failed'))
) WITHOUT ROWID;
CREATE TABLE cells (
  key TEXT PRIMARY KEY, mechanism TEXT NOT NULL, parameters TEXT NOT NULL, implementation TEXT NOT NULL,
  revision INTEGER NOT NULL, kernel_hash TEXT NOT NULL, factors_json TEXT NOT NULL, machine TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE artifacts (
  hash TEXT PRIMARY KEY CHECK (length(hash) = 64), media_type TEXT NOT NULL, created_utc TEXT NOT NULL, bytes BLOB NOT NULL
);
CREATE TABLE measurements (
  id INTEGER PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(id), cell_key TEXT NOT NULL REFERENCES cells(key),
  probe TEXT NOT NULL, metric TEXT NOT NULL REFERENCES metrics(name),
  value REAL, low REAL, high REAL, unit TEXT NOT NULL, basis INTEGER NOT NULL, origin TEXT NOT NULL,
  sample_count INTEGER NOT NULL, samples_artifact TEXT REFERENCES artifacts(hash), command TEXT NOT NULL,
  flags TEXT NOT NULL, seed INTEGER NOT NULL, provenance_json TEXT NOT NULL, created_utc TEXT NOT NULL,
  UNIQUE (run_id, cell_key, probe, metric)
);
CREATE INDEX measurements_by_cell ON measurements (cell_key, probe, metric);
CREATE INDEX measurements_by_metric ON measurements (metric);
CREATE TABLE work_done (
  run_id TEXT NOT NULL REFERENCES runs(id), work_key TEXT NOT NULL, label TEXT NOT NULL, outcome TEXT NOT NULL,
  row_count INTEGER NOT NULL, finished_utc TEXT NOT NULL, PRIMARY KEY (run_id, work_key)
) WITHOUT ROWID;
CREATE TABLE rebuttals (
  id TEXT PRIMARY KEY, claim_id TEXT NOT NULL, premise TEXT NOT NULL, artifact TEXT NOT NULL REFERENCES artifacts(hash),
  created_utc TEXT NOT NULL
) WITHOUT ROWID;
)sql"};

struct Found {
  int64_t version = 0;
  bool empty = false;
};

// What the file is: a store of some version, an empty file, or neither (an error).
Result<Found> Identify(sqlite::Database& database) {
  ASSAY_TRY(const int64_t application, database.QueryInt("PRAGMA application_id"));
  ASSAY_TRY(const int64_t version, database.QueryInt("PRAGMA user_version"));
  ASSAY_TRY(const int64_t tables, database.QueryInt("SELECT count(*) FROM sqlite_master"));
  if (application == 0 && version == 0 && tables == 0) return Found{.version = 0, .empty = true};
  if (application != kApplicationId)
    return BadInput(fmt::format("{}: a SQLite file of another program, not an Assay store; give another path with --db",
                                database.path()));
  if (version > kSchemaVersion)
    return BadInput(fmt::format("{}: written by a newer Assay (schema {}; this one knows {}); update Assay to read it",
                                database.path(), version, kSchemaVersion));
  return Found{.version = version, .empty = false};
}

}  // namespace

Status Migrate(sqlite::Database& database) {
  ASSAY_TRY(const Found before, Identify(database));
  if (before.version == kSchemaVersion) return Ok();
  ASSAY_TRY(sqlite::Transaction transaction, sqlite::Transaction::Begin(database));
  // Another process may have migrated while this one waited for the lock.
  ASSAY_TRY(const Found now, Identify(database));
  for (int64_t version = now.version; version < kSchemaVersion; ++version) {
    ASSAY_RETURN_IF_ERROR(database.Execute(kMigrations[static_cast<size_t>(version)]));
    ASSAY_RETURN_IF_ERROR(database.Execute(
        fmt::format("INSERT INTO schema_version VALUES ({}, '{}')", version + 1, UtcNow())));
  }
  ASSAY_RETURN_IF_ERROR(database.Execute(
      fmt::format("PRAGMA user_version = {}; PRAGMA application_id = {}", kSchemaVersion, kApplicationId)));
  return transaction.Commit();
}

Status CheckVersion(sqlite::Database& database) {
  ASSAY_TRY(const Found found, Identify(database));
  if (found.empty) return BadInput(fmt::format("{}: an empty file, not an Assay store", database.path()));
  if (found.version < kSchemaVersion)
    return BadInput(fmt::format("{}: written by an older Assay (schema {}); run `assay db check --db {}` once to migrate it",
                                database.path(), found.version, database.path()));
  return Ok();
}

}  // namespace assay
