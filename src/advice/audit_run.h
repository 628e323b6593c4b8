// RunAudit: the main job. Plans the cells of an audit (traffic, arithmetic, serving, kernels, numerics), runs them through the study runner so
// that an interrupted audit resumes, and reads everything back from the store to judge claims and give advice.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "advice/audit.h"
#include "advice/serving_facts.h"
#include "core/result.h"
#include "store/store.h"

namespace assay {

struct AuditRequest {
  std::string usecase_path;
  std::optional<std::string> trace_path;  // replaces the use case's traffic
  std::vector<std::string> settings;      // "rate_factor=2", "assume.host_us_per_step=60:600", from --set
  uint64_t seed = 0;
  enum class Effort { kFull, kNoMeasurements } effort = Effort::kFull;  // without: arithmetic, simulation, claims and advice only
  double measure_seconds = 20;
  bool resume = true;
  bool quiet = false;
  bool search_flips = true;
  double flip_seconds = 60;  // of wall time for that search; what it did not reach is named in a note
  std::string command;  // that repeats the audit
  std::string version;
};

struct AuditOutcome {
  AuditResult audit;
  bool stopped = false;      // by Ctrl-C: what was measured is stored, the same command goes on
  std::string stop_message;
};

Result<AuditOutcome> RunAudit(Store& store, const AuditRequest& request);

// The settings of --set, checked: unknown names are refused with the nearest known one.
struct Settings {
  serving::Scenario scenario;
  serving::AssumeOverrides assume;
};
Result<Settings> ParseSettings(const std::vector<std::string>& settings, const formats::UseCase& usecase);

}  // namespace assay
