// Draws and memory of a deployment.
#include "serving/deployment.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

namespace assay::serving {
namespace {

// Device memory that neither weights nor cache use (activations, graphs, workspace), unless the use case says better: an assumed range around
// the 3.5 GiB that AIConfigurator reserves by default.
constexpr formats::Interval kMemoryOverheadGib = {2, 6};

// What is assumed goes before the platform's own ranges. `draw` is those of a corner already.
void Narrow(const Assumptions& assumptions, Corner corner, platform::StepDraw* draw) {
  const auto end = [corner](const formats::Interval& range) { return At(range, corner); };
  const auto take = [&](std::string_view name, auto&& use) {
    if (const formats::Interval* range = assumptions.Find(name); range != nullptr) use(end(*range));
  };
  if (const auto us = HostUsPerStep(assumptions, end)) draw->host_ms = *us / 1000;
  if (const auto us = LayerOverheadUs(assumptions, end)) draw->layer_overhead_us = *us;
  take("sampling_us_per_sequence", [&](double us) { draw->host_us_per_sequence = us; });
  take("host_us_per_request", [&](double us) { draw->request_overhead_ms = us / 1000; });
  take("fp8_quantise_share", [&](double share) { draw->fp8_quantise_share = share; });
  take("kernel_time_factor", [&](double factor) { draw->attention_factor *= factor, draw->prefill_factor *= factor, draw->gemm_factor *= factor; });
  take("communication_factor", [&](double factor) { draw->collective_factor *= factor; });
}

// Of `bytes` that the engine may fill with weights, cache and all else.
struct Memory {
  double overhead_bytes = 0;  // that neither weights nor cache use
  double cache_bytes = 0;
};
Memory Share(double bytes, double weight_bytes, const Assumptions& assumptions, Corner corner) {
  const formats::Interval* overhead = assumptions.Find("memory_overhead_gib");
  const formats::Interval* lost = assumptions.Find("cache_fragmentation_share");
  const double overhead_bytes = At(overhead != nullptr ? *overhead : kMemoryOverheadGib, corner) * 0x1p30;
  return {.overhead_bytes = overhead_bytes, .cache_bytes = (bytes - weight_bytes - overhead_bytes) * (lost != nullptr ? 1 - At(*lost, corner) : 1)};
}

// Bytes of the cache by kind of layer, from the rank's mixers.
Result<KvPool> PoolOf(const DeploymentPlan& plan, const Deployment& deployment, const Assumptions& assumptions, Corner corner) {
  const double device_bytes = plan.memory_gib ? *plan.memory_gib * 0x1p30 : deployment.gpu.memory_bytes;
  const Memory memory = Share(device_bytes * plan.memory_fraction, deployment.weight_bytes, assumptions, corner);
  if (memory.cache_bytes <= 0) {
    return Unsupported(fmt::format("{:.1f} GiB of weights a rank and {:.1f} GiB of activations and workspace leave the cache no room in {:.1f} GiB of {} at "
                                   "memory_fraction {:g}; use more ranks, a larger GPU or a smaller weight type", deployment.weight_bytes / 0x1p30,
                                   memory.overhead_bytes / 0x1p30, device_bytes / 0x1p30, deployment.gpu.name, plan.memory_fraction));
  }
  KvPool pool{.pool_bytes = static_cast<int64_t>(memory.cache_bytes), .block_tokens = plan.block_tokens, .state_bytes = 0, .groups = {}};
  for (const platform::MixerGroup& group : deployment.model.mixers) {
    pool.state_bytes += static_cast<int64_t>(std::ceil(group.layers * group.memory.bytes_per_sequence));
    if (group.memory.bytes_per_token <= 0) continue;
    pool.groups.push_back({.bytes_per_token = static_cast<int64_t>(std::ceil(group.layers * group.memory.bytes_per_token)),
                           .window_tokens = group.memory.token_cap > 0 ? static_cast<int32_t>(group.memory.token_cap) : 0});
  }
  return pool;
}

}  // namespace

bool UsesAssumption(std::string_view name) {
  const Assumptions none;
  platform::StepDraw draw;
  Narrow(none, kLikely, &draw);
  Share(0, 0, none, kLikely);
  return none.asked().contains(name);
}

std::string ProfileNameOf(const formats::UseCase& usecase, const formats::Candidate& candidate) {
  return usecase.platform.profile_path.value_or(
      fmt::format("{}/{}/{}", usecase.platform.gpu.value_or("cpu"), candidate.implementation.engine, candidate.implementation.version));
}

Result<DeploymentPlan> PlanOf(const formats::UseCase& usecase, const formats::Candidate& candidate) {
  if (usecase.platform.parallel.pipeline > 1 || usecase.platform.parallel.context > 1) {
    return Unsupported("pipeline and context parallelism are not simulated yet; set them to 1");
  }
  DeploymentPlan plan{.model = usecase.model, .layers = candidate.layers, .step = {}, .policy = {}, .memory_fraction = usecase.platform.memory_fraction,
                      .memory_gib = usecase.platform.memory_gib};
  plan.step = {.tensor_parallel = static_cast<int>(usecase.platform.parallel.tensor), .weights = DType::kBf16, .kv = candidate.kv, .read = candidate.read};
  ASSAY_TRY(plan.step.weights, platform::TimedWeights(usecase.model));
  const formats::EnginePolicy& given = usecase.engine.policy;
  plan.policy.max_batched_tokens = static_cast<int>(given.max_batched_tokens.value_or(plan.policy.max_batched_tokens));
  plan.policy.max_sequences = static_cast<int>(given.max_sequences.value_or(plan.policy.max_sequences));
  plan.policy.prefill = given.chunked_prefill.value_or(true) ? PrefillMode::kChunked : PrefillMode::kWhole;
  plan.block_tokens = static_cast<int32_t>(given.block_tokens.value_or(plan.block_tokens));
  return plan;
}

Result<Deployment> MakeDeployment(const DeploymentPlan& plan, const platform::Profile& profile, std::string_view gpu, const Assumptions& assumptions) {
  const std::string_view name = gpu.empty() ? std::string_view(profile.gpu) : gpu;
  const platform::Gpu* found = platform::FindGpu(name);
  if (found == nullptr) return Unsupported(fmt::format("no datasheet of '{}'; `assay platform list` names those known", name));
  Deployment deployment{.profile = profile, .gpu = *found, .model = {}, .policy = plan.policy, .draws = {}, .pools = {}};
  ASSAY_TRY(deployment.model, platform::MakeStepModel(plan.model, plan.layers, plan.step));
  deployment.weight_bytes = platform::RankWeightBytes(deployment.model, plan.model);
  // What has no time is refused for that before its memory is looked at.
  ASSAY_TRY(const platform::StepTimer timed, platform::StepTimer::Make(profile, deployment.model, platform::LikelyDraw(), found->name));
  for (const Corner corner : kCorners) {
    deployment.draws[corner] = corner == kLikely ? platform::LikelyDraw() : platform::CornerDraw(profile, deployment.model, corner == kSlow);
    Narrow(assumptions, corner, &deployment.draws[corner]);
    ASSAY_TRY(deployment.pools[corner], PoolOf(plan, deployment, assumptions, corner));
  }
  return deployment;
}

Result<Deployment> DeploymentOf(const formats::UseCase& usecase, const formats::Candidate& candidate, const Assumptions& assumptions) {
  ASSAY_TRY(const platform::Profile profile, platform::LoadProfile(ProfileNameOf(usecase, candidate)));
  ASSAY_TRY(const DeploymentPlan plan, PlanOf(usecase, candidate));
  return MakeDeployment(plan, profile, usecase.platform.gpu.value_or(""), assumptions);
}

Result<TimedSteps> Deployment::Steps(Corner corner) const {
  ASSAY_TRY(platform::StepTimer timer, platform::StepTimer::Make(profile, model, draws[corner], gpu.name));
  return TimedSteps(std::move(timer));
}

}  // namespace assay::serving
