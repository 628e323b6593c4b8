// The report must survive hostile text, and blank what is refused.
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "report/audit_json.h"
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

}  // namespace
}  // namespace assay
