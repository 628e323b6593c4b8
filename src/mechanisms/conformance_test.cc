// Outside vectors pass, and would not pass if a convention were another: the test of the tests.
#include "mechanisms/conformance.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "formats/conformance_case.h"

namespace assay {
namespace {

std::string DataDirectory() { return std::string(ASSAY_SHARED_DATA_DIR) + "/conformance"; }

#define SKIP_WITHOUT_DATA() \
  if (!std::filesystem::exists(DataDirectory())) GTEST_SKIP() << "no outside vectors at " << DataDirectory()

// A plain clone has no outside vectors, but these: written by a script that shares no code with the program.
TEST(Conformance, OurOwnSmallCasesPass) {
  const auto report = VerifyCases(ASSAY_SOURCE_DIR "/tests/conformance", {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const CaseVerdict& verdict : report->cases) EXPECT_EQ(verdict.outcome, CaseOutcome::kPassed) << verdict.path << ": " << verdict.reason;
  EXPECT_EQ(report->total.passed, 3);
  EXPECT_GE(report->kernel_runs, 3);
}

TEST(Conformance, EveryCaseOfAKnownOperatorPasses) {
  SKIP_WITHOUT_DATA();
  const auto report = VerifyCases(DataDirectory(), {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const CaseVerdict& verdict : report->cases) {
    EXPECT_NE(verdict.outcome, CaseOutcome::kFailed) << verdict.path << ": " << verdict.reason;
    EXPECT_EQ(verdict.outcome == CaseOutcome::kPassed, verdict.reason.empty()) << verdict.path;
  }
  EXPECT_GE(report->total.passed, 85);
  EXPECT_GT(report->kernel_runs, 0);
}

// Read once: the flips below run every case many times.
const std::vector<formats::Case>& AllCases() {
  static const std::vector<formats::Case> all = [] {
    std::vector<formats::Case> cases;
    const auto files = formats::ListCaseFiles(DataDirectory());
    for (size_t i = 0; files.ok() && i < files->size(); ++i) {
      auto read = formats::ReadCaseFile((*files)[i]);
      for (size_t j = 0; read.ok() && j < read->size(); ++j) cases.push_back(std::move((*read)[j]));
    }
    return cases;
  }();
  return all;
}

// Runs all cases of `op` through `mechanism` with `change` applied to every problem; returns how many then differ from their vectors.
int CasesThatFail(std::string_view op, std::string_view mechanism_id, const std::function<void(Problem&)>& change) {
  const Mechanism& mechanism = **FindMechanism(mechanism_id);
  const auto adapter = std::find_if(mechanism.cases.begin(), mechanism.cases.end(), [&](const CaseAdapter& candidate) { return candidate.op == op; });
  EXPECT_NE(adapter, mechanism.cases.end()) << mechanism_id << " does not serve " << op;
  if (adapter == mechanism.cases.end()) return 0;
  int failed = 0;
  for (const formats::Case& item : AllCases()) {
    if (item.op != op) continue;
    const auto outputs = RunReference(mechanism, *adapter, item, change);
    if (!outputs.ok() || !CompareOutputs(item, *outputs).ok()) ++failed;
  }
  return failed;
}

struct Flip {
  const char* name;
  const char* mechanism;
  std::vector<const char*> ops;
  std::function<void(Problem&)> change;
};

void Drop(Problem& problem, Role role) {
  std::erase_if(problem.arguments, [&](const Argument& argument) { return argument.role == role; });
}

// Query heads read key/value heads in turn (h mod Hkv) instead of in blocks: the mistake of tiling heads where they repeat.
void TileHeads(Problem& problem) {
  static std::vector<Tensor> keep;  // the problem only holds views
  const int64_t query_heads = problem.Get(Role::kQ).shape[2];
  for (Argument& argument : problem.arguments) {
    if (argument.role != Role::kK && argument.role != Role::kV) continue;
    const TensorView& from = argument.tensor;
    Tensor tiled(DType::kF64, {from.shape[0], from.shape[1], query_heads, from.shape[3]});
    for (int64_t b = 0; b < from.shape[0]; ++b) {
      for (int64_t t = 0; t < from.shape[1]; ++t) {
        for (int64_t h = 0; h < query_heads; ++h) {
          for (int64_t c = 0; c < from.shape[3]; ++c) tiled.view().Set({b, t, h, c}, from.At({b, t, h % from.shape[2], c}));
        }
      }
    }
    keep.push_back(std::move(tiled));
    argument.tensor = keep.back().view();
  }
}

TEST(Conformance, FlippingAConventionMakesCasesFail) {
  SKIP_WITHOUT_DATA();
  const std::vector<const char*> with_scale = {"Attention",        "FlexAttention",      "GroupedQueryAttention",  "SinkAttention",        "SoftcapAttention",
                                               "ChunkedLocalAttention", "RelativeBiasAttention", "SlidingWindowAttention", "AlibiAttention", "QkNormAttention",
                                               "GatedOutputAttention",  "SeparateGateAttention", "RopeOrNopeAttention",  "DifferentialAttention"};
  const Flip flips[] = {
      {"unchanged scale", "gqa", with_scale, [](Problem& problem) { problem.scale = 1; }},
      {"no softcap", "gqa", {"Attention", "SoftcapAttention"}, [](Problem& problem) { problem.softcap = 0; }},
      {"window + 1", "gqa", {"SlidingWindowAttention", "SinkAttention"}, [](Problem& problem) { problem.window_left += problem.window_left >= 0 ? 1 : 0; }},
      {"window + 1", "sliding_window", {"SlidingWindowAttention"}, [](Problem& problem) { ++problem.window_left; }},
      {"tiled heads", "gqa", {"Attention", "FlexAttention", "GroupedQueryAttention", "SinkAttention", "SlidingWindowAttention", "QkNormAttention"}, TileHeads},
      {"no sink", "gqa", {"SinkAttention"}, [](Problem& problem) { Drop(problem, Role::kSink); }},
      {"not causal", "gqa", {"Attention", "GroupedQueryAttention", "QkNormAttention"}, [](Problem& problem) { problem.causal = Causal::kNone; }},
      {"bottom-right for top-left", "gqa", {"Attention"}, [](Problem& problem) {
         if (problem.causal == Causal::kTopLeft) problem.causal = Causal::kBottomRight;
       }},
      {"no masks", "gqa", {"Attention", "ChunkedLocalAttention", "RelativeBiasAttention"}, [](Problem& problem) {
         Drop(problem, Role::kMaskBool);
         Drop(problem, Role::kMaskAdd);
       }},
      {"no lengths", "gqa", {"Attention"}, [](Problem& problem) { Drop(problem, Role::kLenK); }},
      {"no slopes", "gqa", {"AlibiAttention"}, [](Problem& problem) { Drop(problem, Role::kAlibi); }},
  };
  for (const Flip& flip : flips) {
    for (const char* op : flip.ops) {
      EXPECT_EQ(CasesThatFail(op, flip.mechanism, {}), 0) << op;
      EXPECT_GT(CasesThatFail(op, flip.mechanism, flip.change), 0) << flip.name << " changes no case of " << op;
    }
  }
}

TEST(Conformance, TheSinkEntersOnceAndNotTwice) {
  SKIP_WITHOUT_DATA();
  static std::vector<Tensor> keep;
  EXPECT_GT(CasesThatFail("SinkAttention", "gqa",
                          [](Problem& problem) {
                            for (Argument& argument : problem.arguments) {
                              if (argument.role != Role::kSink) continue;
                              Tensor twice(DType::kF64, {argument.tensor.shape[0]});
                              for (int64_t h = 0; h < argument.tensor.shape[0]; ++h) twice.view().Set({h}, argument.tensor.At({h}) + std::log(2));
                              keep.push_back(std::move(twice));
                              argument.tensor = keep.back().view();
                            }
                          }),
            0);
}

class Cases : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / ("assay_cases_" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  void Write(const std::string& name, const std::string& text) { std::ofstream(directory_ / name) << text; }
  std::filesystem::path directory_;
};

// Two keys of width 1 with equal scores: the mean of 2 and 4.
constexpr const char* kGood = "op Attention opset 23\nt in 0 Q float32 4 1 1 1 1\n0\nt in 1 K float32 4 1 1 2 1\n1 1\nt in 2 V float32 4 1 1 2 1\n2 4\nt out 0 Y float32 4 1 1 1 1\n";

TEST_F(Cases, CountsPassedFailedAndSkipped) {
  Write("good.txt", std::string(kGood) + "3\n");
  Write("wrong.txt", std::string(kGood) + "3.001\n");
  Write("cut.txt", std::string(kGood));
  Write("other.txt", "op Mystery opset 1\nt out 0 Y float32 1 1\n1\n");
  const auto report = VerifyCases(directory_.string(), {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->total.passed, 1);
  EXPECT_EQ(report->total.failed, 2);
  EXPECT_EQ(report->total.skipped, 1);
  EXPECT_EQ(report->ops.at("Attention").failed, 1);
  for (const CaseVerdict& verdict : report->cases) {
    EXPECT_EQ(verdict.outcome == CaseOutcome::kPassed, verdict.reason.empty()) << verdict.path;
    const bool cut = verdict.path.ends_with("cut.txt");
    EXPECT_EQ(verdict.reason.find("cut.txt:") != std::string::npos, cut) << verdict.reason;
  }
}

TEST_F(Cases, ShapesThatContradictTheOperatorFailAndDoNotCrash) {
  // V has a head too many, a mask no broadcast, heads do not divide, attributes beyond reason.
  Write("v.txt", "op Attention opset 23\nt in 0 Q float32 4 1 1 1 1\n0\nt in 1 K float32 4 1 1 2 1\n1 1\nt in 2 V float32 4 1 2 2 1\n2 4 2 4\nt out 0 Y float32 4 1 1 1 1\n3\n");
  Write("mask.txt", "op Attention opset 23\nt in 0 Q float32 4 1 1 1 1\n0\nt in 1 K float32 4 1 1 2 1\n1 1\nt in 2 V float32 4 1 1 2 1\n2 4\nt in 3 attn_mask float32 2 3 2\n0 0 0 0 0 0\nt out 0 Y float32 4 1 1 1 1\n3\n");
  Write("heads.txt", "op Attention opset 23\na q_num_heads int 2\na kv_num_heads int 2\nt in 0 Q float32 3 1 1 3\n0 0 0\nt in 1 K float32 3 1 1 3\n1 1 1\nt in 2 V float32 3 1 1 3\n2 4 1\nt out 0 Y float32 3 1 1 3\n3 3 3\n");
  Write("module.txt", "op QkNormAttention opset 0\na q_num_heads int 99\na kv_num_heads int 1\na head_dim int 60000\na scale float 1\nt in 0 hidden_states float32 3 1 1 2\n1 1\nt out 0 output float64 3 1 1 2\n1 1\n");
  const auto report = VerifyCases(directory_.string(), {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->total.failed, 4);
}

// An ignored attribute or input is another function: equal numbers would be luck.
TEST_F(Cases, WhatNoAdapterReadsMakesACaseNotUnderstood) {
  const std::string good = std::string(kGood) + "3\n";
  const auto with = [&](const char* attribute, const char* input) {
    std::string text = good;
    text.insert(text.find("t out"), input);
    return text.insert(text.find("t in"), attribute);
  };
  Write("alibi.txt", with("a alibi_max_bias float 8\n", ""));
  Write("bias.txt", with("", "t in 9 attn_bias float32 1 1\n0\n"));
  Write("heads.txt", with("a q_num_heads int 1\na kv_num_heads int 1\n", ""));
  Write("other_heads.txt", with("a q_num_heads int 2\n", ""));
  Write("type.txt", with("a scale str half\n", ""));
  const auto report = VerifyCases(directory_.string(), {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto outcome = [&](const std::string& name) {
    const auto found = std::find_if(report->cases.begin(), report->cases.end(), [&](const CaseVerdict& verdict) { return verdict.name == name; });
    return std::pair(found->outcome, found->reason);
  };
  EXPECT_EQ(outcome("alibi").first, CaseOutcome::kSkipped);
  EXPECT_NE(outcome("alibi").second.find("'alibi_max_bias'"), std::string::npos);
  EXPECT_EQ(outcome("bias").first, CaseOutcome::kSkipped);
  EXPECT_NE(outcome("bias").second.find("'attn_bias'"), std::string::npos);
  EXPECT_EQ(outcome("heads").first, CaseOutcome::kPassed) << outcome("heads").second;
  EXPECT_EQ(outcome("other_heads").first, CaseOutcome::kFailed);
  EXPECT_EQ(outcome("type").first, CaseOutcome::kFailed);
  EXPECT_NE(outcome("type").second.find("another type"), std::string::npos);
}

TEST_F(Cases, AFileThatCannotBeReadIsNamedAndNotPassedOver) {
  Write("good.TXT", std::string(kGood) + "3\n");
  std::filesystem::create_symlink(directory_ / "gone", directory_ / "dangling.txt");
  const auto report = VerifyCases(directory_.string(), {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->total.passed, 1);
  EXPECT_EQ(report->total.failed, 1);
}

TEST_F(Cases, ACaseThatAsksForTooMuchIsSkippedWithItsFigures) {
  std::string zeros(2 * 60000, '0');
  for (size_t i = 1; i < zeros.size(); i += 2) zeros[i] = ' ';
  const std::string shape = " float32 4 1 1 60000 1\n" + zeros + "\n";
  Write("large.txt", "op Attention opset 23\nt in 0 Q" + shape + "t in 1 K" + shape + "t in 2 V" + shape + "t out 0 Y" + shape);
  const auto report = VerifyCases(directory_.string(), {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->total.skipped, 1);
  EXPECT_NE(report->cases[0].reason.find("operations"), std::string::npos) << report->cases[0].reason;
}

TEST_F(Cases, AMissingFolderAndAnEmptyOneAreBadInput) {
  EXPECT_FALSE(VerifyCases((directory_ / "absent").string(), {}).ok());
  EXPECT_FALSE(VerifyCases(directory_.string(), {}).ok());
}

TEST_F(Cases, ComparesNonFiniteValuesByPlace) {
  Write("a.txt", "op X opset 1\nt out 0 Y float32 1 3\nnan inf 1\n");
  const auto cases = formats::ReadCaseFile((directory_ / "a.txt").string());
  ASSERT_TRUE(cases.ok()) << cases.error().message;
  const auto compare = [&](double a, double b, double c) {
    CaseOutputs outputs;
    Tensor y(DType::kF64, {3});
    y.view().Set({0}, a);
    y.view().Set({1}, b);
    y.view().Set({2}, c);
    outputs.outputs.push_back({"Y", std::move(y)});
    return CompareOutputs(cases->front(), outputs).ok();
  };
  const double nan = std::nan("");
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(compare(nan, inf, 1 + 5e-7));
  EXPECT_FALSE(compare(nan, inf, 1 + 5e-6));
  EXPECT_FALSE(compare(0, inf, 1));
  EXPECT_FALSE(compare(nan, -inf, 1));
  EXPECT_FALSE(compare(nan, inf, nan));
}

}  // namespace
}  // namespace assay
