// The protocol with peers, against fakes: small Python programs that answer, refuse, crash, hang and babble.
#include "foreign/peer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "foreign/fake_peer.h"

namespace assay::foreign {
namespace {

// Serves `prepare` with the values of q doubled, and `time` with half a millisecond.
constexpr char kHonest[] = R"(
import array
for line in sys.stdin:
    r = json.loads(line)
    if r["do"] == "prepare":
        q = array.array("f"); q.frombytes(open(r["folder"] + "/q", "rb").read())
        open(r["folder"] + "/answer", "wb").write(array.array("f", [2 * x for x in q]).tobytes())
        print(json.dumps({"ok": True, "implementation": r["peer"] + " on " + r["row"]["family"]}), flush=True)
    else:
        print(json.dumps({"ok": True, "seconds": 0.0005 * r["calls"] / r["calls"]}), flush=True)
)";

constexpr std::array<float, 4> kValues = {1, 2, 3, 4};

struct Fixture {
  std::unique_ptr<PrivateFolder> folder = PrivateFolder::Make("test").value();
  std::unique_ptr<PeerHost> host;

  explicit Fixture(const std::string& python_text, double timeout_s = 60, std::function<bool()> stop = {}) {
    host = PeerHost::Make({.python = FakePython(folder->path(), python_text), .prepare_timeout_s = timeout_s, .time_timeout_s = timeout_s, .stop = std::move(stop)}).value();
    PeerRow row{.family = "matmul", .queries = 2, .keys = 2};
    row.tensors.push_back({.role = "q", .dtype = DType::kF32, .shape = {2, 2}, .bytes = std::as_bytes(std::span(kValues))});
    EXPECT_TRUE(host->SetRow(row).ok());
  }
  [[nodiscard]] Result<std::unique_ptr<Peer>> Prepare(size_t count = 4) const { return host->Prepare("fake", 2, count); }
  [[nodiscard]] std::string PrepareError() const {
    const auto peer = Prepare();
    return peer.ok() ? "no error" : peer.error().message;
  }
};

TEST(Peer, GivesItsAnswerAndItsOwnTime) {
  const Fixture fixture(kHonest);
  const auto peer = fixture.Prepare();
  ASSERT_TRUE(peer.ok()) << peer.error().message;
  EXPECT_EQ(peer.value()->implementation(), "fake on matmul");
  EXPECT_EQ(peer.value()->answer(), (std::vector<float>{2, 4, 6, 8}));
  EXPECT_EQ(peer.value()->Time(3).value(), 0.0005);
}

TEST(Peer, IsNotInstalledWithTheRemedy) {
  const auto host = PeerHost::Make({.python = "/nowhere/bin/python"});
  ASSERT_FALSE(host.ok());
  EXPECT_EQ(host.error().kind, ErrorKind::kEnvironment);
  EXPECT_NE(host.error().message.find("./dev setup --peers"), std::string::npos);
}

TEST(Peer, RefusesInItsOwnWords) {
  const Fixture fixture("sys.stdin.readline(); print(json.dumps({'ok': False, 'reason': 'no bf16 here'}), flush=True); sys.stdin.readline()");
  EXPECT_EQ(fixture.PrepareError(), "no bf16 here");
}

TEST(Peer, ThatExitsLeavesItsCodeAndLastWords) {
  const Fixture fixture("sys.stdin.readline(); print('ModuleNotFoundError: torch', file=sys.stderr); sys.exit(3)");
  EXPECT_EQ(fixture.PrepareError(), "ended with exit code 3: ModuleNotFoundError: torch");
}

TEST(Peer, ThatCrashesLeavesItsSignal) {
  const Fixture fixture("sys.stdin.readline(); os.kill(os.getpid(), signal.SIGSEGV)");
  EXPECT_NE(fixture.PrepareError().find("was ended by signal 11"), std::string::npos) << fixture.PrepareError();
}

TEST(Peer, ThatHangsIsKilledAtTheTimeout) {
  const Fixture fixture("time.sleep(1000)", 0.2);
  EXPECT_EQ(fixture.PrepareError(), "gave no answer in time and was killed");
}

TEST(Peer, ThatClosesItsOutputAndLivesOnIsKilled) {
  const Fixture fixture("sys.stdin.readline(); os.close(1); os.close(0); time.sleep(1000)");
  EXPECT_EQ(fixture.PrepareError(), "closed its output");
}

TEST(Peer, ThatBabblesIsNoAnswer) {
  EXPECT_EQ(Fixture("print('hello', flush=True); sys.stdin.readline(); time.sleep(1000)").PrepareError(), "answered what is no answer: hello");
  EXPECT_EQ(Fixture("print('[1]', flush=True); sys.stdin.readline(); time.sleep(1000)").PrepareError(), "answered what is no answer: [1]");
  EXPECT_EQ(Fixture("print('x' * (3 << 20), flush=True)").PrepareError(), "answered more than a MiB without an end of line");
}

TEST(Peer, WhoseAnswerHasAnotherSizeIsRefused) {
  const Fixture fixture(kHonest);
  const auto peer = fixture.Prepare(5);
  ASSERT_FALSE(peer.ok());
  EXPECT_EQ(peer.error().message, "its answer has 4 numbers instead of 5");
}

TEST(Peer, WithoutAnAnswerIsRefusedEvenWhenAnotherLeftOne) {
  std::string answers_once = kHonest;
  answers_once.replace(answers_once.find("open(r[\"folder\"] + \"/answer\""), 0, "if r['peer'] != 'silent': ");
  const Fixture fixture(answers_once);
  ASSERT_TRUE(fixture.Prepare().ok());
  const auto silent = fixture.host->Prepare("silent", 2, 4);
  ASSERT_FALSE(silent.ok());
  EXPECT_EQ(silent.error().message, "left no answer");
}

TEST(Peer, ThatDiesWhileTimedGivesTheSameReasonEver) {
  std::string dies = kHonest;
  dies.replace(dies.find("    else:"), 9, "    elif os.kill(os.getpid(), signal.SIGABRT):");
  const Fixture fixture(dies);
  const auto peer = fixture.Prepare();
  ASSERT_TRUE(peer.ok());
  const auto first = peer.value()->Time(1), second = peer.value()->Time(1);
  ASSERT_FALSE(first.ok());
  EXPECT_NE(first.error().message.find("was ended by signal 6"), std::string::npos) << first.error().message;
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().message, first.error().message);
}

TEST(Peer, WhoseTimeIsNoneIsRefused) {
  for (const char* seconds : {"0", "-1", "\\\"fast\\\"", "null"}) {
    std::string lies = kHonest;
    lies.replace(lies.find("print(json.dumps({\"ok\": True, \"seconds\""), std::string::npos,
                 fmt::format("print(\"{{\\\"ok\\\": true, \\\"seconds\\\": {}}}\", flush=True)\n", seconds));
    const Fixture fixture(lies);
    const auto peer = fixture.Prepare();
    ASSERT_TRUE(peer.ok()) << peer.error().message;
    const auto time = peer.value()->Time(1);
    ASSERT_FALSE(time.ok()) << seconds;
    EXPECT_EQ(time.error().message, "gave a time that is none");
  }
}

TEST(Peer, StopsWaitingWhenAsked) {
  const Fixture fixture("time.sleep(1000)", 600, [] { return true; });
  EXPECT_EQ(fixture.PrepareError(), "stopped");
}

TEST(Peer, IsGoneWithWhatItStartedWhenItsOwnerIs) {
  std::string forks = kHonest;
  forks.replace(0, 0, "pid = os.fork()\nif pid == 0:\n    time.sleep(1000)\nopen(os.path.dirname(os.path.abspath(__file__)) + '/pid', 'w').write(str(pid))\n");
  pid_t grandchild = 0;
  const Fixture fixture(forks);
  {
    const auto peer = fixture.Prepare();
    ASSERT_TRUE(peer.ok()) << peer.error().message;
    std::ifstream(fixture.folder->path() + "/pid") >> grandchild;
    ASSERT_GT(grandchild, 0);
    EXPECT_EQ(kill(grandchild, 0), 0);
  }
  // Dead, or a zombie that waits for its new parent; the kernel takes a moment to do what it was told.
  const auto gone = [grandchild] {
    std::string stat;
    std::getline(std::ifstream(fmt::format("/proc/{}/stat", grandchild)), stat);
    return stat.empty() || stat.find(") Z ") != std::string::npos;
  };
  for (int tries = 0; tries < 10000 && !gone(); ++tries) poll(nullptr, 0, 1);
  EXPECT_TRUE(gone());
}

TEST(Peer, PrivateFolderIsItsOwnersAloneAndGoesWithItsContent) {
  auto folder = PrivateFolder::Make("test").value();
  const std::string path = folder->path();
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  std::ofstream(path + "/file") << "x";
  folder.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace assay::foreign
