#include "advice/step_model.h"

#include <fmt/format.h>

#include "platform/model_steps.h"

namespace assay {

std::string ProfileNameOf(const CandidatePlan& plan, const formats::UseCase& usecase) {
  return fmt::format("{}/{}/{}", usecase.platform.gpu.value_or("cpu"), plan.candidate->implementation.engine, plan.candidate->implementation.version);
}

namespace {

// The type that the matrices are timed in. Half precision is timed as bf16, which runs at the same rate; whatever else the tables do not
// hold is refused there, and never timed as another type of as many bits.
Result<DType> TimedWeights(const formats::ModelSpec& model) {
  if (model.weight_bits >= 16) return model.weight_dtype == DType::kF32 && model.weight_bits == 32 ? DType::kF32 : DType::kBf16;
  if (model.quantised_dtype) return *model.quantised_dtype;
  return Unsupported(fmt::format("no table times weights of {:g} bits whose type the model's file does not say (fp8 is measured; integers and block formats are "
                                 "not); say weight_dtype = \"e4m3\" in [model] if they are fp8, or fit a gemm table of theirs with `assay platform fit`",
                                 model.weight_bits));
}

}  // namespace

Result<platform::StepModel> StepModelOf(const CandidatePlan& plan, const formats::UseCase& usecase) {
  if (usecase.platform.parallel.pipeline > 1 || usecase.platform.parallel.context > 1) {
    return Unsupported("pipeline and context parallelism are not simulated yet; set them to 1");
  }
  ASSAY_TRY(const DType weights, TimedWeights(usecase.model));
  return platform::MakeStepModel(usecase.model, plan.candidate->layers,
                                 {.tensor_parallel = static_cast<int>(usecase.platform.parallel.tensor),
                                  .weights = weights,
                                  .cache = plan.candidate->kv.dtype,
                                  .cache_scale_bytes_per_token_head = plan.scale_bytes_per_token_head,
                                  .read = plan.candidate->read});
}

}  // namespace assay
