// Runs the cells of a study one after another, stores each as soon as it is measured, and picks up where an interrupted run stopped.
// What a cell's measure() returns is stored in one transaction together with the note that the cell is done: after Ctrl-C, a crash or
// `kill -9` a cell is either wholly there or will be measured again, and never there twice.
#pragma once

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "core/result.h"
#include "store/store.h"

namespace assay {

struct StudyCell {
  std::string key{};    // identity within the plan; stable between runs, unique in the plan
  std::string label{};  // for the progress line: "decode, gqa, 4096 tokens"
  double estimated_seconds = 1;
  // Gives the cell's measurements; their run_id may be left empty. An error is reported, not stored, and the cell is tried again on resume.
  std::function<Result<std::vector<Measurement>>()> measure{};
};

struct StudyOptions {
  RunStart start{};    // plan_hash is filled in by the runner
  bool resume = true;  // continue the newest run of the same plan that did not complete
  bool quiet = false;  // no progress
  std::FILE* progress = stderr;
  // Called after the cell's rows are safely on disk.
  std::function<void(const StudyCell&)> on_stored{};
};

struct StudyFailure {
  std::string label{};
  Error error{};
};

struct StudyOutcome {
  std::string run_id{};
  int64_t measured = 0;
  int64_t resumed = 0;  // cells that an earlier, interrupted run had stored
  int64_t left = 0;     // cells not reached because of a stop
  bool stopped = false; // by Ctrl-C or SIGTERM
  std::vector<StudyFailure> failures{};
  // What to tell the user: how many cells are stored and, after a stop, that the same command resumes.
  [[nodiscard]] std::string Summary() const;
};

// Identity of a plan: its keys in order.
std::string PlanHash(const std::vector<StudyCell>& cells);

// An error only where the store itself fails (full disk, locked): what was stored before stays.
Result<StudyOutcome> RunStudy(Store& store, const std::vector<StudyCell>& cells, const StudyOptions& options);

// While one lives, the first Ctrl-C (or SIGTERM) asks for a clean stop and a second one kills. RunStudy holds one; long cells may poll
// StopRequested() and give up early with an error.
class StopOnSignal {
 public:
  StopOnSignal();
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;
};
bool StopRequested();

// How a program ends that the user stopped: what shells expect of Ctrl-C (128 + SIGINT).
constexpr int kStoppedExitCode = 130;

}  // namespace assay
