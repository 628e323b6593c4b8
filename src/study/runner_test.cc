// The runner loses nothing it acknowledged, measures nothing twice, and stops when asked.
#include "study/runner.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>

#include "core/random.h"
#include "gtest/gtest.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

class RunnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "assay-study-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { fs::remove_all(directory_); }
  [[nodiscard]] std::string Path(const std::string& name = "a.db") const { return (directory_ / name).string(); }

  fs::path directory_;
};

Store MustOpen(const std::string& path) {
  auto store = Store::Open({.path = path});
  EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
  return std::move(store).value();
}

// Two measurements a cell, so that half a cell would show.
std::vector<Measurement> Rows(int index) {
  std::vector<Measurement> rows(2);
  for (Measurement& row : rows) {
    row.subject = {.mechanism = "gqa"};
    row.factors = {{"context_tokens", std::to_string(index)}};
    row.probe = "cost";
    row.metric = "decode_time_ms";
    row.quantity = {1.0 * index, 1.0 * index, 1.0 * index, "ms", Basis::kMeasured, "test"};
  }
  rows[1].metric = "prefill_time_ms";
  return rows;
}

std::vector<StudyCell> Plan(int count) {
  std::vector<StudyCell> cells;
  for (int i = 0; i < count; ++i)
    cells.push_back({.key = "cell" + std::to_string(i), .label = std::to_string(i), .measure = [i]() -> Result<std::vector<Measurement>> {
                       return Rows(i);
                     }});
  return cells;
}

StudyOptions Quiet() { return {.quiet = true}; }

TEST_F(RunnerTest, StoresEveryCellAndCompletesTheRun) {
  Store store = MustOpen(Path());
  const auto outcome = RunStudy(store, Plan(5), Quiet());
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  EXPECT_EQ(outcome->measured, 5);
  EXPECT_FALSE(outcome->stopped);
  EXPECT_EQ(store.Find({.run_id = outcome->run_id})->size(), 10u);
  EXPECT_EQ(store.Runs()->at(0).status, RunStatus::kComplete);
}

TEST_F(RunnerTest, AFailedCellIsReportedAndTriedAgain) {
  Store store = MustOpen(Path());
  auto cells = Plan(3);
  bool broken = true;
  cells[1].measure = [&broken]() -> Result<std::vector<Measurement>> {
    if (broken) return BadInput("no kernel");
    return Rows(1);
  };
  const auto first = RunStudy(store, cells, Quiet());
  ASSERT_TRUE(first.ok());
  ASSERT_EQ(first->failures.size(), 1u);
  EXPECT_EQ(first->failures[0].error.message, "no kernel");
  EXPECT_EQ(store.Runs()->at(0).status, RunStatus::kFailed);
  broken = false;
  const auto second = RunStudy(store, cells, Quiet());
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->run_id, first->run_id);
  EXPECT_EQ(second->measured, 1);
  EXPECT_EQ(second->resumed, 2);
  EXPECT_EQ(store.Find({})->size(), 6u);
}

TEST_F(RunnerTest, AChangedPlanIsAnotherRun) {
  Store store = MustOpen(Path());
  auto cells = Plan(2);
  cells[1].measure = []() -> Result<std::vector<Measurement>> { return BadInput("no"); };
  const auto first = RunStudy(store, cells, Quiet());
  const auto second = RunStudy(store, Plan(3), Quiet());
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->run_id, second->run_id);
  EXPECT_EQ(second->measured, 3);
}

TEST_F(RunnerTest, RefusesAPlanWithOneKeyTwice) {
  Store store = MustOpen(Path());
  auto cells = Plan(2);
  cells[1].key = cells[0].key;
  EXPECT_FALSE(RunStudy(store, cells, Quiet()).ok());
}

TEST_F(RunnerTest, CtrlCKeepsWhatWasMeasuredAndResumes) {
  Store store = MustOpen(Path());
  auto cells = Plan(6);
  const auto measure = cells[2].measure;
  cells[2].measure = [&measure] {
    std::raise(SIGINT);
    return measure();
  };
  const auto first = RunStudy(store, cells, Quiet());
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(first->stopped);
  EXPECT_EQ(first->measured, 3);
  EXPECT_EQ(first->left, 3);
  EXPECT_NE(first->Summary().find("run the same command again to resume"), std::string::npos);
  EXPECT_EQ(store.Runs()->at(0).status, RunStatus::kStopped);
  const auto second = RunStudy(store, Plan(6), Quiet());
  ASSERT_TRUE(second.ok());
  EXPECT_FALSE(second->stopped);
  EXPECT_EQ(second->resumed, 3);
  EXPECT_EQ(second->measured, 3);
  EXPECT_EQ(store.Find({})->size(), 12u);
}

TEST_F(RunnerTest, ProgressOutsideATerminalIsPlainText) {
  Store store = MustOpen(Path());
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  StudyOptions options;
  options.progress = file;
  ASSERT_TRUE(RunStudy(store, Plan(20), options).ok());
  std::rewind(file);
  std::string text(4096, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  EXPECT_NE(text.find("[1/20] 0, about"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 11);
}

// A child runs the study; once a cell's rows are stored it writes the cell's index to a pipe and waits for leave to go on. So it is
// never done before it is killed, however slow the machine makes its parent.
struct Child {
  pid_t pid = -1;
  int acknowledgements = -1;  // read end
  int leave = -1;             // write end
};

Child StartChild(const std::string& path, int cell_count) {
  int acknowledge[2], leave[2];
  if (pipe(acknowledge) != 0 || pipe(leave) != 0) return {};
  const pid_t pid = fork();
  if (pid != 0) {
    close(acknowledge[1]);
    close(leave[0]);
    return {pid, acknowledge[0], leave[1]};
  }
  close(leave[1]);
  auto store = Store::Open({.path = path});
  if (!store.ok()) _exit(1);
  StudyOptions options = Quiet();
  options.on_stored = [&](const StudyCell& cell) {
    auto index = static_cast<unsigned char>(std::stoi(cell.label));
    if (write(acknowledge[1], &index, 1) != 1 || read(leave[0], &index, 1) != 1) _exit(2);
  };
  _exit(RunStudy(*store, Plan(cell_count), options).ok() ? 0 : 3);
}

// The moment is a number of acknowledgements and then some spinning: no clock, and it falls before, inside and after transactions.
std::vector<int> KillAtRandomMoment(const Child& child, Rng& rng, int cell_count) {
  std::vector<int> acknowledged;
  unsigned char index = 0;
  const auto wanted = rng.Below(static_cast<uint64_t>(cell_count));
  while (acknowledged.size() < wanted && read(child.acknowledgements, &index, 1) == 1) {
    acknowledged.push_back(index);
    if (write(child.leave, &index, 1) != 1) ADD_FAILURE() << "the child is gone";
  }
  const auto spins = rng.Below(1500000);
  for (volatile uint64_t spin = 0; spin < spins;) spin = spin + 1;
  kill(child.pid, SIGKILL);
  while (read(child.acknowledgements, &index, 1) == 1) acknowledged.push_back(index);
  close(child.acknowledgements);
  close(child.leave);
  return acknowledged;
}

TEST_F(RunnerTest, FiftyKillsLoseNoAcknowledgedMeasurementAndResumeWithoutDuplicates) {
  constexpr int kCells = 20;
  Rng rng(20260222);
  int interrupted = 0;
  for (int trial = 0; trial < 50; ++trial) {
    const std::string path = Path(std::to_string(trial) + ".db");
    const Child child = StartChild(path, kCells);
    ASSERT_GT(child.pid, 0);
    const std::vector<int> acknowledged = KillAtRandomMoment(child, rng, kCells);
    int status = 0;
    waitpid(child.pid, &status, 0);
    interrupted += WIFSIGNALED(status) ? 1 : 0;

    Store store = MustOpen(path);
    std::map<std::string, int> stored;
    const auto rows_found = store.Find({});
    ASSERT_TRUE(rows_found.ok());
    for (const Measurement& row : *rows_found) ++stored[row.factors[0].value];
    for (const int index : acknowledged) EXPECT_EQ(stored[std::to_string(index)], 2) << "trial " << trial;
    for (const auto& [index, rows] : stored) EXPECT_TRUE(rows == 2 || rows == 0) << "half of cell " << index;

    const auto outcome = RunStudy(store, Plan(kCells), Quiet());
    ASSERT_TRUE(outcome.ok()) << outcome.error().message;
    EXPECT_GE(outcome->resumed, static_cast<int64_t>(acknowledged.size()));
    EXPECT_EQ(outcome->resumed + outcome->measured, kCells);
    EXPECT_EQ(store.Find({.run_id = outcome->run_id})->size(), 2u * kCells);
    EXPECT_TRUE(store.Check()->problems.empty());
  }
  EXPECT_EQ(interrupted, 50);
}

}  // namespace
}  // namespace assay
