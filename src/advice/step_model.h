// From a candidate plan to the step model that the serving simulator times: mixers by the rows that hold them, matrix products from the
// mechanism's projections and the model's feed-forward part, cut into ranks.
#pragma once

#include "advice/candidate_plan.h"
#include "platform/step_time.h"

namespace assay {

// Refused, with what would fill it, if no table holds one of the mixers or the model's feed-forward part has experts.
Result<platform::StepModel> StepModelOf(const CandidatePlan& plan, const formats::UseCase& usecase);

// "h100_sxm/vllm/0.24.0": the profile that times this candidate.
std::string ProfileNameOf(const CandidatePlan& plan, const formats::UseCase& usecase);

}  // namespace assay
