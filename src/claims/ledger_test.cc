// The ledger: dates decide what is open and overdue, people decide outcomes, and scores say what they are compared with.
#include "claims/ledger.h"

#include <cmath>
#include <set>

#include "claims/embedded.h"
#include "fmt/format.h"
#include "gtest/gtest.h"

namespace assay {
namespace {

const std::vector<Prediction>& Shipped() {
  static const std::vector<Prediction> predictions = [] {
    auto read = ShippedPredictions();
    EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error().message);
    return read.ok() ? *std::move(read) : std::vector<Prediction>();
  }();
  return predictions;
}

std::string File(std::string_view id) {
  for (const EmbeddedFile& file : EmbeddedPredictions())
    if (file.path == fmt::format("predictions/{}.toml", id)) return std::string(file.text);
  ADD_FAILURE() << id;
  return {};
}

Prediction Resolved(std::string_view id, std::string_view outcome, std::string_view date) {
  const auto prediction = ParsePrediction(
      File(id) + fmt::format("\n[resolution]\noutcome = \"{}\"\ndate = \"{}\"\nby = \"two resolvers\"\nnote = \"a test\"\n", outcome, date),
      "x.toml");
  EXPECT_TRUE(prediction.ok()) << (prediction.ok() ? "" : prediction.error().message);
  return prediction.value();
}

PredictionState StateOn(const std::string& id, std::string_view today) {
  for (const Prediction& prediction : Shipped())
    if (prediction.id == id) return StateOf(prediction, today);
  ADD_FAILURE() << id;
  return PredictionState::kOpen;
}

TEST(Ledger, KeepsTheReadingsApart) {
  std::set<std::string> ids;
  for (const Prediction& prediction : Shipped()) ids.insert(prediction.id);
  EXPECT_EQ(ids, (std::set<std::string>{"P1-strict", "P1-weak", "P2a", "P2b", "P3", "P4", "P5", "P6a", "P6b", "P7-narrow", "P7-wide"}));
}

TEST(Ledger, MarksTheAuthorsProbabilityAsImputedAndOursAsProvisional) {
  for (const Prediction& prediction : Shipped()) {
    int authors = 0;
    for (const Forecast& forecast : prediction.forecasts) {
      if (forecast.owner == "author") {
        ++authors;
        EXPECT_TRUE(forecast.imputed) << prediction.id;
        EXPECT_EQ(forecast.probability, 0.85);
      } else {
        EXPECT_TRUE(forecast.provisional) << prediction.id;
        EXPECT_FALSE(forecast.imputed) << prediction.id;
      }
    }
    EXPECT_EQ(authors, 1) << prediction.id;
  }
}

TEST(Ledger, NothingResolvesItself) {
  for (const char* today : {"2026-11-24", "2030-01-01"})
    for (const Prediction& prediction : Shipped()) {
      const PredictionState state = StateOf(prediction, today);
      EXPECT_TRUE(state != PredictionState::kResolved && state != PredictionState::kAmbiguous) << prediction.id;
    }
}

TEST(Ledger, DatesDecideTheState) {
  EXPECT_EQ(StateOn("P2a", "2026-03-01"), PredictionState::kNotStarted);
  EXPECT_EQ(StateOn("P2a", "2026-05-22"), PredictionState::kOpen);
  EXPECT_EQ(StateOn("P2a", "2026-09-22"), PredictionState::kOpen);
  EXPECT_EQ(StateOn("P2a", "2026-09-23"), PredictionState::kOverdue);
  EXPECT_EQ(StateOn("P3", "2026-11-24"), PredictionState::kOpen);
  EXPECT_EQ(StateOn("P6a", "2026-11-24"), PredictionState::kNotStarted);
}

TEST(Ledger, AResolutionCountsFromItsDate) {
  const Prediction prediction = Resolved("P2b", "yes", "2026-09-20");
  EXPECT_EQ(StateOf(prediction, "2026-09-19"), PredictionState::kOpen);
  EXPECT_EQ(StateOf(prediction, "2026-09-20"), PredictionState::kResolved);
}

TEST(Ledger, ScoresNothingWhileNothingIsResolved) {
  const LedgerScore score = Score(Shipped(), "2026-11-24");
  EXPECT_EQ(score.resolved, 0);
  EXPECT_TRUE(score.owners.empty());
  EXPECT_EQ(score.overdue, 4);
  EXPECT_EQ(score.open, 3);
  EXPECT_EQ(score.not_started, 4);
}

TEST(Ledger, ScoresTheResolvedBesideTheBaseRateAndOneHalf) {
  const std::vector<Prediction> predictions = {Resolved("P1-strict", "no", "2026-09-22"), Resolved("P2a", "no", "2026-09-22"),
                                               Resolved("P2b", "yes", "2026-09-22"), Resolved("P1-weak", "ambiguous", "2026-09-22")};
  const LedgerScore score = Score(predictions, "2026-11-24");
  EXPECT_EQ(score.resolved, 3);
  EXPECT_EQ(score.ambiguous, 1);
  ASSERT_EQ(score.owners.size(), 1u);
  const OwnerScore& author = score.owners[0];
  EXPECT_TRUE(author.imputed);
  EXPECT_NEAR(author.brier, (0.7225 + 0.7225 + 0.0225) / 3, 1e-12);
  EXPECT_NEAR(author.base_rate_brier, 2.0 / 9, 1e-12);
  EXPECT_NEAR(author.half_brier, 0.25, 1e-12);
  EXPECT_NEAR(author.skill, 1 - author.brier / author.base_rate_brier, 1e-12);
  ASSERT_EQ(score.sensitivity.size(), 2u);
  EXPECT_NEAR(score.sensitivity[0].brier, (0.49 + 0.49 + 0.09) / 3, 1e-12);
}

TEST(Ledger, RefusesMisspeltKeysImpossibleDatesAndProbabilities) {
  const std::string text = File("P4");
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    const auto prediction = ParsePrediction(changed, "x.toml");
    return prediction.ok() ? std::string() : prediction.error().message;
  };
  EXPECT_NE(with("resolve_by", "resolved_by").find("resolve_by"), std::string::npos);
  EXPECT_NE(with("deadline = \"2027-02-22\"", "deadline = \"2027-02-30\"").find("no date"), std::string::npos);
  EXPECT_NE(with("deadline = \"2027-02-22\"", "deadline = \"2026-02-22\"").find("before the window"), std::string::npos);
  EXPECT_NE(with("probability = 0.85", "probability = 85").find("x.toml:"), std::string::npos);
  const auto early = ParsePrediction(
      text + "\n[resolution]\noutcome = \"yes\"\ndate = \"2026-03-01\"\nby = \"x\"\nnote = \"y\"\n", "x.toml");
  EXPECT_FALSE(early.ok());
}

}  // namespace
}  // namespace assay
