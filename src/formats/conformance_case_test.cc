#include "formats/conformance_case.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>

#include "formats/text.h"

namespace assay::formats {
namespace {

constexpr std::string_view kGood =
    "op Attention opset 23\n"
    "a scale float 0x1p-2\n"
    "a axes ints 0 -1\n"
    "a mode str causal mask\n"
    "a heads int 3\n"
    "t in 0 Q float32 2 2 2\n"
    "0x1.8p+0 -inf nan 4\n"
    "t in 3 mask bool 1 3\n"
    "1 0 1\n"
    "t in 1 lengths int64 0\n"
    "9007199254740993\n"
    "t out 0 Y float16 1 0\n"
    "\n";

std::string MessageOf(std::string_view text) {
  auto parsed = ParseCaseText(text, "case.txt");
  return parsed.ok() ? "parsed" : parsed.error().message;
}

TEST(ConformanceCase, ReadsAttributesAndTensorsOfEveryKind) {
  auto parsed = ParseCaseText(kGood, "dir/case.txt");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const Case& c = *parsed;
  EXPECT_EQ(c.op, "Attention");
  EXPECT_EQ(c.opset, 23);
  EXPECT_EQ(c.name, "case");
  EXPECT_EQ(c.Float("scale", 1), 0.25);
  EXPECT_EQ(c.Str("mode", ""), "causal mask");
  EXPECT_EQ(c.Int("heads", 0), 3);
  EXPECT_EQ(c.Float("heads", 0), 3.0);
  EXPECT_EQ(c.Int("absent", 7), 7);
  ASSERT_EQ(c.inputs.size(), 3u);
  EXPECT_EQ(c.inputs[1].name, "lengths") << "inputs are sorted by index";
  EXPECT_EQ(c.Input(0)->At({0, 0}), 1.5);
  EXPECT_TRUE(std::isinf(c.Input(0)->At({0, 1})));
  EXPECT_TRUE(std::isnan(c.Input(0)->At({1, 0})));
  EXPECT_EQ(c.Input("mask")->At({1}), 0.0);
  EXPECT_EQ(*c.Input("lengths")->as<int64_t>(), 9007199254740993) << "int64 must not pass through a double";
  EXPECT_EQ(c.Input(2), nullptr);
  EXPECT_EQ(c.Output(0)->count(), 0);
}

TEST(ConformanceCase, AcceptsCrlfAndAByteOrderMark) {
  std::string text = "\xef\xbb\xbf";
  for (const char ch : kGood) text += ch == '\n' ? std::string("\r\n") : std::string(1, ch);
  EXPECT_EQ(MessageOf(text), "parsed");
}

TEST(ConformanceCase, RefusesMalformedLinesWithTheirNumber) {
  EXPECT_EQ(MessageOf(""), "case.txt: empty; a case starts with 'op NAME opset N'");
  EXPECT_EQ(MessageOf("opp X opset 1\n"), "case.txt:1: a case starts with 'op NAME opset N'");
  EXPECT_EQ(MessageOf("op X opset 0\nb c\n"),
            "case.txt:2: a line starts with 'b'; expected 'a' (attribute) or 't' (tensor)");
  EXPECT_EQ(MessageOf("op X opset 0\na n int 1.5\n"), "case.txt:2: attribute 'n': '1.5' is not an integer");
  EXPECT_EQ(MessageOf("op X opset 0\na n int 1\na n int 2\n"), "case.txt:3: attribute 'n' is given twice; keep one");
  EXPECT_EQ(MessageOf("op X opset 0\nt out 0 Y float32 1 3\n1 2\n"),
            "case.txt:3: tensor 'Y' has fewer values than its shape needs; is the file cut short?");
  EXPECT_EQ(MessageOf("op X opset 0\nt out 0 Y float32 1 2\n1.000 \n"),
            "case.txt:3: tensor 'Y' has 1 values; its shape needs 2");
  EXPECT_EQ(MessageOf("op X opset 0\nt out 0 Y float32 1 2\n1 2 3\n"),
            "case.txt:3: tensor 'Y' has more values than its shape's 2");
  EXPECT_EQ(MessageOf("op X opset 0\nt out 0 Y bool 1 1\n777\n"),
            "case.txt:3: tensor 'Y', value 0: 777 does not fit in bool");
  EXPECT_EQ(MessageOf("op X opset 0\nt in 0 Y float32 0\n1\n"),
            "case.txt:3: the case has no output ('t out ...'), so it checks nothing; is the file complete?");
}

TEST(ConformanceCase, RefusesHostileSizesWithoutAllocatingThem) {
  EXPECT_NE(MessageOf("op X opset 0\nt out 0 Y float32 3 2097152 2097152 2097152\n1\n").find("fewer values"),
            std::string::npos);
  EXPECT_NE(
      MessageOf("op X opset 0\nt out 0 Y float32 2 9223372036854775807 9223372036854775807\n1\n").find("fewer values"),
      std::string::npos);
  EXPECT_NE(MessageOf("op X opset 0\nt out 0 Y float32 1 -5\n1\n").find("dimensions >= 0"), std::string::npos);
  EXPECT_NE(MessageOf("op X opset 0\nt out 0 Y float32 99\n1\n").find("99 dimensions"), std::string::npos);
  // A zero extent beside huge ones is an empty tensor, not an overflow.
  EXPECT_NE(
      MessageOf("op X opset 0\nt out 0 Y float32 3 9223372036854775807 0 9223372036854775807\n\n").find("fewer values"),
      std::string::npos);
}

TEST(ConformanceCase, AnUnknownDtypeIsUnsupportedNotMalformed) {
  auto parsed = ParseCaseText("op X opset 0\nt out 0 Y complex64 1 1\n1\n", "case.txt");
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().kind, ErrorKind::kUnsupported);
}

TEST(ConformanceCase, ReadsOpenVinoCases) {
  const std::string text =
      R"([{"name": "x", "q_shape": [1,1,1,2], "v_shape": [1,1,1,1], "state_shape": [1,1,2,1], "fuse_qk_l2norm": 1,
    "l2_eps": 1e-6, "q": [1,2], "k": [3,4], "v": [3], "state": [0,0], "log_decay": [0], "beta": [1], "out": [2.5], "final_state": [9,12]}])";
  auto parsed = ParseOpenVinoCases(text, "openvino_gated_delta_net.json");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  ASSERT_EQ(parsed->size(), 1u);
  const Case& c = (*parsed)[0];
  EXPECT_EQ(c.op, "openvino");
  EXPECT_EQ(c.name, "openvino_gated_delta_net/x");
  EXPECT_EQ(c.Int("fuse_qk_l2norm", 0), 1);
  EXPECT_EQ(c.Input("beta")->rank, 3);
  EXPECT_EQ(c.Input("k")->At({0, 0, 0, 1}), 4.0);
  EXPECT_EQ(c.Output("final_state")->At({0, 0, 1, 0}), 12.0);
}

TEST(ConformanceCase, RefusesOpenVinoShapesThatDoNotDescribeTheValues) {
  const auto message = [](const std::string& shape) {
    const std::string text = R"([{"name": "x", "q_shape": )" + shape +
                             R"(, "v_shape": [1,1,1,1], "state_shape": [1,1,2,1], "fuse_qk_l2norm": 1,
      "l2_eps": 1e-6, "q": [1,2], "k": [3,4], "v": [3], "state": [0,0], "log_decay": [0], "beta": [1], "out": [2.5], "final_state": [9,12]}])";
    auto parsed = ParseOpenVinoCases(text, "f.json");
    return parsed.ok() ? std::string("parsed") : parsed.error().message;
  };
  EXPECT_EQ(message("[1,1,1,2]"), "parsed");
  EXPECT_NE(message("[1,1,1,1]").find("'q' has 2 values"), std::string::npos);
  EXPECT_NE(message("[1,1,1,99999999999]").find("does not describe"), std::string::npos);
  EXPECT_NE(message("[1,1,1,-2]").find("does not describe"), std::string::npos);
  EXPECT_NE(message("7").find("array of 4 extents"), std::string::npos);
  EXPECT_FALSE(ParseOpenVinoCases(std::string(100000, '['), "f.json").ok());
  EXPECT_FALSE(ParseOpenVinoCases("[{", "f.json").ok());
}

TEST(ConformanceCase, ReadsEverySharedVector) {
  const std::string directory = std::string(ASSAY_SHARED_DATA_DIR) + "/conformance";
  if (!std::filesystem::exists(directory)) GTEST_SKIP() << "no outside test vectors at " << directory;
  auto files = ListCaseFiles(directory);
  ASSERT_TRUE(files.ok()) << files.error().message;
  std::map<std::string, int> ops;
  for (const std::string& path : *files) {
    auto cases = ReadCaseFile(path);
    ASSERT_TRUE(cases.ok()) << cases.error().message;
    for (const Case& c : *cases) {
      ++ops[c.op];
      EXPECT_FALSE(c.inputs.empty()) << path;
    }
  }
  EXPECT_EQ(ops["openvino"], 2);
  EXPECT_GE(ops["Attention"], 51);
  EXPECT_GE(files->size(), 300u);
}

TEST(WriteFile, ReplacesAFileWholeOrNotAtAll) {
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("assay_write_{}", getpid());
  std::filesystem::create_directories(folder);
  const std::string path = folder / "report.html", link = folder / "link.html";
  ASSERT_TRUE(WriteFile(path, "old").ok());
  std::filesystem::create_symlink(path, link);
  ASSERT_TRUE(WriteFile(link, "new").ok());
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(ReadFile(path, 100).value(), "new");

  // A file-size limit stands in for the full disk: the write fails midway.
  signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{.rlim_cur = 10, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const Status written = WriteFile(path, std::string(100, 'x'));
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, SIG_DFL);
  EXPECT_FALSE(written.ok());
  EXPECT_EQ(ReadFile(path, 100).value(), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 2) << "the unfinished file was left behind";
  EXPECT_FALSE(WriteFile(folder / "absent" / "x", "x").ok());
  std::filesystem::remove_all(folder);
}

TEST(ConformanceCase, AFolderWithoutCasesIsAnError) {
  EXPECT_FALSE(ListCaseFiles("/nonexistent").ok());
  EXPECT_FALSE(ReadCaseFile("/dev/zero").ok()) << "a device never ends";
  EXPECT_FALSE(ReadCaseFile("/").ok());
}

}  // namespace
}  // namespace assay::formats
