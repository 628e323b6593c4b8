// Deployment: a model on ranks of an accelerator under an engine's policy, timed and sized at each corner of what is uncertain. The one place
// where `assay audit`, `assay simulate` and the score on published points turn shapes into step times and a memory pool.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "platform/gpu.h"
#include "platform/model_steps.h"
#include "platform/profile.h"
#include "serving/assumptions.h"
#include "serving/simulator.h"

namespace assay::serving {

// What is deployed, wherever it was read.
struct DeploymentPlan {
  formats::ModelSpec model;
  std::vector<formats::MechanismCall> layers;  // empty: the model's own
  platform::StepModelOptions step;
  Policy policy;
  int32_t block_tokens = 16;
  double memory_fraction = 0.9;      // of the accelerator that the engine may use
  std::optional<double> memory_gib;  // of a device, where it is not the datasheet's
};

// Refused, with what would help, for parallelism that is not simulated and for weights of a type that no table times.
Result<DeploymentPlan> PlanOf(const formats::UseCase& usecase, const formats::Candidate& candidate);

struct Deployment {
  platform::Profile profile;
  platform::Gpu gpu;          // another than the profile's: times are scaled by the two datasheets
  platform::StepModel model;  // of one rank
  double weight_bytes = 0;    // of one rank
  Policy policy;
  std::array<platform::StepDraw, 3> draws;  // by corner
  std::array<KvPool, 3> pools;

  [[nodiscard]] Result<TimedSteps> Steps(Corner corner) const;
};

// `gpu`: empty, the profile's. Refused where weights and what else the device holds leave the cache no room at some corner.
Result<Deployment> MakeDeployment(const DeploymentPlan& plan, const platform::Profile& profile, std::string_view gpu, const Assumptions& assumptions);

// Of one candidate, on the profile that times it.
Result<Deployment> DeploymentOf(const formats::UseCase& usecase, const formats::Candidate& candidate, const Assumptions& assumptions);

// "h100_sxm/vllm/0.24.0", or the file of the user's own: the profile that times this candidate.
std::string ProfileNameOf(const formats::UseCase& usecase, const formats::Candidate& candidate);

// Whether an assumption of that name changes anything here; callers name the others instead of ignoring them in silence.
bool UsesAssumption(std::string_view name);

}  // namespace assay::serving
