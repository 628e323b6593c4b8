// Every key of the documented file changes an audit, is said to change nothing, or is for readers of the file.
#include "advice/unused_keys.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "formats/text.h"

namespace assay {
namespace {

TEST(UnusedKeys, NamesWhatTheDocumentedFileSaysInVain) {
  const auto text = formats::ReadFile(std::string(ASSAY_SOURCE_DIR) + "/docs/usecase.md", formats::kMegabyte);
  ASSERT_TRUE(text.ok()) << text.error().message;
  const size_t begin = text->find("```toml\n") + 8;
  const auto usecase = formats::ParseUseCase(std::string_view(*text).substr(begin, text->find("```", begin) - begin), "docs/usecase.toml");
  ASSERT_TRUE(usecase.ok()) << usecase.error().message;
  EXPECT_EQ(fmt::format("{}", fmt::join(UnusedKeys(*usecase), " ")),
            "assume.prefix_hit_share assume.prompt_length_factor assume.output_length_factor assume.rate_factor assume.price_factor "
            "assume.speculation_accepted_share workload.shared_prefix engine.policy.cuda_graphs engine.policy.speculation effort.convert_usd "
            "effort.pretrain_usd task.text_path task.questions_path task.grader task.recall_keys task.recall_distance_tokens task.state_tracking");
}

}  // namespace
}  // namespace assay
