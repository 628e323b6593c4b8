#include "study/runner.h"

#include <csignal>

#include <atomic>
#include <unordered_set>

#include "fmt/format.h"
#include "store/sha256.h"
#include "study/progress.h"

namespace assay {
namespace {

std::atomic<int> stop_signals{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only touch lock-free atomics");
struct sigaction previous_interrupt;
struct sigaction previous_terminate;
int guards = 0;

void OnSignal(int signal) {
  if (stop_signals.fetch_add(1) == 0) return;
  // The user insists: die of the signal itself, so that the shell sees it.
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

StopOnSignal::StopOnSignal() {
  if (guards++ > 0) return;
  stop_signals = 0;
  struct sigaction action{};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &previous_interrupt);
  sigaction(SIGTERM, &action, &previous_terminate);
}

StopOnSignal::~StopOnSignal() {
  if (--guards > 0) return;
  sigaction(SIGINT, &previous_interrupt, nullptr);
  sigaction(SIGTERM, &previous_terminate, nullptr);
}

bool StopRequested() { return stop_signals.load() > 0; }

std::string PlanHash(const std::vector<StudyCell>& cells) {
  std::string text = "plan/1\n";
  for (const StudyCell& cell : cells) text += fmt::format("{}:{}\n", cell.key.size(), cell.key);
  return Sha256Hex(text);
}

std::string StudyOutcome::Summary() const {
  std::string text = fmt::format("run {}: {} cells measured", run_id, measured);
  if (resumed > 0) text += fmt::format(", {} kept from the interrupted run", resumed);
  if (!failures.empty()) text += fmt::format(", {} failed", failures.size());
  if (stopped) text += fmt::format(", {} left; everything measured is stored: run the same command again to resume", left);
  return text;
}

namespace {

// Fills in what a cell may leave out. Run ids of another run would break the resume, so they are a bug of the probe.
void Complete(std::vector<Measurement>& rows, const std::string& run_id) {
  for (Measurement& row : rows) {
    if (row.run_id.empty()) row.run_id = run_id;
    ASSAY_CHECK(row.run_id == run_id, "a cell returned a measurement of another run");
    if (row.cell_key.empty()) row.cell_key = CellKey(row.subject, row.factors, row.machine);
  }
}

Status CheckPlan(const std::vector<StudyCell>& cells) {
  std::unordered_set<std::string_view> keys;
  for (const StudyCell& cell : cells) {
    if (cell.key.empty() || !cell.measure) return BadInput(fmt::format("cell \"{}\" of the plan has no key or nothing to run", cell.label));
    if (!keys.insert(cell.key).second)
      return BadInput(fmt::format("two cells of the plan have the key {} (\"{}\"); give each its own factors", cell.key, cell.label));
  }
  return Ok();
}

struct Begun {
  std::string run_id;
  std::unordered_set<std::string> done;
};

Result<Begun> BeginOrResume(Store& store, const std::vector<StudyCell>& cells, const StudyOptions& options) {
  RunStart start = options.start;
  start.plan_hash = PlanHash(cells);
  Begun begun;
  if (options.resume) {
    ASSAY_TRY(begun.run_id, store.ResumeRun(start.plan_hash));
  }
  if (begun.run_id.empty()) {
    ASSAY_TRY(begun.run_id, store.BeginRun(start));
    return begun;
  }
  ASSAY_TRY(std::vector<std::string> keys, store.WorkDone(begun.run_id));
  begun.done.insert(std::make_move_iterator(keys.begin()), std::make_move_iterator(keys.end()));
  return begun;
}

}  // namespace

Result<StudyOutcome> RunStudy(Store& store, const std::vector<StudyCell>& cells, const StudyOptions& options) {
  ASSAY_RETURN_IF_ERROR(CheckPlan(cells));
  const StopOnSignal guard;
  ASSAY_TRY(const Begun begun, BeginOrResume(store, cells, options));
  StudyOutcome outcome;
  outcome.run_id = begun.run_id;
  double total_cost = 0;
  for (const StudyCell& cell : cells) total_cost += cell.estimated_seconds;
  Progress progress(options.progress, options.quiet, static_cast<int64_t>(cells.size()), total_cost);

  for (const StudyCell& cell : cells) {
    if (begun.done.contains(cell.key)) {
      ++outcome.resumed;
      progress.Skip(cell.estimated_seconds);
      continue;
    }
    if (StopRequested()) {
      outcome.stopped = true;
      ++outcome.left;
      continue;
    }
    progress.Begin(cell.label);
    Result<std::vector<Measurement>> rows = cell.measure();
    progress.Done(cell.estimated_seconds);
    if (!rows.ok()) {
      // A cell that gave up because the user asked to stop has not failed.
      if (StopRequested())
        ++outcome.left;
      else
        outcome.failures.push_back({cell.label, rows.error()});
      outcome.stopped = StopRequested();
      continue;
    }
    Complete(*rows, begun.run_id);
    ASSAY_RETURN_IF_ERROR(store.PutWork(begun.run_id, cell.key, cell.label, "ok", *rows));
    ++outcome.measured;
    if (options.on_stored) options.on_stored(cell);
  }
  const RunStatus status = outcome.stopped            ? RunStatus::kStopped
                           : outcome.failures.empty() ? RunStatus::kComplete
                                                      : RunStatus::kFailed;
  ASSAY_RETURN_IF_ERROR(store.EndRun(begun.run_id, status));
  return outcome;
}

}  // namespace assay
