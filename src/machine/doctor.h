// The doctor: what this machine can do, how noisy it is, and what is therefore fit to be measured on it, with a remedy
// for what is not.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <string>
#include <vector>

#include "core/result.h"
#include "machine/ceilings.h"
#include "machine/fingerprint.h"
#include "machine/noise.h"

namespace assay::machine {

enum class Fitness {
  kFit,
  kLimited,  // some measurements are refused or carry a mark; the rest stands
  kUnfit,    // timing here would mislead: exit code 3
};
std::string_view NameOf(Fitness fitness);  // "fit", "limited", "unfit"

struct Check {
  std::string name;  // "paired_cpu_ratios", "hardware_counters", ...
  Fitness fitness = Fitness::kFit;
  std::string finding;      // one line
  std::string remedy = {};  // what to do; empty if fit
};

// Best bursts of a few rounds, for one number of threads.
struct CeilingRow {
  CeilingInfo info = {};
  int threads = 1;
  double median = 0;  // over the rounds, units per second; NaN if refused
  double best = 0;
};

struct DoctorReport {
  Fingerprint fingerprint;
  std::string backend;
  std::vector<CeilingRow> ceilings;
  NoiseFloor noise;
  std::vector<Check> checks;
  double elapsed_s = 0;
  [[nodiscard]] bool fit() const;  // no check is unfit
};

struct DoctorOptions {
  uint64_t seed = 0;
  std::function<bool()> stop = {};
};

// About two seconds. Fails only if the machine cannot even be asked.
Result<DoctorReport> RunDoctor(const DoctorOptions& options);

// The verdicts alone, from what was found: pure, so that every remedy is tested without the machine that needs it.
std::vector<Check> Judge(const Fingerprint& fingerprint, const std::vector<CeilingRow>& ceilings,
                         const NoiseFloor& noise);

nlohmann::json ToJson(const DoctorReport& report);            // docs/schemas/doctor.schema.json
std::string ToText(const DoctorReport& report, bool colour);  // one screen

}  // namespace assay::machine
