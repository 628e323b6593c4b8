// Store: the SQLite file that holds every measurement, what it was measured on and the artifacts it points to. Analysis, claims, advice
// and reports read it and nothing else. A Put() that returned Ok survives `kill -9` and power loss (WAL, synchronous=FULL).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "store/measurement.h"

namespace assay {

// What a run is, fixed when it begins.
struct RunStart {
  std::string command_line{};
  std::string use_case_hash{};  // empty when the run has no use case
  std::string plan_hash{};      // identity of a study's list of cells; what a resumed study looks for; may be empty
  std::string machine_json{};   // fingerprint, one JSON object
  std::string program_version{};
};

enum class RunStatus { kRunning, kComplete, kStopped, kFailed };
std::string_view NameOf(RunStatus status);

struct RunInfo {
  std::string id{};
  RunStart start{};
  std::string created_utc{};
  std::string ended_utc{};  // empty while running, and after a crash
  RunStatus status = RunStatus::kRunning;
  int64_t measurement_count = 0;
};

// Which measurements: empty fields do not restrict.
struct Query {
  std::string run_id{};
  std::string cell_key{};
  std::string probe{};
  std::string metric{};
  std::string mechanism{};
  std::string implementation{};
};

struct Rebuttal {
  std::string id{};
  std::string claim_id{};
  std::string premise{};   // what of the claim it attacks
  std::string artifact{};  // hash of the replication file
  std::string created_utc{};
};

struct MergeReport {
  int64_t runs_added = 0;
  int64_t measurements_added = 0;
  int64_t measurements_same = 0;
  int64_t artifacts_added = 0;
  std::vector<std::string> conflicts{};  // rows that differ between the two; ours is kept
};

struct CheckReport {
  int64_t run_count = 0;
  int64_t measurement_count = 0;
  int64_t artifact_count = 0;
  std::vector<std::string> problems{};          // damage: a page, a broken reference, an artifact that is not what its hash says
  std::vector<std::string> orphan_artifacts{};  // hashes that nothing points to
  std::vector<std::string> unended_runs{};      // still running, or killed
};

struct StoreOptions {
  std::string path{};  // empty: DefaultStorePath()
  bool read_only = false;
  bool create = true;          // make the file and its directories where they are missing
  int busy_timeout_ms = 5000;  // how long to wait for another process's write
  int64_t max_bytes = 0;       // refuse to grow beyond this, as a full disk would; 0: no limit
};

// $XDG_DATA_HOME/assay/assay.db, or ~/.local/share/assay/assay.db.
Result<std::string> DefaultStorePath();

class Store {
 public:
  // Creates the file (0600) and its missing directories (0700) unless told otherwise; migrates an older file.
  static Result<Store> Open(StoreOptions options);
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  Result<std::string> BeginRun(const RunStart& start);  // the new run's id
  Status EndRun(std::string_view run_id, RunStatus status);
  Result<std::vector<RunInfo>> Runs() const;  // oldest first
  // Takes over the newest run of this plan that is not complete and that no live process works on; empty when there is none.
  Result<std::string> ResumeRun(std::string_view plan_hash);

  // All or nothing. Refuses what CheckMeasurement (metrics.h) refuses. The same row twice is one row; a different value under the same
  // (run, cell, probe, metric) is an error, because a silent overwrite would hide a result.
  Status Put(const Measurement& measurement);
  Status Put(std::span<const Measurement> measurements);
  // The measurements of one unit of a study's work and the note that it is done, in one transaction: after a crash both are there or neither.
  Status PutWork(std::string_view run_id, std::string_view work_key, std::string_view label, std::string_view outcome,
                 std::span<const Measurement> measurements);
  Result<std::vector<std::string>> WorkDone(std::string_view run_id) const;  // the work keys

  Result<std::string> PutArtifact(std::string_view bytes, std::string_view media_type);  // its SHA-256
  Result<std::string> GetArtifact(std::string_view hash) const;                          // verified against its hash

  Result<std::vector<Measurement>> Find(const Query& query) const;  // in the order they were stored

  Status PutRebuttal(const Rebuttal& rebuttal);
  Result<std::vector<Rebuttal>> Rebuttals(std::string_view claim_id) const;

  Result<MergeReport> Merge(const std::string& other_path);
  Result<CheckReport> Check() const;
  // One JSON object / one CSV table of measurements; `write` receives the text in pieces.
  using Sink = std::function<void(std::string_view)>;
  Status ExportJson(const Query& query, const Sink& write) const;
  Status ExportCsv(const Query& query, const Sink& write) const;

  [[nodiscard]] const std::string& path() const;

 private:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace assay
