#include "advice/step_model.h"

#include <fmt/format.h>

#include <algorithm>

namespace assay {
namespace {

int PerRank(int64_t heads, int64_t ranks) { return static_cast<int>(std::max<int64_t>(1, heads / ranks)); }

// Products whose output is the model's width are split along k and summed over ranks; all others along n.
platform::GemmGroup Rank(std::string name, double count, int64_t n, int64_t k, int64_t model_dim, int64_t ranks, DType dtype) {
  platform::GemmGroup gemm{.name = std::move(name), .count = count, .n = static_cast<double>(n), .k = static_cast<double>(k), .dtype = dtype};
  (n == model_dim ? gemm.k : gemm.n) /= static_cast<double>(ranks);
  return gemm;
}

Result<platform::MixerGroup> MixerOf(const LayerGroup& group, DType cache, int64_t ranks) {
  if (group.read_mechanism != nullptr) {
    return Unsupported(fmt::format("no measured table holds {} on top of {}; a table of its decode kernel by context and budget would fill this",
                                   group.read_mechanism->id, group.mechanism->id));
  }
  const TableKernel kernel =
      group.mechanism->table_kernel != nullptr ? group.mechanism->table_kernel(group.shape, group.parameters) : TableKernel{};
  platform::MixerGroup mixer;
  switch (kernel.family) {
    case TableKernel::Family::kNone:
      return Unsupported(fmt::format("no measured table holds {} ({}); a table of its prefill and decode kernels by batch and context would fill this",
                                     group.mechanism->id, group.parameters.Canonical()));
    case TableKernel::Family::kSoftmax: mixer.kind = platform::MixerKind::kSoftmax; break;
    case TableKernel::Family::kMla: mixer.kind = platform::MixerKind::kMla; break;
    case TableKernel::Family::kGatedDeltaNet: mixer.kind = platform::MixerKind::kGatedDeltaNet; break;
  }
  mixer.layers = static_cast<int>(group.layers);
  mixer.query_heads = PerRank(kernel.query_heads, ranks);
  mixer.kv_heads = PerRank(kernel.kv_heads, ranks);
  mixer.head_dim = kernel.family == TableKernel::Family::kSoftmax ? static_cast<int>(kernel.head_dim) : 128;
  mixer.window = static_cast<int>(kernel.window_tokens);
  // A recurrent state has no quantised form in the tables: only a cache of keys and values takes the candidate's type.
  mixer.cache = kernel.family == TableKernel::Family::kGatedDeltaNet ? DType::kBf16 : cache;
  return mixer;
}

}  // namespace

std::string ProfileNameOf(const CandidatePlan& plan, const formats::UseCase& usecase) {
  return fmt::format("{}/{}/{}", usecase.platform.gpu.value_or("cpu"), plan.candidate->implementation.engine, plan.candidate->implementation.version);
}

Result<platform::StepModel> StepModelOf(const CandidatePlan& plan, const formats::UseCase& usecase) {
  const formats::ModelSpec& model = usecase.model;
  const int64_t ranks = usecase.platform.parallel.tensor;
  if (model.moe) return Unsupported(fmt::format("{} has experts, whose serving times are not modelled yet", model.name));
  if (usecase.platform.parallel.pipeline > 1 || usecase.platform.parallel.context > 1) {
    return Unsupported("pipeline and context parallelism are not simulated yet; set them to 1");
  }
  if (model.query_heads % ranks != 0 || model.ffn_dim % ranks != 0) {
    return BadInput(fmt::format("{} query heads and a feed-forward width of {} do not divide over {} ranks", model.query_heads, model.ffn_dim, ranks));
  }
  platform::StepModel step;
  step.name = model.name;
  step.layers = static_cast<int>(model.layers);
  step.model_dim = static_cast<double>(model.model_dim);
  step.ffn_dim = static_cast<double>(model.ffn_dim / ranks);
  step.tensor_parallel = static_cast<int>(ranks);
  const DType weights = model.weight_bits <= 8 ? DType::kE4m3 : DType::kBf16;
  for (const LayerGroup& group : plan.groups) {
    ASSAY_TRY(const platform::MixerGroup mixer, MixerOf(group, plan.candidate->kv.dtype, ranks));
    step.mixers.push_back(mixer);
    for (const Projection& projection : group.mechanism->projections(group.shape, group.parameters)) {
      step.gemms.push_back(Rank(std::string(projection.name), static_cast<double>(group.layers), projection.n, projection.k, model.model_dim, ranks, weights));
    }
  }
  const auto layers = static_cast<double>(model.layers);
  step.gemms.push_back(Rank("ffn_gate_up", layers, 2 * model.ffn_dim, model.model_dim, model.model_dim, ranks, weights));
  step.gemms.push_back(Rank("ffn_down", layers, model.model_dim, model.ffn_dim, model.model_dim, ranks, weights));
  platform::GemmGroup head = Rank("vocabulary", 1, model.vocabulary, model.model_dim, model.model_dim, ranks, DType::kBf16);
  head.last_token_only = true;
  step.gemms.push_back(head);
  return step;
}

}  // namespace assay
