#include "advice/step_model.h"

#include <fmt/format.h>

#include "platform/model_steps.h"

namespace assay {

std::string ProfileNameOf(const CandidatePlan& plan, const formats::UseCase& usecase) {
  return fmt::format("{}/{}/{}", usecase.platform.gpu.value_or("cpu"), plan.candidate->implementation.engine, plan.candidate->implementation.version);
}

Result<platform::StepModel> StepModelOf(const CandidatePlan& plan, const formats::UseCase& usecase) {
  if (usecase.platform.parallel.pipeline > 1 || usecase.platform.parallel.context > 1) {
    return Unsupported("pipeline and context parallelism are not simulated yet; set them to 1");
  }
  return platform::MakeStepModel(usecase.model, plan.candidate->layers,
                                 {.tensor_parallel = static_cast<int>(usecase.platform.parallel.tensor),
                                  .weights = usecase.model.weight_bits <= 8 ? DType::kE4m3 : DType::kBf16,
                                  .cache = plan.candidate->kv.dtype,
                                  .cache_scale_bytes_per_token_head = plan.scale_bytes_per_token_head,
                                  .read = plan.candidate->read});
}

}  // namespace assay
