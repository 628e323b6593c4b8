// The store keeps what it acknowledged, refuses what it must, and says why in words a user can act on.
#include "store/store.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "gtest/gtest.h"
#include "store/metrics.h"
#include "store/sha256.h"
#include "store/sqlite.h"
#include "store/time.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "assay-store-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { fs::remove_all(directory_); }
  [[nodiscard]] std::string Path(const std::string& name = "a.db") const { return (directory_ / name).string(); }

  fs::path directory_;
};

Measurement Example(std::string run_id, double value = 1.5, std::string context = "4096") {
  Measurement m;
  m.run_id = std::move(run_id);
  m.subject = {.mechanism = "gqa", .parameters = "head_dim=128,kv_heads=8", .implementation = "assay/avx2", .revision = 1, .kernel_hash = "k1"};
  m.factors = {{"context_tokens", std::move(context)}, {"batch", "1"}};
  m.machine = "m1";
  m.cell_key = CellKey(m.subject, m.factors, m.machine);
  m.probe = "cost";
  m.metric = "decode_time_ms";
  m.quantity = {value, value - 0.5, value + 0.5, "ms", Basis::kMeasured, "probe cost"};
  m.sample_count = 30;
  m.seed = 0xffffffffffffffffULL;
  m.command = "assay bench";
  return m;
}

Store MustOpen(const std::string& path) {
  auto store = Store::Open({.path = path});
  EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
  return std::move(store).value();
}

std::string MustBegin(Store& store, const std::string& plan = "") {
  auto run = store.BeginRun({.command_line = "assay test", .plan_hash = plan, .machine_json = "{}"});
  EXPECT_TRUE(run.ok()) << (run.ok() ? "" : run.error().message);
  return run.value();
}

TEST(Sha256, MatchesTheVectorsOfFips180) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(CellKey, DoesNotDependOnTheOrderOfFactorsAndKeepsFieldsApart) {
  const Subject subject{.mechanism = "gqa", .parameters = "p"};
  EXPECT_EQ(CellKey(subject, {{"a", "1"}, {"b", "2"}}, "m"), CellKey(subject, {{"b", "2"}, {"a", "1"}}, "m"));
  EXPECT_NE(CellKey(subject, {{"a", "12"}}, "m"), CellKey(subject, {{"a1", "2"}}, "m"));
  EXPECT_NE(CellKey(subject, {}, "m"), CellKey(subject, {}, "n"));
}

TEST(Metrics, NameTheNearestRegisteredOne) {
  Measurement m = Example("r");
  m.metric = "decode_tme_ms";
  const Status status = CheckMeasurement(m);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("did you mean \"decode_time_ms\""), std::string::npos) << status.error().message;
}

TEST(Metrics, RefuseAnotherUnitNanAndAnIntervalWithoutItsValue) {
  Measurement m = Example("r");
  m.quantity.unit = "us";
  EXPECT_FALSE(CheckMeasurement(m).ok());
  m = Example("r");
  m.quantity.value = std::nan("");
  EXPECT_FALSE(CheckMeasurement(m).ok());
  m = Example("r");
  m.quantity.low = 2;
  EXPECT_FALSE(CheckMeasurement(m).ok());
  m.quantity = Quantity::Refused("ms", "");
  EXPECT_FALSE(CheckMeasurement(m).ok());
  m.quantity = Quantity::Refused("ms", "no rows for this kernel");
  EXPECT_TRUE(CheckMeasurement(m).ok());
}

TEST(Metrics, EveryOneHasAUnitAndAMeaning) {
  for (const Metric& metric : AllMetrics()) {
    EXPECT_FALSE(metric.unit.empty()) << metric.name;
    EXPECT_TRUE(metric.meaning.ends_with('.')) << metric.name;
    EXPECT_EQ(FindMetric(metric.name), &metric);
  }
}

TEST(Time, ADateMustExist) {
  EXPECT_TRUE(IsDate("2028-02-29"));
  EXPECT_FALSE(IsDate("2027-02-29"));
  EXPECT_FALSE(IsDate("2027-13-01"));
  EXPECT_FALSE(IsDate("2027-1-01"));
}

TEST_F(StoreTest, ReadsBackExactlyWhatWasStored) {
  Store store = MustOpen(Path());
  const std::string run = MustBegin(store);
  const auto artifact = store.PutArtifact(std::string("a\0b", 3), "application/octet-stream");
  ASSERT_TRUE(artifact.ok());
  Measurement m = Example(run, 0.1);
  m.samples_artifact = *artifact;
  m.flags = "noisy";
  m.provenance_json = R"({"note":"ü"})";
  m.quantity.high = std::numeric_limits<double>::infinity();
  ASSERT_TRUE(store.Put(m).ok());
  const auto found = store.Find({.run_id = run});
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 1u);
  const Measurement& r = found->front();
  EXPECT_EQ(r.cell_key, m.cell_key);
  EXPECT_EQ(r.cell_key, CellKey(r.subject, r.factors, r.machine));
  EXPECT_EQ(r.quantity.value, 0.1);
  EXPECT_TRUE(std::isinf(r.quantity.high));
  EXPECT_EQ(r.quantity.basis, Basis::kMeasured);
  EXPECT_EQ(r.quantity.origin, m.quantity.origin);
  EXPECT_EQ(r.seed, m.seed);
  EXPECT_EQ(r.sample_count, 30);
  EXPECT_EQ(r.samples_artifact, *artifact);
  EXPECT_EQ(r.flags, "noisy");
  EXPECT_EQ(r.provenance_json, m.provenance_json);
  EXPECT_EQ(store.GetArtifact(*artifact).value(), std::string("a\0b", 3));
}

TEST_F(StoreTest, FindsByEachFieldOfAQuery) {
  Store store = MustOpen(Path());
  const std::string run = MustBegin(store);
  Measurement other = Example(run, 3);
  other.subject.mechanism = "mla";
  other.subject.implementation = "assay/generic";
  other.probe = "bound";
  other.cell_key = CellKey(other.subject, other.factors, other.machine);
  ASSERT_TRUE(store.Put(Example(run)).ok());
  ASSERT_TRUE(store.Put(other).ok());
  EXPECT_EQ(store.Find({})->size(), 2u);
  EXPECT_EQ(store.Find({.mechanism = "mla"})->at(0).quantity.value, 3);
  EXPECT_EQ(store.Find({.implementation = "assay/avx2"})->at(0).quantity.value, 1.5);
  EXPECT_EQ(store.Find({.probe = "bound"})->size(), 1u);
  EXPECT_EQ(store.Find({.cell_key = other.cell_key})->size(), 1u);
  EXPECT_EQ(store.Find({.metric = "ttft_ms"})->size(), 0u);
}

TEST_F(StoreTest, TheSameRowTwiceIsOneRowAndAnotherValueIsRefused) {
  Store store = MustOpen(Path());
  const std::string run = MustBegin(store);
  ASSERT_TRUE(store.Put(Example(run)).ok());
  ASSERT_TRUE(store.Put(Example(run)).ok());
  EXPECT_EQ(store.Find({})->size(), 1u);
  const Status status = store.Put(Example(run, 9));
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("another value"), std::string::npos);
  EXPECT_EQ(store.Find({})->front().quantity.value, 1.5);
}

TEST_F(StoreTest, APutIsAllOrNothing) {
  Store store = MustOpen(Path());
  const std::string run = MustBegin(store);
  const std::vector<Measurement> rows = {Example(run, 1, "1"), Example("no-such-run", 2, "2")};
  EXPECT_FALSE(store.Put(rows).ok());
  EXPECT_EQ(store.Find({})->size(), 0u);
}

TEST_F(StoreTest, RefusesACellKeyThatIsNotTheCells) {
  Store store = MustOpen(Path());
  Measurement m = Example(MustBegin(store));
  m.factors[0].value = "8192";
  EXPECT_FALSE(store.Put(m).ok());
}

TEST_F(StoreTest, FilesAndDirectoriesArePrivateWhateverTheUmask) {
  const mode_t before = umask(0);
  const std::string path = Path("x/y/a.db");
  {
    Store store = MustOpen(path);
    ASSERT_TRUE(store.Put(Example(MustBegin(store))).ok());
    for (const char* suffix : {"", "-wal", "-shm"}) {
      struct stat info{};
      ASSERT_EQ(stat((path + suffix).c_str(), &info), 0) << suffix;
      EXPECT_EQ(info.st_mode & 0777, 0600u) << suffix;
    }
    for (const char* folder : {"x", "x/y"}) {
      struct stat info{};
      ASSERT_EQ(stat(Path(folder).c_str(), &info), 0);
      EXPECT_EQ(info.st_mode & 0777, 0700u) << folder;
    }
  }
  umask(0777);
  EXPECT_TRUE(Store::Open({.path = Path("b.db")}).ok());
  struct stat info{};
  ASSERT_EQ(stat(Path("b.db").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  umask(before);
}

TEST_F(StoreTest, ALockedStoreSaysSo) {
  Store first = MustOpen(Path());
  const std::string run = MustBegin(first);
  auto blocker = sqlite::Database::Open(Path(), sqlite::Database::Mode::kReadWrite, 0);
  ASSERT_TRUE(blocker.ok());
  auto second = Store::Open({.path = Path(), .busy_timeout_ms = 0});
  ASSERT_TRUE(second.ok());
  ASSERT_TRUE((*blocker)->Execute("BEGIN IMMEDIATE").ok());
  const Status status = second->Put(Example(run));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().kind, ErrorKind::kEnvironment);
  EXPECT_NE(status.error().message.find("locked by another process"), std::string::npos) << status.error().message;
}

TEST_F(StoreTest, AFullDiskSaysSoAndKeepsWhatWasStored) {
  std::string run;
  {
    Store store = MustOpen(Path());
    run = MustBegin(store);
    ASSERT_TRUE(store.Put(Example(run)).ok());
  }
  auto store = Store::Open({.path = Path(), .max_bytes = 4096 * 30});
  ASSERT_TRUE(store.ok());
  const auto status = store->PutArtifact(std::string(1 << 20, 'x'), "text/plain");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().kind, ErrorKind::kEnvironment);
  EXPECT_NE(status.error().message.find("disk is full"), std::string::npos) << status.error().message;
  EXPECT_EQ(store->Find({})->size(), 1u);
  EXPECT_TRUE(store->Check()->problems.empty());
}

// Runs `body` in a child process and returns its exit code: for limits and identities that would spoil the test's own process.
template <class Body>
int InChild(const Body& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

TEST_F(StoreTest, AFileSizeLimitIsAnEnvironmentErrorAndLosesNothing) {
  {
    Store store = MustOpen(Path());
    ASSERT_TRUE(store.Put(Example(MustBegin(store))).ok());
  }
  const std::string path = Path();
  EXPECT_EQ(InChild([&path] {
              std::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{1 << 19, 1 << 19};
              if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 10;
              auto store = Store::Open({.path = path});
              if (!store.ok()) return 11;
              const auto put = store->PutArtifact(std::string(1 << 20, 'x'), "text/plain");
              return put.ok() ? 12 : put.error().kind == ErrorKind::kEnvironment ? 0 : 13;
            }),
            0);
  Store store = MustOpen(path);
  EXPECT_EQ(store.Find({})->size(), 1u);
  EXPECT_TRUE(store.Check()->problems.empty());
}

TEST_F(StoreTest, AReadOnlyDirectoryIsAnEnvironmentErrorThatNamesTheRemedy) {
  fs::create_directory(directory_ / "closed");
  fs::permissions(directory_ / "closed", fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec);
  fs::permissions(directory_, fs::perms::owner_all | fs::perms::others_read | fs::perms::others_exec);
  const std::string path = Path("closed/a.db");
  EXPECT_EQ(InChild([&path] {
              if (geteuid() == 0 && setuid(65534) != 0) return 10;  // root may write anywhere
              const auto store = Store::Open({.path = path});
              if (store.ok()) return 11;
              if (store.error().kind != ErrorKind::kEnvironment) return 12;
              return store.error().message.find("--db") != std::string::npos ? 0 : 13;
            }),
            0);
}

TEST_F(StoreTest, RefusesFilesThatAreNotStores) {
  std::ofstream(Path("text.db")) << std::string(5000, 'x');
  const auto text = Store::Open({.path = Path("text.db")});
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().kind, ErrorKind::kBadInput);
  EXPECT_NE(text.error().message.find("not an Assay store"), std::string::npos) << text.error().message;

  std::ofstream(Path("foreign.db")).close();
  {
    auto foreign = sqlite::Database::Open(Path("foreign.db"), sqlite::Database::Mode::kReadWrite, 0);
    ASSERT_TRUE(foreign.ok());
    ASSERT_TRUE((*foreign)->Execute("CREATE TABLE t (x)").ok());
  }
  const auto foreign = Store::Open({.path = Path("foreign.db")});
  ASSERT_FALSE(foreign.ok());
  EXPECT_NE(foreign.error().message.find("another program"), std::string::npos) << foreign.error().message;
  EXPECT_FALSE(Store::Open({.path = directory_.string()}).ok());
  EXPECT_FALSE(Store::Open({.path = Path("absent.db"), .read_only = true}).ok());
}

TEST_F(StoreTest, RefusesANewerSchema) {
  { Store store = MustOpen(Path()); }
  {
    auto database = sqlite::Database::Open(Path(), sqlite::Database::Mode::kReadWrite, 0);
    ASSERT_TRUE((*database)->Execute("PRAGMA user_version = 99").ok());
  }
  const auto store = Store::Open({.path = Path()});
  ASSERT_FALSE(store.ok());
  EXPECT_NE(store.error().message.find("newer Assay"), std::string::npos) << store.error().message;
}

TEST_F(StoreTest, DamagedPagesAreReportedNotCrashedOn) {
  {
    Store store = MustOpen(Path());
    const std::string run = MustBegin(store);
    for (int i = 0; i < 200; ++i) ASSERT_TRUE(store.Put(Example(run, 1, std::to_string(i))).ok());
  }
  std::fstream file(Path(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(0, std::ios::end);
  const auto bytes = static_cast<long>(file.tellp());
  for (long at = 4096 * 2; at + 512 < bytes; at += 4096) {
    file.seekp(at);
    file << std::string(512, '\xa5');
  }
  file.close();
  const auto store = Store::Open({.path = Path()});
  if (!store.ok()) {
    EXPECT_EQ(store.error().kind, ErrorKind::kBadInput) << store.error().message;
    return;
  }
  const auto check = store->Check();
  EXPECT_TRUE(!check.ok() || !check->problems.empty());
}

TEST_F(StoreTest, CheckFindsAChangedArtifactAndAnOrphan) {
  std::string used;
  {
    Store store = MustOpen(Path());
    const std::string run = MustBegin(store);
    used = store.PutArtifact("samples", "text/plain").value();
    Measurement m = Example(run);
    m.samples_artifact = used;
    ASSERT_TRUE(store.Put(m).ok());
    const std::string orphan = store.PutArtifact("nobody", "text/plain").value();
    const auto report = store.Check();
    ASSERT_TRUE(report.ok());
    EXPECT_TRUE(report->problems.empty());
    EXPECT_EQ(report->orphan_artifacts, std::vector<std::string>{orphan});
    EXPECT_EQ(report->unended_runs, std::vector<std::string>{run});
  }
  {
    auto database = sqlite::Database::Open(Path(), sqlite::Database::Mode::kReadWrite, 0);
    ASSERT_TRUE((*database)->Execute("UPDATE artifacts SET bytes = 'forged' WHERE hash = '" + used + "'").ok());
  }
  Store store = MustOpen(Path());
  ASSERT_EQ(store.Check()->problems.size(), 1u);
  EXPECT_NE(store.Check()->problems[0].find(used), std::string::npos);
  EXPECT_FALSE(store.GetArtifact(used).ok());
}

TEST_F(StoreTest, MergeAddsWhatIsNewKeepsOursAndReportsConflicts) {
  std::string shared_run;
  {
    Store a = MustOpen(Path("a.db"));
    shared_run = MustBegin(a);
    ASSERT_TRUE(a.Put(Example(shared_run, 1, "1")).ok());
  }
  fs::copy_file(Path("a.db"), Path("b.db"));
  Store a = MustOpen(Path("a.db"));
  {
    Store b = MustOpen(Path("b.db"));
    ASSERT_TRUE(b.Put(Example(shared_run, 7, "2")).ok());
    const std::string own_run = MustBegin(b);
    Measurement m = Example(own_run, 3, "3");
    m.samples_artifact = b.PutArtifact("samples", "text/plain").value();
    ASSERT_TRUE(b.Put(m).ok());
  }
  ASSERT_TRUE(a.Put(Example(shared_run, 8, "2")).ok());
  const auto report = a.Merge(Path("b.db"));
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->runs_added, 1);
  EXPECT_EQ(report->measurements_added, 1);
  EXPECT_EQ(report->measurements_same, 1);
  EXPECT_EQ(report->artifacts_added, 1);
  ASSERT_EQ(report->conflicts.size(), 1u);
  EXPECT_NE(report->conflicts[0].find("here 8 ms, there 7"), std::string::npos) << report->conflicts[0];
  EXPECT_EQ(a.Find({})->size(), 3u);
  EXPECT_TRUE(a.Check()->problems.empty());
  const auto again = a.Merge(Path("b.db"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->measurements_added, 0);
}

TEST_F(StoreTest, MergeRefusesADamagedArtifactAndMergesNothing) {
  {
    Store b = MustOpen(Path("b.db"));
    Measurement m = Example(MustBegin(b));
    m.samples_artifact = b.PutArtifact("samples", "text/plain").value();
    ASSERT_TRUE(b.Put(m).ok());
  }
  {
    auto database = sqlite::Database::Open(Path("b.db"), sqlite::Database::Mode::kReadWrite, 0);
    ASSERT_TRUE((*database)->Execute("UPDATE artifacts SET bytes = 'forged'").ok());
  }
  Store a = MustOpen(Path("a.db"));
  EXPECT_FALSE(a.Merge(Path("b.db")).ok());
  EXPECT_FALSE(a.Merge(Path("absent.db")).ok());
  EXPECT_EQ(a.Find({})->size(), 0u);
}

TEST_F(StoreTest, ExportsAreWellFormedAndKeepOpenBoundsAndRefusals) {
  Store store = MustOpen(Path());
  const std::string run = MustBegin(store);
  Measurement m = Example(run, 2);
  m.quantity.high = std::numeric_limits<double>::infinity();
  m.quantity.origin = "a \"quoted\", origin\nof two lines";
  ASSERT_TRUE(store.Put(m).ok());
  m = Example(run, 2, "8");
  m.quantity = Quantity::Refused("ms", "no rows");
  ASSERT_TRUE(store.Put(m).ok());
  std::string text;
  ASSERT_TRUE(store.ExportJson({}, [&text](std::string_view piece) { text += piece; }).ok());
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["measurements"].size(), 2u);
  EXPECT_EQ(json["measurements"][0]["high"], "inf");
  EXPECT_EQ(json["measurements"][0]["seed"], 0xffffffffffffffffULL);
  EXPECT_TRUE(json["measurements"][1]["value"].is_null());
  EXPECT_EQ(json["metrics"]["decode_time_ms"]["unit"], "ms");
  text.clear();
  ASSERT_TRUE(store.ExportCsv({}, [&text](std::string_view piece) { text += piece; }).ok());
  EXPECT_NE(text.find("\"a \"\"quoted\"\", origin\nof two lines\""), std::string::npos);
  EXPECT_NE(text.find(",inf,ms,measured"), std::string::npos);
  EXPECT_NE(text.find(",,,,ms,refused,no rows"), std::string::npos);
}

TEST_F(StoreTest, ARunThatDidNotCompleteIsFoundByItsPlan) {
  Store store = MustOpen(Path());
  const std::string done = MustBegin(store, "plan");
  ASSERT_TRUE(store.EndRun(done, RunStatus::kComplete).ok());
  EXPECT_EQ(store.ResumeRun("plan").value(), "");
  const std::string stopped = MustBegin(store, "plan");
  ASSERT_TRUE(store.EndRun(stopped, RunStatus::kStopped).ok());
  EXPECT_EQ(store.ResumeRun("other").value(), "");
  EXPECT_EQ(store.ResumeRun("").value(), "");
  EXPECT_EQ(store.ResumeRun("plan").value(), stopped);
  EXPECT_FALSE(store.EndRun("absent", RunStatus::kComplete).ok());
}

TEST_F(StoreTest, ARunThatSomebodyWorksOnIsNotResumed) {
  Store mine = MustOpen(Path());
  const std::string run = MustBegin(mine, "plan");
  Store other = MustOpen(Path());
  EXPECT_EQ(other.ResumeRun("plan").value(), "");
  { const Store closed = std::move(mine); }  // as a killed process does, without EndRun
  EXPECT_EQ(other.ResumeRun("plan").value(), run);
  Store third = MustOpen(Path());
  EXPECT_EQ(third.ResumeRun("plan").value(), "");
  ASSERT_TRUE(other.EndRun(run, RunStatus::kStopped).ok());
  EXPECT_EQ(third.ResumeRun("plan").value(), run);
}

TEST_F(StoreTest, OpensAStoredVersionOneFileAndReadsEveryRow) {
  fs::copy_file(ASSAY_SOURCE_DIR "/tests/golden/store_v1.db", Path());
  Store store = MustOpen(Path());
  const auto runs = store.Runs();
  ASSERT_TRUE(runs.ok());
  ASSERT_EQ(runs->size(), 2u);
  EXPECT_EQ(runs->at(0).start.command_line, "assay audit a.toml");
  EXPECT_EQ(runs->at(0).status, RunStatus::kComplete);
  EXPECT_EQ(runs->at(0).measurement_count, 4);
  EXPECT_EQ(runs->at(1).status, RunStatus::kRunning);
  const auto rows = store.Find({});
  ASSERT_TRUE(rows.ok()) << rows.error().message;
  ASSERT_EQ(rows->size(), 4u);
  for (const Measurement& row : *rows) EXPECT_EQ(row.cell_key, CellKey(row.subject, row.factors, row.machine));
  EXPECT_EQ(rows->at(0).quantity.value, 1.5);
  EXPECT_EQ(rows->at(0).seed, 0xffffffffffffffffULL);
  EXPECT_EQ(store.GetArtifact(rows->at(0).samples_artifact).value(), "[1.5,1.25,2.0]");
  EXPECT_EQ(rows->at(1).quantity.basis, Basis::kArithmetic);
  EXPECT_TRUE(rows->at(2).quantity.refused());
  EXPECT_TRUE(std::isinf(rows->at(3).quantity.high));
  EXPECT_EQ(store.WorkDone(runs->at(0).id).value(), std::vector<std::string>{"w1"});
  EXPECT_EQ(store.Rebuttals("MLA-01")->at(0).id, "R1");
  EXPECT_TRUE(store.Check()->problems.empty());
}

TEST_F(StoreTest, VersionOneOfTheSchemaHasNotChanged) {
  fs::copy_file(ASSAY_SOURCE_DIR "/tests/golden/store_v1.db", Path("golden.db"));
  { Store store = MustOpen(Path("new.db")); }
  const auto tables = [](const std::string& path) {
    auto database = sqlite::Database::Open(path, sqlite::Database::Mode::kReadWrite, 0);
    std::string all;
    auto rows = (*database)->Prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name");
    while (rows->Step().value()) all += rows->Text(0) + "\n";
    return all;
  };
  EXPECT_EQ(tables(Path("golden.db")), tables(Path("new.db")))
      << "files of version 1 are in the field: add a migration to version 2 instead of changing version 1";
}

}  // namespace
}  // namespace assay
