#include "formats/usecase.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "formats/text.h"

namespace assay::formats {
namespace {

// A small, complete file; tests change one line of it.
const std::string kGood = R"toml(name = "n"
[model]
preset = "tiny"
[workload]
requests_per_second = 2.0
prompt_tokens = { median = 900, p95 = 3600 }
output_tokens = 100
[platform]
gpu = "h100_sxm"
usd_per_device_hour = 2
[engine]
name = "vllm"
version = "0.24.0"
[objective]
ttft_ms_p95 = 1000
[[candidates]]
id = "base"
baseline = true
stack = "gqa"
availability = "drop_in"
[[candidates]]
id = "win"
stack = "3*sliding_window(64)+1*gqa"
kv_dtype = "e4m3"
kv_scale = "token_head"
read = "quest(page_tokens=16)"
availability = "convert"
implementation = { engine = "sglang", version = "0.5.14" }
switch_days = [3, 9]
[assume]
host_us_per_step = [50, 500]
prompt_length_factor = 2
)toml";

std::string Replaced(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string MessageOf(const std::string& text) {
  auto parsed = ParseUseCase(text, "dir/u.toml");
  return parsed.ok() ? "parsed" : parsed.error().message;
}

TEST(UseCase, ReadsEverySection) {
  auto parsed = ParseUseCase(kGood, "dir/u.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const UseCase& u = *parsed;
  EXPECT_EQ(u.name, "n");
  EXPECT_EQ(u.text, kGood);
  EXPECT_EQ(u.model.layers, 4);
  EXPECT_EQ(u.workload.arrivals, Arrivals::kPoisson);
  EXPECT_EQ(u.workload.output_tokens.Quantile(0.3), 100);
  EXPECT_NEAR(static_cast<double>(u.workload.prompt_tokens.Quantile(0.95)), 3600, 5);
  EXPECT_EQ(u.workload.rate_scale, 1.0);
  EXPECT_EQ(u.platform.gpu, "h100_sxm");
  EXPECT_FALSE(u.platform.is_this_cpu);
  EXPECT_EQ(u.platform.parallel.devices(), 1);
  EXPECT_EQ(u.objective.ttft_ms_p95, 1000.0);
  EXPECT_FALSE(u.objective.tpot_ms_p95.has_value()) << "what is not said is unknown, not zero";
  EXPECT_EQ(u.baseline().id, "base");
  EXPECT_EQ(u.baseline().implementation, (Implementation{"vllm", "0.24.0"}));
  const Candidate* window = u.Find("win");
  ASSERT_NE(window, nullptr);
  EXPECT_TRUE(window->implementation_is_own);
  EXPECT_EQ(window->kv.dtype, DType::kE4m3);
  EXPECT_EQ(window->kv.scale, ScaleGranularity::kTokenHead);
  EXPECT_EQ(window->read->id, "quest");
  EXPECT_EQ(window->layers.size(), 4u);
  EXPECT_EQ(window->layers[3].id, "gqa");
  EXPECT_EQ(window->switch_days->high, 9.0);
  ASSERT_EQ(u.assume.size(), 2u);
  EXPECT_EQ(u.assume[0].name, "host_us_per_step");
  EXPECT_EQ(u.Assumed("prompt_length_factor")->low, 2.0);
  EXPECT_EQ(u.Assumed("norms_us_per_layer"), nullptr);
}

TEST(UseCase, RefusesAnUnknownKeyWithTheNearestKnownOneAndItsLine) {
  EXPECT_EQ(MessageOf(Replaced("ttft_ms_p95 = 1000", "ttft_ms_p99 = 1000\ntpot_ms_p95 = 3")),
            "dir/u.toml:15: objective: unknown key 'ttft_ms_p99'; did you mean 'ttft_ms_p95'?");
  EXPECT_EQ(MessageOf(Replaced("[engine]", "[engin]")).substr(0, 60),
            "dir/u.toml:1: engine is missing; add, for example, [engine] ");
  EXPECT_NE(MessageOf(Replaced("host_us_per_step", "host_us_per_stp")).find("did you mean 'host_us_per_step'?"),
            std::string::npos);
}

TEST(UseCase, ReportsAllMistakesTogether) {
  std::string text = Replaced("requests_per_second = 2.0", "requests_per_second = -2.0");
  text.replace(text.find("usd_per_device_hour = 2"), 23, "usd_per_device_hour = \"2\"");
  EXPECT_EQ(MessageOf(text),
            "dir/u.toml:5: workload.requests_per_second is -2; it must be between 1e-06 and 1e+06 (requests a second)\n"
            "dir/u.toml:10: platform.usd_per_device_hour is text; it must be a number");
}

TEST(UseCase, RefusesWhatDoesNotFitTogether) {
  const auto has = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  has(MessageOf(Replaced("ttft_ms_p95 = 1000", "deadline_hours = 3")), "which needs workload.arrivals = \"batch\"");
  has(MessageOf(Replaced("ttft_ms_p95 = 1000", "")), "without one there is nothing to decide");
  has(MessageOf(Replaced("baseline = true", "")), "have 0 with baseline = true");
  has(MessageOf(Replaced("id = \"win\"", "id = \"base\"")), "is taken by another candidate");
  has(MessageOf(Replaced("id = \"win\"", "id = \"../win\"")), "must be 1 to 64 letters");
  has(MessageOf(Replaced("kv_scale = \"token_head\"", "")), "kv_scale is missing");
  has(MessageOf(Replaced("3*sliding_window(64)+1*gqa", "5*sliding_window(64)+1*gqa")),
      "is 6 layers long, the model has 4");
  has(MessageOf(Replaced("3*sliding_window(64)+1*gqa", "3*sliding_window(64;+1*gqa")),
      "character 20: expected ',' or ')'");
  has(MessageOf(Replaced("gpu = \"h100_sxm\"", "gpu = \"h100_sxm\"\ncpu = \"this\"")), "give exactly one of gpu");
  has(MessageOf(Replaced("gpu = \"h100_sxm\"", "gpu = \"h100_sxm\"\nparallel = { tensor = 3 }")),
      "does not divide the model's 4 query heads");
  has(MessageOf(Replaced("preset = \"tiny\"", "preset = \"lama-3.1-8b\"")), "did you mean 'llama-3.1-8b'?");
  has(MessageOf(Replaced("preset = \"tiny\"", "path = \"missing/config.json\"")),
      "dir/missing/config.json: cannot be opened");
  has(MessageOf(Replaced("[50, 500]", "[500, 50]")), "the low end comes first");
  has(MessageOf(Replaced("[50, 500]", "nan")), "both ends must be");
  has(MessageOf(Replaced("p95 = 3600", "p95 = 100")), "cannot be below the median");
  has(MessageOf(Replaced("p95 = 3600", "mean = 3600, sigma = 1")), "exactly one of sigma, p95 and mean");
}

TEST(UseCase, RefusesHostileToml) {
  EXPECT_NE(MessageOf(std::string(100000, '[')), "parsed");
  std::string dots = "a";
  for (int i = 0; i < 100000; ++i) dots += ".a";
  EXPECT_NE(MessageOf(dots + " = 1").find("more than 16 parts"), std::string::npos);
  EXPECT_NE(MessageOf("[" + dots + "]").find("more than 16 parts"), std::string::npos);
  EXPECT_NE(MessageOf("x = \"\"\"a\"\"\"\"\n" + dots + " = 1").find("more than 16 parts"), std::string::npos);
  EXPECT_NE(MessageOf("a = 1\nb = \"\xff\"").find("u.toml:2: not UTF-8"), std::string::npos);
  EXPECT_NE(MessageOf(std::string("a = 1\0", 6)).find("not UTF-8"), std::string::npos);
  EXPECT_NE(MessageOf("").find("[model] is missing"), std::string::npos);
  std::string nested = "x = ";
  for (int i = 0; i < 200; ++i) nested += "{a.b.c.d = ";
  EXPECT_NE(MessageOf(nested), "parsed");
  EXPECT_NE(MessageOf(std::string(2 << 20, ' ')).find("larger than 1 MB"), std::string::npos);
}

TEST(UseCase, ResolvesPathsAgainstItsOwnFolder) {
  auto parsed = ParseUseCase(Replaced("requests_per_second = 2.0", "trace_path = \"../t.csv\"\nrate_scale = 0.5"),
                             "some/dir/u.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->workload.trace_path, "some/t.csv");
  EXPECT_EQ(parsed->workload.arrivals, Arrivals::kTrace);
}

TEST(UseCase, TheShippedOnesAreRead) {
  for (const char* name : {"support_chat", "batch_summaries_cpu"}) {
    auto parsed = ReadUseCase(std::string(ASSAY_SOURCE_DIR) + "/usecases/" + name + ".toml");
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    EXPECT_GE(parsed->candidates.size(), 4u);
  }
}

TEST(UseCase, TheDocumentedFileIsReadAndNamesEveryAssumption) {
  auto text = ReadFile(std::string(ASSAY_SOURCE_DIR) + "/docs/usecase.md", kMegabyte);
  ASSERT_TRUE(text.ok()) << text.error().message;
  const size_t begin = text->find("```toml\n") + 8;
  const size_t end = text->find("```", begin);
  ASSERT_NE(end, std::string::npos);
  auto parsed = ParseUseCase(std::string_view(*text).substr(begin, end - begin), "docs/usecase.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->assume.size(), KnownAssumptions().size() - 1) << "all but the whole of which it gives the parts";
  for (const AssumptionRow& row : KnownAssumptions()) EXPECT_NE(text->find(row.name), std::string::npos) << row.name;
  EXPECT_EQ(parsed->candidates[1].kv.scale_block_elements, 32);
  EXPECT_EQ(parsed->engine.policy.speculation->accepted_share->high, 0.8);
  EXPECT_EQ(parsed->model.weight_bits, 8) << "[model] weight_dtype overrides the shape's";
}

TEST(UseCase, RefusesAWholeBesideItsParts) {
  const std::string file = *ReadFile(std::string(ASSAY_SOURCE_DIR) + "/usecases/support_chat.toml", kMegabyte);
  const auto doubled = ParseUseCase(file + "rope_us_per_layer = [1, 5]\n", "u.toml");
  ASSERT_FALSE(doubled.ok());
  EXPECT_NE(doubled.error().message.find("assume.layer_overhead_us is norms, RoPE and activation together, and rope_us_per_layer is a part of it"), std::string::npos)
      << doubled.error().message;
  std::string parts = file + "rope_us_per_layer = [1, 5]\n";
  parts.erase(parts.find("layer_overhead_us"), std::string_view("layer_overhead_us").size()).insert(parts.find(" = [8, 64]"), "norms_us_per_layer");
  EXPECT_TRUE(ParseUseCase(parts, "u.toml").ok());
}

TEST(UseCase, SupportChatCutsItsWindowPatternAtLayer32) {
  auto parsed = ReadUseCase(std::string(ASSAY_SOURCE_DIR) + "/usecases/support_chat.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const auto counts = CountLayers(parsed->Find("window_5_1")->layers);
  ASSERT_EQ(counts.size(), 2u);
  EXPECT_EQ(counts[0].layers, 26) << "27 by the pattern, the last replaced";
  EXPECT_EQ(counts[1].layers, 6);
}

TEST(UseCase, AMinusBeforeZeroIsNoSign) {
  const std::string file = *ReadFile(std::string(ASSAY_SOURCE_DIR) + "/usecases/support_chat.toml", kMegabyte);
  const std::string price = "usd_per_device_hour = 2.50";
  std::string free = file;
  const auto parsed = ParseUseCase(free.replace(free.find(price), price.size(), "usd_per_device_hour = -0.0"), "u.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_FALSE(std::signbit(*parsed->platform.usd_per_device_hour));
}

}  // namespace
}  // namespace assay::formats
