// Simulation: what `assay simulate` plays, from a use case (as the audit reads it) or from a bare trace on a deployment of one's own choice.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "serving/deployment.h"

namespace assay::serving {

struct Simulation {
  Deployment deployment;
  std::vector<Request> requests;   // of one replica, by ascending arrival
  double replicas = 1;             // that share the traffic
  std::string origin;              // where the requests come from, and at what rate they come
  int64_t dropped = 0;             // without an answer
  int64_t beyond_context = 0;      // longer than the model's context, simulated all the same
  std::vector<std::string> notes;  // what a reader must know of the model and the requests
};

struct UseCaseChoice {
  std::string candidate = {};               // its id; empty: the baseline
  std::optional<std::string> trace = {};    // replaces the use case's traffic
  std::optional<int64_t> requests = {};     // to draw, or of the trace; replaces the use case's own count
  std::optional<int64_t> replicas = {};     // that share the traffic; empty: platform.parallel.data
  double rate_factor = 1;
  uint64_t seed = 0;
};
// The same weights, memory, draws and requests as an audit of the file with the same seed.
Result<Simulation> SimulationOf(const std::string& usecase_path, const UseCaseChoice& choice);

Result<Simulation> SimulationOfTrace(const std::string& trace_path, double rate_factor, const DeploymentPlan& plan, std::string_view profile);

// A preset by name, or a model file.
Result<formats::ModelSpec> FindModel(const std::string& preset_or_path);

}  // namespace assay::serving
