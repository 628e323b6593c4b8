#include "claims/usecase_context.h"

#include <algorithm>

#include "mechanisms/bind.h"
#include "platform/model_steps.h"

namespace assay {
namespace {

void AddTraffic(const serving::Traffic& traffic, Variables& variables) {
  const serving::TrafficShape shape = ShapeOf(traffic);
  variables["prompt_p50_tokens"] = shape.prompt_p50;
  variables["prompt_p95_tokens"] = shape.prompt_p95;
  variables["output_p50_tokens"] = shape.output_p50;
  variables["output_p95_tokens"] = shape.output_p95;
  variables["context_p50_tokens"] = shape.context_p50;
  variables["context_p95_tokens"] = shape.context_p95;
  variables["context_p99_tokens"] = shape.context_p99;
  variables["context_max_tokens"] = traffic.longest_tokens;
  variables["decode_context_tokens"] = shape.decode_context_mean;
  if (traffic.requests_per_second > 0) variables["requests_per_second"] = traffic.requests_per_second;
}

// Bytes that a layer of this call keeps, from the mechanism's own cost model.
Result<ResidentBytes> ResidentOf(const formats::MechanismCall& call, const formats::ModelSpec& model, const formats::KvFormat& kv) {
  ASSAY_TRY(const Mechanism* mechanism, FindMechanism(call.id));
  ASSAY_TRY(const ParameterSet parameters, Bind(*mechanism, call));
  const LayerShape shape{.model_dim = model.model_dim, .query_heads = model.query_heads, .kv_heads = model.kv_heads, .head_dim = model.head_dim};
  return mechanism->resident(shape, parameters, platform::CacheQuery(*mechanism, shape, parameters, kv));
}

// What one candidate adds to the variables of each mechanism in its stack.
Status AddCandidate(const formats::Candidate& candidate, const formats::ModelSpec& model, ClaimContext& context) {
  double global = 0, local = 0, linear = 0, kv_bytes = 0, window = 0, state = 0;
  std::vector<std::string> ids;
  for (const formats::LayerCount& count : formats::CountLayers(candidate.layers)) {
    ids.push_back(count.mechanism.id);
    ASSAY_TRY(const ResidentBytes resident, ResidentOf(count.mechanism, model, candidate.kv));
    const auto layer_count = static_cast<double>(count.layers);
    if (resident.per_token == 0) {
      linear += layer_count;
      state = resident.per_sequence;
    } else if (resident.token_cap >= 0) {
      local += layer_count;
      window = resident.token_cap;
    } else {
      global += layer_count;
      kv_bytes = resident.per_token;
    }
  }
  if (candidate.read) ids.push_back(candidate.read->id);
  for (const std::string& id : ids) {
    if (std::find(context.mechanisms.begin(), context.mechanisms.end(), id) == context.mechanisms.end()) context.mechanisms.push_back(id);
    if (candidate.is_baseline) continue;
    Variables& variables = context.of_mechanism[id];
    // Of several candidates with a mechanism the first speaks, but for the cache's width, where the narrowest is the one in question.
    const double bits = BitsOf(candidate.kv.dtype);
    if (const auto at = variables.find("candidate_kv_bits"); at == variables.end() || at->second > bits) variables["candidate_kv_bits"] = bits;
    if (kv_bytes > 0) variables.try_emplace("kv_bytes_per_token_layer", kv_bytes);
    if (window > 0) variables.try_emplace("window_tokens", window);
    if (state > 0) variables.try_emplace("state_bytes_per_layer", state);
    if (global > 0 && local > 0) variables.try_emplace("local_layers_per_global", local / global);
    if (global > 0 && linear > 0) variables.try_emplace("linear_layers_per_full", linear / global);
  }
  return Ok();
}

}  // namespace

Result<ClaimContext> ContextOf(const formats::UseCase& use_case, const serving::Traffic& traffic) {
  ClaimContext context;
  Variables& variables = context.variables;
  AddTraffic(traffic, variables);
  const formats::ModelSpec& model = use_case.model;
  variables["layers"] = static_cast<double>(model.layers);
  variables["query_heads"] = static_cast<double>(model.query_heads);
  variables["kv_heads"] = static_cast<double>(model.kv_heads);
  variables["head_dim"] = static_cast<double>(model.head_dim);
  variables["kv_bits"] = BitsOf(use_case.baseline().kv.dtype);
  variables["tensor_parallel"] = static_cast<double>(use_case.platform.parallel.tensor);
  variables["pipeline_parallel"] = static_cast<double>(use_case.platform.parallel.pipeline);
  if (use_case.engine.policy.block_tokens) variables["page_tokens"] = static_cast<double>(*use_case.engine.policy.block_tokens);
  variables["quality_objective"] = use_case.objective.quality_loss_max_points ? 1 : 0;
  if (use_case.engine.policy.prefix_cache) variables["prefix_cache"] = *use_case.engine.policy.prefix_cache ? 1 : 0;
  variables["speculation"] = use_case.engine.policy.speculation ? 1 : 0;
  context.gpu = use_case.platform.gpu.value_or("");
  context.engine = use_case.engine.name;
  context.engine_version = use_case.engine.version;
  for (const formats::Candidate& candidate : use_case.candidates) ASSAY_RETURN_IF_ERROR(AddCandidate(candidate, model, context));
  return context;
}

Result<ClaimContext> ContextOf(const formats::UseCase& use_case, uint64_t seed) {
  ASSAY_TRY(const serving::Traffic traffic, serving::MakeTraffic(use_case, {}, seed));
  return ContextOf(use_case, traffic);
}

}  // namespace assay
