// CandidatePlan: a candidate of a use case resolved against the registered mechanisms, with the arithmetic that follows from their
// descriptors: bytes per sequence, traffic and work per decoded token, and the contexts at which two designs break even.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "advice/audit.h"
#include "core/result.h"
#include "formats/usecase.h"
#include "mechanisms/mechanism.h"

namespace assay {

// Layers of one kind: they cost the same.
struct LayerGroup {
  const Mechanism* mechanism = nullptr;
  ParameterSet parameters;
  LayerShape shape;
  int64_t layers = 0;
  // The selection that a read policy puts on top of a growing cache ("quest(...)"): what is read, not what is kept. Null: all of it.
  const Mechanism* read_mechanism = nullptr;
  ParameterSet read_parameters;
};

struct CandidatePlan {
  std::string letter;
  const formats::Candidate* candidate = nullptr;
  std::vector<LayerGroup> groups;
  std::string same_as;  // letter of an earlier plan of the same design; empty: none

  [[nodiscard]] std::string StackText() const;  // "27 x sliding_window(1024) + 5 x gqa"
  [[nodiscard]] std::string KvText() const;
  // All layers, one sequence, one device group (no replication by parallelism).
  [[nodiscard]] double ResidentBytesAt(double tokens) const;
  [[nodiscard]] double StateBytes() const;  // what does not grow
  // Mixer work and traffic of one decoded token of one sequence whose cache holds `context_tokens` tokens, all layers.
  [[nodiscard]] LayerCost DecodeCost(int64_t context_tokens) const;
  [[nodiscard]] LayerCost PrefillCost(int64_t prompt_tokens) const;

 private:
  [[nodiscard]] CostQuery QueryFor(const LayerGroup& group, int64_t new_tokens, int64_t context_tokens) const;
  [[nodiscard]] LayerCost TotalCost(int64_t new_tokens, int64_t context_tokens) const;
};

// One plan a candidate, the baseline first and lettered "A". Errors name the candidate and its line in the file.
Result<std::vector<CandidatePlan>> PlanCandidates(const formats::UseCase& usecase);

// The publicly known breakages that concern this candidate: a cache's quantisation only if it is quantised, speculation or prefix caching only
// where the engine uses them.
std::vector<const FeatureRisk*> RisksOf(const CandidatePlan& plan, const formats::UseCase& usecase);

// What the report shows of a candidate besides numbers.
AuditCandidate Describe(const CandidatePlan& plan, const formats::UseCase& usecase);

// The smallest context from which `candidate` stays cheaper than `baseline`, by bisection over [1, limit] on a difference that is monotone
// for every registered mechanism; empty if never within the limit. 1: always.
std::optional<int64_t> BreakEvenMemoryTokens(const CandidatePlan& candidate, const CandidatePlan& baseline, int64_t limit_tokens);
std::optional<int64_t> BreakEvenTrafficTokens(const CandidatePlan& candidate, const CandidatePlan& baseline, int64_t limit_tokens);

}  // namespace assay
