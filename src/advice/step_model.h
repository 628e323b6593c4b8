// From a candidate plan to the step model and the profile that time it (platform/model_steps.h does the work).
#pragma once

#include "advice/candidate_plan.h"
#include "platform/step_time.h"

namespace assay {

// Refused, with what would fill it, where no table holds or bounds a part of the step.
Result<platform::StepModel> StepModelOf(const CandidatePlan& plan, const formats::UseCase& usecase);

// BadInput, with what is known, for an accelerator without datasheet and for engines that no profile knows: every cell would be refused, and a
// misspelt name must not look like an answer. A known engine in another version, or a GPU with a datasheet only, is well-formed.
Status CheckPlatformNames(const formats::UseCase& usecase);

// "h100_sxm/vllm/0.24.0": the profile that times this candidate.
std::string ProfileNameOf(const CandidatePlan& plan, const formats::UseCase& usecase);

}  // namespace assay
