// The context in which an audit asks claims is that of `assay claims check`, under the audit's own conditions.
#include "advice/audit_claims.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "claims/usecase_context.h"

namespace assay {
namespace {

class AuditClaims : public testing::Test {
 protected:
  void SetUp() override {
    path_ = (std::filesystem::temp_directory_path() / ("assay_claims_trace_" + std::to_string(::getpid()) + ".csv")).string();
    std::ofstream out(path_);
    out << "arrival_s,prompt_tokens,output_tokens\n";
    for (int i = 0; i < 200; ++i) out << i << "," << 1000 + i << "," << 100 << "\n";
    auto usecase = formats::ReadUseCase(std::string(ASSAY_SOURCE_DIR) + "/usecases/support_chat.toml");
    ASSERT_TRUE(usecase.ok());
    setting_.usecase = std::move(*usecase);
    setting_.usecase.workload.trace_path = path_;
    setting_.usecase.workload.arrivals = formats::Arrivals::kTrace;
  }
  void TearDown() override { std::filesystem::remove(path_); }

  Variables Under(const serving::Scenario& scenario) {
    setting_.conditions.scenario = scenario;
    setting_.traffic = *serving::MakeTraffic(setting_.usecase, scenario, 1);
    setting_.plans = *PlanCandidates(setting_.usecase);
    const auto context = ClaimContextOf(setting_, {});
    EXPECT_TRUE(context.ok());
    return context->variables;
  }

  std::string path_;
  AuditSetting setting_;
};

TEST_F(AuditClaims, AreAskedUnderTheTracesOwnLengths) {
  Variables audit = Under({});
  const Variables check = ContextOf(setting_.usecase, 1)->variables;
  EXPECT_EQ(audit["context_max_tokens"], 1299);
  for (const auto& [name, value] : check) {
    EXPECT_EQ(audit[name], value) << name;
  }
}

// Also where lengths are drawn: a claim's domain is judged on the percentiles that the report shows.
TEST_F(AuditClaims, AreAskedUnderTheRequestsThatTheReportShows) {
  setting_.usecase.workload.trace_path = std::nullopt;
  setting_.usecase.workload.arrivals = formats::Arrivals::kPoisson;
  Variables audit = Under({});
  EXPECT_EQ(audit["context_p95_tokens"], ShapeOf(setting_.traffic).context_p95);
  EXPECT_EQ(audit, ContextOf(setting_.usecase, 1)->variables);
  EXPECT_EQ(audit["context_max_tokens"], 14050 + 1000) << "what the file allows, not what was drawn";
}

TEST_F(AuditClaims, AreAskedUnderTheConditionsThatWereSet) {
  Variables longer = Under({.prompt_length_factor = 2});
  EXPECT_EQ(longer["context_max_tokens"], 2 * 1199 + 100);
  EXPECT_NEAR(longer["requests_per_second"], 1, 1e-9);
  EXPECT_NEAR(Under({.rate_factor = 3})["requests_per_second"], 3, 1e-9);
}

}  // namespace
}  // namespace assay
