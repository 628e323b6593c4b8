#include "report/evidence_card.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.h"

namespace assay {

AuditResult EvidenceCard(const AuditResult& audit, std::string_view letter) {
  AuditResult card = audit;
  const auto keeps = [&](std::string_view scope) {
    const bool is_candidate = std::any_of(audit.candidates.begin(), audit.candidates.end(), [&](const AuditCandidate& c) { return c.letter == scope; });
    return scope == letter || !is_candidate;
  };
  std::erase_if(card.candidates, [&](const AuditCandidate& c) { return c.letter != letter; });
  ASSAY_CHECK(card.candidates.size() == 1, "a card is of a candidate of the audit");
  std::erase_if(card.rows, [&](const Measurement& row) { return !keeps(ScopeOf(row)); });
  for (Figure& figure : card.figures) std::erase_if(figure.curves, [&](const Curve& curve) { return !keeps(curve.scope); });
  std::erase_if(card.advice.assessments, [&](const Assessment& a) { return a.letter != letter; });
  std::erase_if(card.claims, [](const AuditClaim& claim) { return !claim.bears_on_use_case; });
  card.flips.clear();
  card.flips_refused = "a card shows one candidate; what would flip the advice is in the audit's report";
  card.crossover = {.context_tokens = {}, .concurrency = {}, .cells = {}, .refused = "a card shows one candidate; the map is in the audit's report"};
  const Assessment& own = card.advice.assessments[0];
  card.title = fmt::format("Evidence card: {} on {}", card.candidates[0].id, audit.title);
  card.advice.sentence = fmt::format("{} is {}: {}.", card.candidates[0].id, StandingText(own), own.reason);
  card.advice.counter_argument = fmt::format("The audit as a whole advises: {}", audit.advice.sentence);
  return card;
}

}  // namespace assay
