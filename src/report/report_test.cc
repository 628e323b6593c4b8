// The report must survive hostile text, and blank what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "report/audit_json.h"
#include "report/bench_report.h"
#include "report/evidence_card.h"
#include "report/html.h"
#include "report/terminal.h"

namespace assay {
namespace {

AuditResult Sample() {
  AuditResult audit;
  audit.title = "chat </script><script>alert(1)</script> & co";
  audit.advice.letter = "A";
  audit.advice.sentence = "Keep A <b>.";
  Measurement row;
  row.metric = "ttft_ms_p95";
  row.factors = {{"scope", "A"}};
  row.quantity = {12, 11, std::numeric_limits<double>::infinity(), "ms", Basis::kBounded, "bytes / bandwidth"};
  audit.rows.push_back(row);
  row.metric = "tpot_ms_p95";
  row.quantity = Quantity::Refused("ms", "no rows for this kernel");
  audit.rows.push_back(row);
  return audit;
}

TEST(AuditJson, InfinityIsAWordAndRefusedIsNull) {
  const auto json = nlohmann::json::parse(AuditJson(Sample(), true));
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["rows"][0]["id"], "A.ttft_ms_p95");
  EXPECT_EQ(json["rows"][0]["high"], "inf");
  EXPECT_TRUE(json["rows"][1]["value"].is_null());
  EXPECT_EQ(json["rows"][1]["origin"], "no rows for this kernel");
}

TEST(Terminal, ABoundIsShownOpenEnded) {
  const double open = std::numeric_limits<double>::infinity();
  EXPECT_EQ(FormatQuantity({12, 12, open, "ms", Basis::kAssumed, "floor"}), ">= 12");
  EXPECT_EQ(FormatQuantity({12, -open, 12, "1/s", Basis::kAssumed, "floor"}), "<= 12");
}

TEST(Terminal, ReplicasStandBesideTheLatenciesAndCostsThatTheyMake) {
  AuditResult audit = Sample();
  audit.candidates = {AuditCandidate{}};
  audit.candidates[0].letter = "A";
  audit.advice.assessments = {Assessment{}};
  audit.advice.assessments[0].letter = "A";
  audit.advice.assessments[0].standing = Standing::kSame;
  audit.advice.assessments[0].same_as = "Q";
  Measurement row = audit.rows[0];
  row.metric = "replica_count";
  row.quantity = {7, 6, 7, "replicas", Basis::kAssumed, "test"};
  audit.rows.push_back(row);
  const std::string text = AuditText(audit, Colour::kNo, 120);
  EXPECT_NE(text.find("replicas"), std::string::npos);
  EXPECT_NE(text.find("7 [6, 7]"), std::string::npos) << text;
  EXPECT_NE(text.find("same as Q"), std::string::npos) << text;
  EXPECT_EQ(nlohmann::json::parse(AuditJson(audit, true))["advice"]["assessments"][0]["standing"], "same as Q");
  EXPECT_NE(AuditHtml(audit).find("[\"Replicas\", \"replica_count\"]"), std::string::npos);
}

TEST(Claims, ExpiryIsShown) {
  AuditResult audit = Sample();
  AuditClaim claim;
  claim.for_you = "refuted";
  claim.bears_on_use_case = true;
  claim.expired = "FlashAttention 4, 2026-03";
  audit.claims = {claim};
  EXPECT_EQ(nlohmann::json::parse(AuditJson(audit, true))["claims"][0]["expired"], "FlashAttention 4, 2026-03");
  EXPECT_NE(AuditText(audit, Colour::kNo, 100).find("1 expired with their baselines"), std::string::npos);
}

TEST(AuditHtml, HostileTextStaysText) {
  const std::string html = AuditHtml(Sample());
  EXPECT_EQ(html.find("<script>alert"), std::string::npos);
  EXPECT_NE(html.find("Keep A &lt;b&gt;."), std::string::npos);
}

TEST(EvidenceCard, ShowsItsCandidateAndNoOther) {
  AuditResult audit = Sample();
  audit.candidates = {AuditCandidate{}, AuditCandidate{}};
  audit.candidates[0].letter = "A";
  audit.candidates[1].letter = "B";
  audit.advice.assessments = {Assessment{}, Assessment{}};
  audit.advice.assessments[0].letter = "A";
  audit.advice.assessments[1].letter = "B";
  const AuditResult card = EvidenceCard(audit, "B");
  EXPECT_EQ(card.candidates.size(), 1u);
  EXPECT_EQ(card.Find("A", "ttft_ms_p95"), nullptr);
  EXPECT_NE(card.advice.sentence.find("refused"), std::string::npos);
}

TEST(AuditHtml, LoadsNothingFromElsewhere) {
  const std::string html = AuditHtml(Sample());
  for (const char* loader : {"<link", "<img", "src=\"http", "@import", "<script src"}) EXPECT_EQ(html.find(loader), std::string::npos) << loader;
}

BenchReport SampleBench() {
  BenchRow row{.name = "decode_x", .family = "decode", .shape = "1 x 1 queries", .dtype = "bf16", .implementation = "avx2/bf16", .threads = 2};
  row.median_ms = 2;
  row.ms_q1 = 1.6;
  row.ms_q3 = 4;
  row.rate = 10e9;
  row.rate_unit = "B/s";
  row.ceiling = 20e9;
  row.ceiling_kind = row.bandwidth_kind = "l3_read";
  row.arithmetic_kind = "bf16";
  row.ceiling_instruction = "loads";
  row.rounds = 15;
  row.ops_per_byte = 4;
  row.arithmetic_ceiling = 200e9;
  row.bandwidth_ceiling = 20e9;
  row.peers = {{.name = "pytorch_sdpa_bf16", .implementation = "PyTorch: SDPA", .median_ms = 6, .ratio = 3, .ratio_low = 2.5,
                .ratio_high = std::numeric_limits<double>::infinity(), .row_error = 1e-3},
               {.name = "onnxruntime_x", .refusal = "crashed </script><script>alert(1)</script> \xff"}};
  return {.machine = "a machine", .date = "2026-11-25T00:00:00Z", .seed = 3, .rows = {row}, .refused = {{"mla", "no memory"}}};
}

TEST(Bench, JsonKeepsRefusedPeersOutOfTheTimesAndAmongTheComparisons) {
  const auto json = nlohmann::json::parse(BenchJson(SampleBench()));
  EXPECT_EQ(json["rows"][0]["peers"], nlohmann::json({{"pytorch_sdpa_bf16", 6.0}}));
  ASSERT_EQ(json["rows"][0]["comparisons"].size(), 2u);
  EXPECT_EQ(json["rows"][0]["comparisons"][0]["ratio_high"], "inf");
  EXPECT_EQ(json["rows"][0]["comparisons"][1]["refusal"].get<std::string>().substr(0, 7), "crashed");
  EXPECT_FALSE(json["rows"][0]["comparisons"][1].contains("median_ms"));
}

TEST(Bench, TableShowsPeersBelowTheirRowWithErrorsAndReasons) {
  const std::string table = BenchTable(SampleBench());
  EXPECT_NE(table.find("6.000 ms = 3.00x ours (2.50 to inf), row error 1.0e-03; PyTorch: SDPA\n"), std::string::npos) << table;
  EXPECT_NE(table.find("onnxruntime_x                    refused: crashed"), std::string::npos) << table;
  EXPECT_NE(table.find("mla                    refused: no memory"), std::string::npos) << table;
}

TEST(Bench, PageHoldsARooflineWithBothCeilingsAndThePointInItsInterval) {
  const std::string html = BenchHtml(SampleBench());
  const std::string begin = "<script type=\"application/json\" id=\"bench\">";
  const size_t at = html.find(begin);
  ASSERT_NE(at, std::string::npos);
  const size_t from = at + begin.size();
  const auto figure = nlohmann::json::parse(html.substr(from, html.find("</script>", from) - from))["figures"]["decode"];
  EXPECT_EQ(figure["curves"][0]["points"], nlohmann::json({{4.0, 40.0, 20.0, 50.0}}));  // GFLOP/s: 10 GB/s of 4 FLOP a byte, at the quartiles of the time
  EXPECT_EQ(figure["curves"][1]["scope"], "ceiling");
  double flat = 0, at_one = 0;
  for (const auto& point : figure["curves"][1]["points"]) {
    flat = std::max(flat, point[1].get<double>());
    if (point[0] == 1.0) at_one = point[1].get<double>();
  }
  EXPECT_EQ(flat, 200);
  EXPECT_EQ(at_one, 20);
}

TEST(Bench, PageKeepsHostileTextAsTextAndLoadsNothing) {
  const std::string html = BenchHtml(SampleBench());
  for (const char* bad : {"<script>alert", "<link", "<img", "src=\"http", "@import", "<script src"}) EXPECT_EQ(html.find(bad), std::string::npos) << bad;
}

TEST(Bench, PageWithoutRowsStillSaysWhatWasRefused) {
  BenchReport report = SampleBench();
  report.rows.clear();
  EXPECT_NE(BenchHtml(report).find("no memory"), std::string::npos);
}

}  // namespace
}  // namespace assay
