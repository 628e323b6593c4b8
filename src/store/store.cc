// Opening a store, runs, measurements and artifacts. Merge, check and export are in store_merge.cc and store_export.cc.
#include "store/store.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "fmt/format.h"
#include "store/metrics.h"
#include "store/schema.h"
#include "store/sha256.h"
#include "store/store_state.h"
#include "store/time.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Creates the missing directories of `directory`, each private to the user; existing ones keep their permissions.
Status MakePrivateDirectories(const fs::path& directory) {
  std::error_code failed;
  if (directory.empty() || fs::is_directory(directory, failed)) return Ok();
  ASSAY_RETURN_IF_ERROR(MakePrivateDirectories(directory.parent_path()));
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return EnvironmentError(fmt::format("{}: the directory cannot be created: {}; give another path with --db",
                                        directory.string(), std::strerror(errno)));
  return Ok();
}

// Creates an empty file that only the user can read, whatever the umask; SQLite gives -wal and -shm the mode of the file they serve.
Status CreatePrivateFile(const std::string& path) {
  const int descriptor = open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    if (errno == EEXIST) return Ok();  // another process was first
    return EnvironmentError(fmt::format("{}: the store cannot be created: {}; give another path with --db", path,
                                        std::strerror(errno)));
  }
  (void)fchmod(descriptor, 0600);
  close(descriptor);
  return Ok();
}

std::string NewRunId() {
  uint32_t random = 0;
  if (getrandom(&random, sizeof random, 0) != sizeof random) random = static_cast<uint32_t>(getpid());
  std::string id = UtcNow();
  std::erase_if(id, [](char c) { return c == '-' || c == ':'; });
  return fmt::format("{}-{:08x}", id, random);
}

// Brings the stored registry up to the program's. A unit that differs is a bug of a release: metrics.cc forbids it.
Status SyncMetrics(sqlite::Database& database) {
  std::map<std::string, std::string> stored;
  {
    ASSAY_TRY(auto rows, database.Prepare("SELECT name, unit FROM metrics"));
    for (;;) {
      ASSAY_TRY(const bool row, rows.Step());
      if (!row) break;
      stored[rows.Text(0)] = rows.Text(1);
    }
  }
  std::vector<const Metric*> missing;
  for (const Metric& metric : AllMetrics()) {
    const auto at = stored.find(metric.name);
    if (at == stored.end())
      missing.push_back(&metric);
    else if (at->second != metric.unit)
      return BadInput(fmt::format("{}: its metric \"{}\" is in {}, this Assay's in {}; it was written by an incompatible version",
                                  database.path(), metric.name, at->second, metric.unit));
  }
  if (missing.empty()) return Ok();
  ASSAY_TRY(auto transaction, sqlite::Transaction::Begin(database));
  ASSAY_TRY(auto insert, database.Prepare("INSERT OR IGNORE INTO metrics VALUES (?, ?, ?, ?, ?)"));
  for (const Metric* metric : missing) {
    insert.Bind(metric->name).Bind(metric->unit).Bind(static_cast<int64_t>(metric->direction));
    insert.Bind(static_cast<int64_t>(metric->aggregation)).Bind(metric->meaning);
    ASSAY_RETURN_IF_ERROR(insert.Run());
  }
  return transaction.Commit();
}

Status Configure(sqlite::Database& database, const StoreOptions& options) {
  ASSAY_RETURN_IF_ERROR(database.Execute("PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON"));
  if (options.read_only) return CheckVersion(database);
  // Migrate() looks before it writes, so the file of another program is refused before its journal mode could change.
  ASSAY_RETURN_IF_ERROR(Migrate(database));
  ASSAY_RETURN_IF_ERROR(database.Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"));
  if (options.max_bytes > 0) {
    ASSAY_TRY(const int64_t page_bytes, database.QueryInt("PRAGMA page_size"));
    ASSAY_RETURN_IF_ERROR(database.Execute(fmt::format("PRAGMA max_page_count = {}", options.max_bytes / page_bytes)));
  }
  return SyncMetrics(database);
}

bool Same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// Whether two rows under one key say the same thing. The time they were stored at does not matter.
bool SameFinding(const Measurement& a, const Measurement& b) {
  return Same(a.quantity.value, b.quantity.value) && Same(a.quantity.low, b.quantity.low) &&
         Same(a.quantity.high, b.quantity.high) && a.quantity.unit == b.quantity.unit && a.quantity.basis == b.quantity.basis &&
         a.quantity.origin == b.quantity.origin && a.sample_count == b.sample_count && a.samples_artifact == b.samples_artifact &&
         a.flags == b.flags;
}

Status InsertCell(sqlite::Database& database, const Measurement& m) {
  ASSAY_TRY(auto insert, database.Prepare("INSERT OR IGNORE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
  insert.Bind(m.cell_key).Bind(m.subject.mechanism).Bind(m.subject.parameters).Bind(m.subject.implementation);
  insert.Bind(int64_t{m.subject.revision}).Bind(m.subject.kernel_hash).Bind(FactorsJson(m.factors)).Bind(m.machine);
  return insert.Run();
}

}  // namespace

std::string_view NameOf(RunStatus status) {
  switch (status) {
    case RunStatus::kRunning: return "running";
    case RunStatus::kComplete: return "complete";
    case RunStatus::kStopped: return "stopped";
    case RunStatus::kFailed: return "failed";
  }
  return "?";
}

Result<std::string> DefaultStorePath() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && data[0] == '/')
    return std::string(data) + "/assay/assay.db";
  if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/')
    return std::string(home) + "/.local/share/assay/assay.db";
  return EnvironmentError("no place for the store: neither XDG_DATA_HOME nor HOME is an absolute path; give one with --db");
}

std::string FactorsJson(std::vector<Factor> factors) {
  nlohmann::json object = nlohmann::json::object();  // sorted by name
  for (Factor& factor : factors) object[factor.name] = std::move(factor.value);
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<std::vector<Factor>> FactorsFromJson(std::string_view text) {
  const auto object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object()) return BadInput("the factors of a stored cell are not a JSON object: the store is damaged");
  std::vector<Factor> factors;
  for (const auto& [name, value] : object.items()) {
    if (!value.is_string()) return BadInput("a factor of a stored cell is not a string: the store is damaged");
    factors.push_back({name, value.get<std::string>()});
  }
  return factors;
}

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;
const std::string& Store::path() const { return state_->database->path(); }

Result<Store> Store::Open(StoreOptions options) {
  if (options.path.empty()) {
    ASSAY_TRY(options.path, DefaultStorePath());
  }
  std::error_code failed;
  if (fs::is_directory(options.path, failed))
    return BadInput(fmt::format("{}: a directory, not a store; give the path of a file with --db", options.path));
  // SQLite would wait at a pipe for its writer, for ever.
  const fs::file_status found = fs::status(options.path, failed);
  if (fs::exists(found) && !fs::is_regular_file(found)) return BadInput(fmt::format("{}: not a regular file, so no store; give the path of a file with --db", options.path));
  if (!fs::exists(found)) {
    if (options.read_only || !options.create)
      return BadInput(fmt::format("{}: no such store; a run that measures creates it", options.path));
    ASSAY_RETURN_IF_ERROR(MakePrivateDirectories(fs::path(options.path).parent_path()));
    ASSAY_RETURN_IF_ERROR(CreatePrivateFile(options.path));
  }
  const auto mode = options.read_only ? sqlite::Database::Mode::kReadOnly : sqlite::Database::Mode::kReadWrite;
  auto state = std::make_unique<State>();
  ASSAY_TRY(state->database, sqlite::Database::Open(options.path, mode, options.busy_timeout_ms));
  ASSAY_RETURN_IF_ERROR(Configure(*state->database, options));
  return Store(std::move(state));
}

Result<std::string> Store::BeginRun(const RunStart& start) {
  const std::lock_guard lock(state_->mutex);
  const std::string id = NewRunId();
  ASSAY_TRY(auto insert, state_->database->Prepare("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, NULL, 'running')"));
  insert.Bind(id).Bind(start.command_line).Bind(start.use_case_hash).Bind(start.plan_hash).Bind(start.program_version);
  insert.Bind(start.machine_json).Bind(UtcNow());
  ASSAY_RETURN_IF_ERROR(insert.Run());
  state_->runs.Take(path(), id);
  return id;
}

Status Store::EndRun(std::string_view run_id, RunStatus status) {
  const std::lock_guard lock(state_->mutex);
  ASSAY_TRY(auto update, state_->database->Prepare("UPDATE runs SET ended_utc = ?, status = ? WHERE id = ?"));
  ASSAY_RETURN_IF_ERROR(update.Bind(UtcNow()).Bind(NameOf(status)).Bind(run_id).Run());
  if (state_->database->changes() != 1) return BadInput(fmt::format("run {} is not in {}", run_id, path()));
  state_->runs.Release(run_id);  // last: who can take the run over must see how it ended
  return Ok();
}

Result<std::vector<RunInfo>> Store::Runs() const {
  const std::lock_guard lock(state_->mutex);
  ASSAY_TRY(auto rows, state_->database->Prepare(
                           "SELECT id, command_line, use_case_hash, plan_hash, machine_json, program_version, created_utc, "
                           "ended_utc, status, (SELECT count(*) FROM measurements WHERE run_id = runs.id) FROM runs "
                           "ORDER BY created_utc, id"));
  std::vector<RunInfo> runs;
  for (;;) {
    ASSAY_TRY(const bool row, rows.Step());
    if (!row) return runs;
    RunInfo run;
    run.id = rows.Text(0);
    run.start = {.command_line = rows.Text(1), .use_case_hash = rows.Text(2), .plan_hash = rows.Text(3),
                 .machine_json = rows.Text(4), .program_version = rows.Text(5)};
    run.created_utc = rows.Text(6);
    run.ended_utc = rows.Text(7);
    for (const RunStatus status : {RunStatus::kRunning, RunStatus::kComplete, RunStatus::kStopped, RunStatus::kFailed})
      if (rows.Text(8) == NameOf(status)) run.status = status;
    run.measurement_count = rows.Int(9);
    runs.push_back(std::move(run));
  }
}

Result<std::string> Store::ResumeRun(std::string_view plan_hash) {
  const std::lock_guard lock(state_->mutex);
  ASSAY_TRY(auto rows, state_->database->Prepare("SELECT id FROM runs WHERE plan_hash = ? AND plan_hash <> '' AND status <> "
                                                 "'complete' ORDER BY created_utc DESC, id DESC"));
  rows.Bind(plan_hash);
  for (;;) {
    ASSAY_TRY(const bool row, rows.Step());
    if (!row) return std::string();
    if (std::string id = rows.Text(0); state_->runs.Take(path(), id)) return id;
  }
}

Status Store::Put(const Measurement& measurement) { return Put(std::span(&measurement, 1)); }

namespace {

Status PutRows(Store& store, sqlite::Database& database, std::span<const Measurement> measurements) {
  ASSAY_TRY(auto insert, database.Prepare("INSERT OR IGNORE INTO measurements VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                                          "?, ?, ?, ?, ?)"));
  for (const Measurement& m : measurements) {
    ASSAY_RETURN_IF_ERROR(InsertCell(database, m));
    const Quantity& q = m.quantity;
    insert.Bind(m.run_id).Bind(m.cell_key).Bind(m.probe).Bind(m.metric).Bind(q.value).Bind(q.low).Bind(q.high).Bind(q.unit);
    insert.Bind(static_cast<int64_t>(q.basis)).Bind(q.origin).Bind(m.sample_count).BindTextOrNull(m.samples_artifact);
    insert.Bind(m.command).Bind(m.flags).Bind(static_cast<int64_t>(m.seed)).Bind(m.provenance_json).Bind(UtcNow());
    if (Status inserted = insert.Run(); !inserted.ok()) {
      Error error = std::move(inserted).TakeError();
      if (error.message.find("FOREIGN KEY") == std::string::npos) return error;
      return BadInput(fmt::format("measurement {} of cell {}: run {} or artifact \"{}\" is not in the store; begin the run and "
                                  "put the artifact first",
                                  m.metric, m.cell_key, m.run_id, m.samples_artifact));
    }
    if (database.changes() == 1) continue;
    ASSAY_TRY(const auto stored,
              store.Find({.run_id = m.run_id, .cell_key = m.cell_key, .probe = m.probe, .metric = m.metric}));
    if (stored.size() != 1 || !SameFinding(stored[0], m))
      return BadInput(fmt::format("run {} already holds {}/{} of cell {} with another value ({} against {}); a repeated "
                                  "measurement belongs to a new run or to a cell with a factor that tells them apart",
                                  m.run_id, m.probe, m.metric, m.cell_key, stored.empty() ? 0.0 : stored[0].quantity.value,
                                  m.quantity.value));
  }
  return Ok();
}

Status CheckRows(std::span<const Measurement> measurements) {
  for (const Measurement& m : measurements) {
    ASSAY_RETURN_IF_ERROR(CheckMeasurement(m));
    if (m.cell_key != CellKey(m.subject, m.factors, m.machine))
      return BadInput(fmt::format("metric {}: cell_key {} is not the key of its subject, factors and machine", m.metric, m.cell_key));
  }
  return Ok();
}

}  // namespace

Status Store::Put(std::span<const Measurement> measurements) {
  ASSAY_RETURN_IF_ERROR(CheckRows(measurements));
  const std::lock_guard lock(state_->mutex);
  ASSAY_TRY(auto transaction, sqlite::Transaction::Begin(*state_->database));
  ASSAY_RETURN_IF_ERROR(PutRows(*this, *state_->database, measurements));
  return transaction.Commit();
}

Status Store::PutWork(std::string_view run_id, std::string_view work_key, std::string_view label, std::string_view outcome,
                      std::span<const Measurement> measurements) {
  ASSAY_RETURN_IF_ERROR(CheckRows(measurements));
  const std::lock_guard lock(state_->mutex);
  ASSAY_TRY(auto transaction, sqlite::Transaction::Begin(*state_->database));
  ASSAY_RETURN_IF_ERROR(PutRows(*this, *state_->database, measurements));
  ASSAY_TRY(auto insert, state_->database->Prepare("INSERT INTO work_done VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"));
  insert.Bind(run_id).Bind(work_key).Bind(label).Bind(outcome).Bind(static_cast<int64_t>(measurements.size())).Bind(UtcNow());
  ASSAY_RETURN_IF_ERROR(insert.Run());
  return transaction.Commit();
}

Result<std::vector<std::string>> Store::WorkDone(std::string_view run_id) const {
  const std::lock_guard lock(state_->mutex);
  ASSAY_TRY(auto rows, state_->database->Prepare("SELECT work_key FROM work_done WHERE run_id = ?"));
  rows.Bind(run_id);
  std::vector<std::string> keys;
  for (;;) {
    ASSAY_TRY(const bool row, rows.Step());
    if (!row) return keys;
    keys.push_back(rows.Text(0));
  }
}

Result<std::string> Store::PutArtifact(std::string_view bytes, std::string_view media_type) {
  const std::lock_guard lock(state_->mutex);
  const std::string hash = Sha256Hex(bytes);
  ASSAY_TRY(auto insert, state_->database->Prepare("INSERT OR IGNORE INTO artifacts VALUES (?, ?, ?, ?)"));
  ASSAY_RETURN_IF_ERROR(insert.Bind(hash).Bind(media_type).Bind(UtcNow()).BindBlob(bytes).Run());
  return hash;
}

Result<std::string> Store::GetArtifact(std::string_view hash) const {
  const std::lock_guard lock(state_->mutex);
  ASSAY_TRY(auto rows, state_->database->Prepare("SELECT bytes FROM artifacts WHERE hash = ?"));
  rows.Bind(hash);
  ASSAY_TRY(const bool row, rows.Step());
  if (!row) return BadInput(fmt::format("{}: no artifact {}", path(), hash));
  std::string bytes = rows.Blob(0);
  if (Sha256Hex(bytes) != hash) return BadInput(fmt::format("{}: artifact {} is damaged: its bytes have another hash", path(), hash));
  return bytes;
}

namespace {

Result<Measurement> ReadRow(const sqlite::Statement& rows) {
  Measurement m;
  m.run_id = rows.Text(0);
  m.cell_key = rows.Text(1);
  m.subject = {.mechanism = rows.Text(2), .parameters = rows.Text(3), .implementation = rows.Text(4),
               .revision = static_cast<int>(rows.Int(5)), .kernel_hash = rows.Text(6)};
  ASSAY_TRY(m.factors, FactorsFromJson(rows.Text(7)));
  m.machine = rows.Text(8);
  m.probe = rows.Text(9);
  m.metric = rows.Text(10);
  const int64_t basis = rows.Int(15);
  if (basis < 0 || basis > static_cast<int64_t>(Basis::kRefused))
    return BadInput(fmt::format("measurement {} of cell {} has the unknown basis {}: the store is damaged", m.metric, m.cell_key, basis));
  m.quantity = {rows.Real(11), rows.Real(12), rows.Real(13), rows.Text(14), static_cast<Basis>(basis), rows.Text(16)};
  m.sample_count = rows.Int(17);
  m.samples_artifact = rows.Text(18);
  m.command = rows.Text(19);
  m.flags = rows.Text(20);
  m.seed = static_cast<uint64_t>(rows.Int(21));
  m.provenance_json = rows.Text(22);
  return m;
}

}  // namespace

Result<std::vector<Measurement>> Store::Find(const Query& query) const {
  const std::lock_guard lock(state_->mutex);
  // An empty parameter does not restrict; one statement, no text pasted into SQL.
  ASSAY_TRY(auto rows, state_->database->Prepare(R"sql(
      SELECT m.run_id, m.cell_key, c.mechanism, c.parameters, c.implementation, c.revision, c.kernel_hash, c.factors_json, c.machine,
             m.probe, m.metric, m.value, m.low, m.high, m.unit, m.basis, m.origin, m.sample_count, m.samples_artifact, m.command,
             m.flags, m.seed, m.provenance_json
      FROM measurements m JOIN cells c ON c.key = m.cell_key
      WHERE (?1 = '' OR m.run_id = ?1) AND (?2 = '' OR m.cell_key = ?2) AND (?3 = '' OR m.probe = ?3)
        AND (?4 = '' OR m.metric = ?4) AND (?5 = '' OR c.mechanism = ?5) AND (?6 = '' OR c.implementation = ?6)
      ORDER BY m.id)sql"));
  rows.Bind(query.run_id).Bind(query.cell_key).Bind(query.probe).Bind(query.metric).Bind(query.mechanism).Bind(query.implementation);
  std::vector<Measurement> found;
  for (;;) {
    ASSAY_TRY(const bool row, rows.Step());
    if (!row) return found;
    ASSAY_TRY(Measurement m, ReadRow(rows));
    found.push_back(std::move(m));
  }
}

Status Store::PutRebuttal(const Rebuttal& rebuttal) {
  const std::lock_guard lock(state_->mutex);
  ASSAY_TRY(auto insert, state_->database->Prepare("INSERT OR IGNORE INTO rebuttals VALUES (?, ?, ?, ?, ?)"));
  return insert.Bind(rebuttal.id).Bind(rebuttal.claim_id).Bind(rebuttal.premise).Bind(rebuttal.artifact).Bind(UtcNow()).Run();
}

Result<std::vector<Rebuttal>> Store::Rebuttals(std::string_view claim_id) const {
  const std::lock_guard lock(state_->mutex);
  ASSAY_TRY(auto rows, state_->database->Prepare("SELECT id, claim_id, premise, artifact, created_utc FROM rebuttals WHERE ?1 = '' OR "
                                                 "claim_id = ?1 ORDER BY created_utc, id"));
  rows.Bind(claim_id);
  std::vector<Rebuttal> found;
  for (;;) {
    ASSAY_TRY(const bool row, rows.Step());
    if (!row) return found;
    found.push_back({rows.Text(0), rows.Text(1), rows.Text(2), rows.Text(3), rows.Text(4)});
  }
}

}  // namespace assay
