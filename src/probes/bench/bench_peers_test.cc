// What becomes of a peer that is right, wrong, unable or dying: on a matmul of four by four, against a fake in plain Python.
#include "probes/bench/bench_peers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "foreign/fake_peer.h"
#include "machine/paired_runner.h"

namespace assay::bench {
namespace {

constexpr Shape kTiny{.name = "tiny", .family = Shape::Family::kMatmul, .sequences = 1, .queries = 4, .keys = 4, .query_heads = 1, .kv_heads = 1,
                      .head_dim = 8, .v_head_dim = 0, .dtype = DType::kF32, .causal = Causal::kNone};

// %s: what is done to the answer; %t: what is done before a time is given.
constexpr char kMatmul[] = R"(
import array
def read(folder, role):
    values = array.array("f"); values.frombytes(open(folder + "/" + role, "rb").read())
    return values
for line in sys.stdin:
    r = json.loads(line)
    if r["do"] == "prepare":
        q, k = read(r["folder"], "q"), read(r["folder"], "k")
        answer = array.array("f", [sum(q[8 * i + c] * k[8 * j + c] for c in range(8)) for i in range(4) for j in range(4)])
        %s
        open(r["folder"] + "/answer", "wb").write(answer.tobytes())
        print(json.dumps({"ok": True, "implementation": "fake"}), flush=True)
    else:
        open(os.path.dirname(os.path.abspath(__file__)) + "/timed", "w")
        %t
        print(json.dumps({"ok": True, "seconds": 0.25}), flush=True)
)";

std::string Matmul(const std::string& to_answer, const std::string& before_time) {
  std::string text = kMatmul;
  text.replace(text.find("%s"), 2, to_answer);
  text.replace(text.find("%t"), 2, before_time);
  return text;
}

struct Fixture {
  std::unique_ptr<foreign::PrivateFolder> folder = foreign::PrivateFolder::Make("test").value();
  std::unique_ptr<foreign::PeerHost> host;
  OwnedProblem owned;
  std::vector<RowPeer> peers;

  explicit Fixture(const std::string& text, const Shape& shape = kTiny, double memory_bytes = 1e9) {
    host = foreign::PeerHost::Make({.python = foreign::FakePython(folder->path(), text)}).value();
    Rng rng(1);
    owned = MakeProblem(shape, rng);
    const Problem& p = owned.problem;
    for (int64_t i = 0; i < 4 && shape.family == Shape::Family::kMatmul; ++i) {
      for (int64_t j = 0; j < 4; ++j) {
        double sum = 0;
        for (int64_t c = 0; c < 8; ++c) sum += p.Get(Role::kQ).At({i, c}) * p.Get(Role::kK).At({j, c});
        p.Get(Role::kO).Set({i, j}, sum);
      }
    }
    peers = PreparePeers(shape, p, {.host = *host, .threads = 1, .seed = 7, .memory_bytes = memory_bytes});
  }
  [[nodiscard]] bool timed() const { return std::filesystem::exists(folder->path() + "/timed"); }

  std::vector<BenchPeer> Run() {
    int calls = 0;
    std::vector<machine::TimedSubject> subjects{{.name = "ours", .run = [&calls] { ++calls; }}};
    for (RowPeer& peer : peers) {
      if (peer.peer) subjects.push_back(SubjectOf(peer));
    }
    const auto result = machine::RunPaired(subjects, nullptr, {.min_rounds = 8, .max_rounds = 8, .repeats = 1, .min_sample_us = 1});
    EXPECT_TRUE(result.ok());
    EXPECT_GT(calls, 8);
    EXPECT_EQ(result.value().subjects[0].best_s.size(), 8u);
    return ComparePeers(result.value(), peers, 1);
  }
};

TEST(BenchPeers, AreTimedByTheirOwnClockAndComparedRoundByRound) {
  Fixture fixture(Matmul("pass", "pass"));
  const std::vector<BenchPeer> shown = fixture.Run();
  ASSERT_EQ(shown.size(), 2u);  // PyTorch and ONNX Runtime, both played by the fake
  for (const BenchPeer& peer : shown) {
    EXPECT_EQ(peer.refusal, "");
    EXPECT_EQ(peer.implementation, "fake");
    EXPECT_EQ(peer.median_ms, 250);
    EXPECT_GT(peer.ratio, 1);
    EXPECT_LE(peer.ratio_low, peer.ratio);
    EXPECT_GE(peer.ratio_high, peer.ratio);
    EXPECT_LT(peer.row_error, 1e-6);
  }
}

TEST(BenchPeers, WithAWrongAnswerAreRefusedBeforeTiming) {
  for (const char* wrong : {"answer[5] += 3", "answer[0] = float('nan')", "answer = array.array('f', [0] * 16)"}) {
    Fixture fixture(Matmul(wrong, "pass"));
    for (const BenchPeer& peer : fixture.Run()) EXPECT_NE(peer.refusal.find("its answer differs from ours"), std::string::npos) << wrong << peer.refusal;
    EXPECT_FALSE(fixture.timed()) << wrong;
  }
}

TEST(BenchPeers, ErrorAgainstFp64IsThatOfTheirAnswer) {
  Fixture fixture(Matmul("answer = array.array('f', [x * (1 + 1e-4) for x in answer])", "pass"));
  ASSERT_EQ(fixture.peers[0].shown.refusal, "");
  EXPECT_GT(fixture.peers[0].shown.row_error, 1e-5);
  EXPECT_LT(fixture.peers[0].shown.row_error, 1.1e-4);
}

TEST(BenchPeers, ThatDieWhileTimedLeaveOurRowAndTheirReason) {
  Fixture fixture(Matmul("pass", "os.kill(os.getpid(), signal.SIGSEGV)"));
  for (const BenchPeer& peer : fixture.Run()) {
    EXPECT_NE(peer.refusal.find("was ended by signal 11"), std::string::npos) << peer.refusal;
    EXPECT_EQ(peer.median_ms, 0);
  }
}

TEST(BenchPeers, AreRefusedWhereMemoryIsShort) {
  const Fixture fixture(Matmul("pass", "pass"), kTiny, 100);
  for (const RowPeer& peer : fixture.peers) EXPECT_NE(peer.shown.refusal.find("of memory"), std::string::npos) << peer.shown.refusal;
}

TEST(BenchPeers, AreRefusedOverAQuantisedCache) {
  Shape shape{.name = "tiny_int8", .family = Shape::Family::kDecode, .sequences = 1, .queries = 1, .keys = 64, .query_heads = 2, .kv_heads = 1,
              .head_dim = 32, .v_head_dim = 32, .dtype = DType::kBf16, .causal = Causal::kBottomRight, .cache = DType::kI8};
  shape.k_scale = shape.v_scale = ScaleGranularity::kPerToken;
  const Fixture fixture("sys.exit(1)", shape);
  ASSERT_EQ(fixture.peers.size(), 2u);
  for (const RowPeer& peer : fixture.peers) EXPECT_NE(peer.shown.refusal.find("over a cache of i8"), std::string::npos) << peer.shown.refusal;
}

TEST(BenchPeers, ThatAreNotInstalledStopTheBenchWithTheRemedy) {
  const Result<BenchReport> report = RunBench({.filter = "prefill_512", .peers_python = "/nowhere/python"});
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().kind, ErrorKind::kEnvironment);
  EXPECT_NE(report.error().message.find("./dev setup --peers"), std::string::npos);
}

TEST(Bench, StoppedWithinItsLastRowIsStoppedAndNotRefused) {
  int asked = 0;
  const Result<BenchReport> report = RunBench({.filter = "gdn_decode", .threads = 1, .rounds = 2, .stop = [&asked] { return ++asked > 1; }});
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report.value().stopped);
  EXPECT_TRUE(report.value().rows.empty());
  EXPECT_TRUE(report.value().refused.empty());
}

TEST(BenchPeers, DistanceIsOfTheWholeAnswer) {
  float ours[4] = {3, 0, 0, 4};
  const std::vector<int64_t> shape = {4};
  const TensorView view = TensorView::Contiguous(ours, DType::kF32, shape);
  EXPECT_EQ(DistanceToOurs(view, {3, 0, 0, 4}), 0);
  EXPECT_DOUBLE_EQ(DistanceToOurs(view, {3, 0, 1, 4}), 0.2);
  EXPECT_EQ(DistanceToOurs(view, {3, 0, 0}), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(DistanceToOurs(view, {3, 0, 0, std::numeric_limits<float>::quiet_NaN()})));
}

}  // namespace
}  // namespace assay::bench
