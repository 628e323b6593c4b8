// All candidates of a use case under one set of conditions: what the decision needs of each, and the search for the change of one condition
// that changes the advice.
#pragma once

#include <string>
#include <vector>

#include "advice/candidate_plan.h"
#include "advice/decision.h"
#include "advice/serving_facts.h"

namespace assay {

struct Conditions {
  serving::Scenario scenario;
  serving::AssumeOverrides assume;
};

Objectives ObjectivesOf(const formats::UseCase& usecase);
Economics EconomicsOf(const formats::UseCase& usecase, const Conditions& conditions, double requests_per_second);

// What the decision needs of a candidate, given its service.
CandidateFacts FactsOf(const formats::UseCase& usecase, const CandidatePlan& plan, const CandidatePlan& baseline, const ServingFacts& serving);

// A search for the nearest change of one condition that changes the advice. `today` is the advice now; every flip returned was confirmed by a
// full evaluation at the value it names.
struct FlipSearch {
  const formats::UseCase* usecase = nullptr;
  const std::vector<CandidatePlan>* plans = nullptr;
  const std::vector<ServingFacts>* serving = nullptr;  // today's, in the order of the plans
  Conditions conditions;
  Advice today;
  uint64_t seed = 0;
  std::string command;  // to which "--set name=value" is appended
  double seconds = 60;  // of wall time; what was not searched by then is named
};
struct FlipsFound {
  std::vector<Flip> flips;
  std::vector<std::string> not_searched;  // names, in whole or beyond some value
};
FlipsFound FindFlips(const FlipSearch& search);

}  // namespace assay
