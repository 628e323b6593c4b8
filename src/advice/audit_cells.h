// The cells of an audit: each stage turned into measurements that the study runner stores. Private to advice/.
#pragma once

#include <string>
#include <vector>

#include "advice/candidate_plan.h"
#include "advice/evaluate.h"
#include "study/runner.h"

namespace assay {

// What every cell of one audit shares.
struct AuditSetting {
  formats::UseCase usecase;
  std::vector<CandidatePlan> plans;
  serving::Traffic traffic;
  Conditions conditions;
  uint64_t seed = 0;
  std::string identity;  // hash of all that results depend on; part of every cell's key
  std::string command;   // reproduces the audit
  std::string machine_id;
  double measure_seconds = 20;
  Store* store = nullptr;  // for artifacts: curves and raw samples
};

// A row of the audit: `scope` and `metric` make its id.
Measurement AuditRow(const AuditSetting& setting, std::string scope, std::string metric, std::string probe, Quantity quantity);

std::vector<StudyCell> ArithmeticCells(const AuditSetting& setting);
std::vector<StudyCell> ServingCells(const AuditSetting& setting);
std::vector<StudyCell> MachineCells(const AuditSetting& setting);  // kernels and numerics, measured here

// The facts that a serving cell stored for a candidate, read back from rows.
ServingFacts ServingFactsFromRows(const std::vector<Measurement>& rows, std::string_view letter);

}  // namespace assay
