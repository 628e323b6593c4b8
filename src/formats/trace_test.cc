#include "formats/trace.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "formats/lengths.h"
#include "formats/usecase.h"

namespace assay::formats {
namespace {

std::string MessageOf(std::string_view text) {
  auto trace = ParseTrace(text, "t.csv");
  return trace.ok() ? "parsed" : trace.error().message;
}

TEST(Trace, ReadsAzureCsvWithTimesToTheTick) {
  auto trace = ParseTrace(
      "\xef\xbb\xbfTIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-12-31 "
      "23:59:59.9999999,374,44\r\n2024-01-01T00:00:00.5Z,1,0\r\n2024-01-01 01:00:01+01:00,7,8\r\n",
      "t.csv");
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  EXPECT_EQ(trace->format, TraceFormat::kAzureCsv);
  ASSERT_EQ(trace->requests.size(), 3u);
  EXPECT_EQ(trace->requests[0].arrival_s, 0.0);
  EXPECT_NEAR(trace->requests[1].arrival_s, 0.5000001, 1e-12);
  EXPECT_NEAR(trace->requests[2].arrival_s, 1.0000001, 1e-12);
  EXPECT_EQ(trace->requests[2].prompt_tokens, 7);
  EXPECT_TRUE(trace->warnings.empty());
}

TEST(Trace, ReadsPlainCsvInAnyColumnOrder) {
  auto trace = ParseTrace("user,output_tokens,arrival_s,prompt_tokens\nx,3,10.5,2\ny,4,11,5", "t.csv");
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  ASSERT_EQ(trace->requests.size(), 2u);
  EXPECT_EQ(trace->requests[1].arrival_s, 0.5);
  EXPECT_EQ(trace->requests[1].prompt_tokens, 5);
  EXPECT_EQ(trace->requests[1].output_tokens, 4);
}

TEST(Trace, ReadsMooncakeLinesWithTheirBlocks) {
  auto trace = ParseTrace(
      "{\"timestamp\": 0, \"input_length\": 6758, \"output_length\": 500, \"hash_ids\": [0, 1, 2]}\n"
      "{\"hash_ids\": [], \"output_length\": 1, \"timestamp\": 27.5, \"input_length\": 9, \"extra\": {\"a\": 1}}\n"
      "{\"timestamp\":3000,\"input_length\":1,\"output_length\":2}\n",
      "t.jsonl");
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  ASSERT_EQ(trace->requests.size(), 3u);
  EXPECT_EQ(trace->block_tokens, 512);
  EXPECT_EQ(trace->Blocks(trace->requests[0]).size(), 3u);
  EXPECT_EQ(trace->Blocks(trace->requests[0])[2], 2u);
  EXPECT_EQ(trace->requests[1].arrival_s, 0.0275);
  EXPECT_EQ(trace->requests[1].block_count, 0u);
  EXPECT_EQ(trace->requests[2].arrival_s, 3.0);
}

TEST(Trace, SortsArrivalsOutOfOrderAndSaysSo) {
  auto trace = ParseTrace("arrival_s,prompt_tokens,output_tokens\n5,1,0\n4,2,0\n5,3,0\n3,4,0\n", "t.csv");
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  std::vector<int64_t> order = trace->PromptTokens();
  EXPECT_EQ(order, (std::vector<int64_t>{4, 2, 1, 3}));
  EXPECT_EQ(trace->requests[0].arrival_s, 0.0);
  ASSERT_EQ(trace->warnings.size(), 1u);
  EXPECT_EQ(trace->warnings[0],
            "t.csv: 2 of 4 requests arrive before the line above them (the first is line 3); sorted by arrival");
}

TEST(Trace, RefusesBadValuesWithFileLineAndRemedy) {
  const std::string head = "arrival_s,prompt_tokens,output_tokens\n1,2,3\n";
  EXPECT_EQ(MessageOf(head + "2,5,-3\n"), "t.csv:3: output_tokens is -3; it must be >= 0 and <= 100000000");
  EXPECT_EQ(MessageOf(head + "2,0,3\n"), "t.csv:3: prompt_tokens is 0; it must be >= 1 and <= 100000000");
  EXPECT_EQ(MessageOf(head + "nan,5,3\n"),
            "t.csv:3: arrival_s is 'nan'; it must be a number of seconds >= 0, at most ten years");
  EXPECT_EQ(MessageOf(head + "1e300,5,3\n"),
            "t.csv:3: arrival_s is '1e300'; it must be a number of seconds >= 0, at most ten years");
  EXPECT_EQ(MessageOf(head + "2,5.5,3\n"), "t.csv:3: prompt_tokens is '5.5'; it must be a whole number of tokens");
  EXPECT_EQ(MessageOf(head + "2,99999999999999999999,3\n"),
            "t.csv:3: prompt_tokens is '99999999999999999999'; it must be a whole number of tokens");
  EXPECT_EQ(MessageOf(head + "2,5\n"), "t.csv:3: 2 fields, the header has 3; is the file cut short?");
  EXPECT_EQ(MessageOf("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-30 1:00:00,1,1\n"),
            "t.csv:2: TIMESTAMP is '2023-02-30 1:00:00'; it must be a time such as 2023-11-16 18:15:46.680");
  EXPECT_EQ(MessageOf(head), "parsed");
}

TEST(Trace, RefusesFilesThatAreNoTraces) {
  EXPECT_NE(MessageOf("").find("empty"), std::string::npos);
  EXPECT_NE(MessageOf("arrival_s,prompt_tokens,output_tokens\n").find("holds no request"), std::string::npos);
  EXPECT_NE(MessageOf("TIMESTAMP,ContextTokens\n").find("no column 'GeneratedTokens'"), std::string::npos);
  EXPECT_NE(MessageOf("arrival,prompt_tokens,output_tokens\n").find("no column 'arrival_s'; did you mean 'arrival'?"),
            std::string::npos);
  EXPECT_NE(MessageOf("\xff\xfeT\0").find("UTF-16"), std::string::npos);
  EXPECT_NE(MessageOf("{\"timestamp\": 1,").find("t.csv:1: not a JSON object"), std::string::npos);
  EXPECT_NE(MessageOf("{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1}").find("timestamp is '-1'"),
            std::string::npos);
  EXPECT_NE(MessageOf("{\"timestamp\": \"x\", \"input_length\": 1, \"output_length\": 1}").find("timestamp is '?'"),
            std::string::npos);
  EXPECT_NE(
      MessageOf("{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [-1]}").find("'hash_ids'"),
      std::string::npos);
  EXPECT_NE(MessageOf("{\"timestamp\": 1, \"input_length\": 1}").find("'output_length' is missing"), std::string::npos);
  EXPECT_NE(MessageOf("{\"a\":" + std::string(100000, '[')).find("not a JSON object"), std::string::npos);
  EXPECT_FALSE(ReadTrace("/nonexistent.csv").ok());
  EXPECT_FALSE(ReadTrace("/").ok());
  EXPECT_FALSE(ReadTrace("/dev/zero").ok());
}

TEST(Trace, RefusesALineOfTenMegabytesFromAFile) {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("assay_trace_test_" + std::to_string(getpid()) + ".csv")).string();
  std::ofstream(path) << "arrival_s,prompt_tokens,output_tokens\n1,2,3\n" << std::string(10 << 20, '7');
  auto trace = ReadTrace(path);
  std::filesystem::remove(path);
  ASSERT_FALSE(trace.ok());
  EXPECT_EQ(trace.error().message, path + ":3: a line of more than 1 MB; is it a trace?");
}

TEST(Trace, AFileLargerThanTheBufferReadsAsItsText) {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("assay_trace_test_" + std::to_string(getpid()) + "_large.csv"))
          .string();
  std::string text = "arrival_s,prompt_tokens,output_tokens\n";
  for (int i = 0; i < 400000; ++i)
    text += std::to_string(i) + ".25," + std::to_string(1 + i % 977) + "," + std::to_string(i % 31) + "\n";
  ASSERT_GT(text.size(), size_t{5} << 20);
  std::ofstream(path) << text;
  auto from_file = ReadTrace(path);
  std::filesystem::remove(path);
  auto from_text = ParseTrace(text, path);
  ASSERT_TRUE(from_file.ok() && from_text.ok());
  EXPECT_EQ(from_file->PromptTokens(), from_text->PromptTokens());
  EXPECT_EQ(from_file->OutputTokens(), from_text->OutputTokens());
  EXPECT_EQ(from_file->duration_s(), 399999.0);
}

TEST(Trace, MooncakeLinesReadTheSameOnBothPaths) {
  EXPECT_TRUE(rc::check("an extra key forces the JSON library", [] {
    const auto ms = *rc::gen::inRange<int64_t>(0, 1000000);
    const auto prompt = *rc::gen::inRange<int64_t>(1, 100000);
    const auto output = *rc::gen::inRange<int64_t>(0, 5000);
    const auto hashes = *rc::gen::container<std::vector<uint32_t>>(rc::gen::arbitrary<uint32_t>());
    std::string ids;
    for (const uint32_t hash : hashes) ids += (ids.empty() ? "" : ", ") + std::to_string(hash);
    const std::string body = "\"timestamp\": " + std::to_string(ms) + ", \"input_length\": " + std::to_string(prompt) +
                             ", \"output_length\": " + std::to_string(output) + ", \"hash_ids\": [" + ids + "]";
    const std::string anchor = "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1}\n";
    auto fast = ParseTrace(anchor + "{" + body + "}", "t");
    auto slow = ParseTrace(anchor + "{" + body + ", \"x\": null}", "t");
    RC_ASSERT(fast.ok() && slow.ok());
    RC_ASSERT(fast->requests[1].arrival_s == slow->requests[1].arrival_s);
    RC_ASSERT(fast->requests[1].prompt_tokens == slow->requests[1].prompt_tokens);
    RC_ASSERT(fast->requests[1].output_tokens == slow->requests[1].output_tokens);
    RC_ASSERT(fast->block_hashes == slow->block_hashes);
    RC_ASSERT(fast->block_hashes.size() == hashes.size());
  }));
}

TEST(Trace, ReadsTheSharedTraces) {
  const std::string folder = std::string(ASSAY_SHARED_DATA_DIR) + "/traces";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no traces at " << folder;
  auto azure = ReadTrace(folder + "/azure_2023_conv.csv");
  ASSERT_TRUE(azure.ok()) << azure.error().message;
  EXPECT_EQ(azure->requests.size(), 19366u);
  EXPECT_NEAR(azure->duration_s(), 3501.722, 0.001);
  auto mooncake = ReadTrace(folder + "/mooncake_conversation.jsonl");
  ASSERT_TRUE(mooncake.ok()) << mooncake.error().message;
  EXPECT_EQ(mooncake->requests.size(), 12031u);
  EXPECT_FALSE(mooncake->block_hashes.empty());
}

// The numbers that usecases/support_chat.toml states are those that the fit gives on the trace.
TEST(Trace, SupportChatStatesTheFitOfTheAzureTrace) {
  const std::string path = std::string(ASSAY_SHARED_DATA_DIR) + "/traces/azure_2023_conv.csv";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no trace at " << path;
  auto trace = ReadTrace(path);
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  auto usecase = ReadUseCase(std::string(ASSAY_SOURCE_DIR) + "/usecases/support_chat.toml");
  ASSERT_TRUE(usecase.ok()) << usecase.error().message;
  struct Side {
    std::vector<int64_t> tokens;
    const LengthDistribution& stated;
    double one_part_distance;
    double distance;
    double mean;
  };
  const Side sides[] = {{trace->PromptTokens(), usecase->workload.prompt_tokens, 0.160, 0.047, 1160},
                        {trace->OutputTokens(), usecase->workload.output_tokens, 0.194, 0.032, 207}};
  for (const Side& side : sides) {
    auto one = FitLogNormal(side.tokens, 1);
    ASSERT_TRUE(one.ok());
    EXPECT_NEAR(one->ks_distance, side.one_part_distance, 0.0006);
    // The number of parts is the smallest whose distance is below 0.05.
    auto fewer = FitLogNormal(side.tokens, static_cast<int>(side.stated.parts.size()) - 1);
    ASSERT_TRUE(fewer.ok());
    EXPECT_GT(fewer->ks_distance, 0.05);
    auto fit = FitLogNormal(side.tokens, static_cast<int>(side.stated.parts.size()));
    ASSERT_TRUE(fit.ok());
    EXPECT_NEAR(fit->ks_distance, side.distance, 0.0006);
    EXPECT_NEAR(fit->fitted_mean_tokens, side.mean, 1);
    EXPECT_NEAR(KsDistance(side.tokens, side.stated), side.distance, 0.001) << "the rounded parameters are as good";
    for (size_t k = 0; k < side.stated.parts.size(); ++k) {
      EXPECT_NEAR(fit->distribution.parts[k].weight, side.stated.parts[k].weight, 2e-4);
      EXPECT_NEAR(fit->distribution.parts[k].median_tokens, side.stated.parts[k].median_tokens, 0.1);
      EXPECT_NEAR(fit->distribution.parts[k].sigma, side.stated.parts[k].sigma, 2e-4);
    }
    EXPECT_EQ(fit->distribution.max_tokens, side.stated.max_tokens);
    EXPECT_EQ(fit->distribution.min_tokens, side.stated.min_tokens);
  }
  EXPECT_NEAR(static_cast<double>(trace->requests.size()) / trace->duration_s(), *usecase->workload.requests_per_second,
              0.005);
}

TEST(Trace, SecondsBeforeTheStartAndRepeatedNamesAreRefused) {
  EXPECT_EQ(MessageOf("arrival_s,prompt_tokens,output_tokens\n0,5,3\n-0.5,5,3\n"),
            "t.csv:3: arrival_s is '-0.5'; it must be a number of seconds >= 0, at most ten years");
  EXPECT_EQ(MessageOf("arrival_s,prompt_tokens,output_tokens,prompt_tokens\n0,5,3,7\n"),
            "t.csv:1: column 'prompt_tokens' is there twice; rename one");
  EXPECT_TRUE(ParseTrace("arrival_s,prompt_tokens,output_tokens,,\n0,5,3,,\n", "t.csv").ok()) << "empty names hold nothing";
  EXPECT_EQ(MessageOf("{\"timestamp\": 0, \"input_length\": 10, \"output_length\": 5}\n"
                      "{\"timestamp\": 1, \"input_length\": 10, \"output_length\": 5, \"input_length\": 7}\n"),
            "t.csv:2: key 'input_length' is there twice; remove one");
}

TEST(Trace, AMegabyteOfBracketsGetsAShortMessage) {
  const std::string deep = "{\"timestamp\": 0, \"input_length\": 10, \"output_length\": 5, \"x\": " + std::string(1'000'000, '[');
  const std::string message = MessageOf(deep + "\n");
  EXPECT_LT(message.size(), 200U);
  EXPECT_TRUE(message.starts_with("t.csv:1: "));
}

}  // namespace
}  // namespace assay::formats
