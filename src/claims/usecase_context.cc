#include "claims/usecase_context.h"

#include <algorithm>

#include "core/random.h"
#include "formats/trace.h"
#include "mechanisms/mechanism.h"
#include "stats/descriptive.h"

namespace assay {
namespace {

constexpr int kDraws = 20000;  // the 95th percentile of a length moves by some 1 % between seeds
constexpr int kGrid = 1000;    // midpoints of equal probability that stand for a length distribution

std::vector<double> GridOf(const formats::LengthDistribution& lengths) {
  std::vector<double> grid;
  for (int i = 0; i < kGrid; ++i) grid.push_back(static_cast<double>(lengths.Quantile((i + 0.5) / kGrid)));
  return grid;
}

// Of requests: prompt, output, context at the end; and the context under which an output token is computed, every token weighing the same.
void AddLengths(const std::vector<double>& prompts, const std::vector<double>& outputs, Variables& variables) {
  std::vector<double> contexts;
  double weighted = 0, tokens = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    contexts.push_back(prompts[i] + outputs[i]);
    weighted += outputs[i] * (prompts[i] + outputs[i] / 2);
    tokens += outputs[i];
  }
  const std::vector<double> prompt = stats::SortedOrEmpty(prompts), output = stats::SortedOrEmpty(outputs);
  std::sort(contexts.begin(), contexts.end());
  if (contexts.empty()) return;
  variables["prompt_p50_tokens"] = stats::QuantileSorted(prompt, 0.50);
  variables["prompt_p95_tokens"] = stats::QuantileSorted(prompt, 0.95);
  variables["output_p50_tokens"] = stats::QuantileSorted(output, 0.50);
  variables["output_p95_tokens"] = stats::QuantileSorted(output, 0.95);
  variables["context_p50_tokens"] = stats::QuantileSorted(contexts, 0.50);
  variables["context_p95_tokens"] = stats::QuantileSorted(contexts, 0.95);
  variables["context_p99_tokens"] = stats::QuantileSorted(contexts, 0.99);
  variables["context_max_tokens"] = contexts.back();
  if (tokens > 0) variables["decode_context_tokens"] = weighted / tokens;
}

void AddDeclaredTraffic(const formats::Workload& workload, Variables& variables) {
  if (workload.prompt_tokens.empty() || workload.output_tokens.empty()) return;
  Rng rng(DeriveSeed(0, "claims/traffic"));
  const std::vector<double> prompt_grid = GridOf(workload.prompt_tokens);
  const std::vector<double> output_grid = GridOf(workload.output_tokens);
  std::vector<double> prompts, outputs;
  for (int i = 0; i < kDraws; ++i) {
    prompts.push_back(prompt_grid[rng.Below(kGrid)]);
    outputs.push_back(output_grid[rng.Below(kGrid)]);
  }
  AddLengths(prompts, outputs, variables);
  // Draws seldom reach the end of a distribution; what the use case allows is known.
  variables["context_max_tokens"] = static_cast<double>(workload.prompt_tokens.max_tokens + workload.output_tokens.max_tokens);
}

// Bytes that a layer of this call keeps, from the mechanism's own cost model; nothing for a mechanism that is not known here.
std::optional<ResidentBytes> ResidentOf(const formats::MechanismCall& call, const formats::ModelSpec& model, DType cache) {
  const auto mechanism = FindMechanism(call.id);
  if (!mechanism.ok() || (*mechanism)->resident == nullptr) return std::nullopt;
  std::vector<double> positional;
  std::vector<ParameterValue> named;
  for (const formats::MechanismArgument& argument : call.arguments) {
    if (!argument.number) return std::nullopt;
    if (argument.name.empty())
      positional.push_back(*argument.number);
    else
      named.push_back({argument.name, *argument.number});
  }
  auto parameters = ParameterSet::Make(**mechanism, positional, named);
  if (!parameters.ok()) return std::nullopt;
  CostQuery query;
  query.shape = {.model_dim = model.model_dim, .query_heads = model.query_heads, .kv_heads = model.kv_heads, .head_dim = model.head_dim};
  query.parameters = *parameters;
  query.cache_bytes_per_element = BitsOf(cache) / 8.0;
  return (*mechanism)->resident(query.shape, *parameters, query);
}

// What one candidate adds to the variables of each mechanism in its stack.
void AddCandidate(const formats::Candidate& candidate, const formats::ModelSpec& model, ClaimContext& context) {
  const auto layers = formats::ExpandStack(candidate.stack, model.layers);
  if (!layers.ok()) return;
  double global = 0, local = 0, linear = 0, kv_bytes = 0, window = 0, state = 0;
  std::vector<std::string> ids;
  for (const formats::LayerCount& count : formats::CountLayers(*layers)) {
    ids.push_back(count.mechanism.id);
    const auto resident = ResidentOf(count.mechanism, model, candidate.kv.dtype);
    if (!resident) continue;
    const auto layer_count = static_cast<double>(count.layers);
    if (resident->per_token == 0) {
      linear += layer_count;
      state = resident->per_sequence;
    } else if (resident->token_cap >= 0) {
      local += layer_count;
      window = resident->token_cap;
    } else {
      global += layer_count;
      kv_bytes = resident->per_token;
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
}

}  // namespace

ClaimContext ContextOf(const formats::UseCase& use_case) {
  ClaimContext context;
  Variables& variables = context.variables;
  AddDeclaredTraffic(use_case.workload, variables);
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
  if (use_case.workload.requests_per_second)
    variables["requests_per_second"] = *use_case.workload.requests_per_second * use_case.workload.rate_scale;
  context.gpu = use_case.platform.gpu.value_or("");
  context.engine = use_case.engine.name;
  context.engine_version = use_case.engine.version;
  for (const formats::Candidate& candidate : use_case.candidates) AddCandidate(candidate, model, context);
  return context;
}

Result<ClaimContext> ContextWithTrace(const formats::UseCase& use_case) {
  ClaimContext context = ContextOf(use_case);
  if (!use_case.workload.trace_path) return context;
  ASSAY_TRY(const formats::Trace trace, formats::ReadTrace(*use_case.workload.trace_path));
  std::vector<double> prompts, outputs;
  for (const formats::Request& request : trace.requests) {
    prompts.push_back(static_cast<double>(request.prompt_tokens));
    outputs.push_back(static_cast<double>(request.output_tokens));
  }
  AddLengths(prompts, outputs, context.variables);
  return context;
}

}  // namespace assay
