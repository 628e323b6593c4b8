// Grouped-query attention: the descriptor. Multi-head attention is kv_heads = query heads, multi-query attention kv_heads = 1.
#include "kernels/softmax_kernel.h"
#include "mechanisms/gqa/gqa.h"
#include "mechanisms/gqa/reference.h"
#include "mechanisms/softmax_cases.h"
#include "mechanisms/softmax_problem.h"

namespace assay {
namespace mechanisms {
extern const Mechanism k_gqa;
}

namespace gqa {
namespace {

constexpr Parameter kParameters[] = {
    {.name = "kv_heads", .default_value = 0, .low = 0, .high = 4096, .meaning = "key/value heads; 0: those of the model; 1: multi-query attention"},
    {.name = "softcap", .default_value = 0, .low = 0, .high = 1e6, .meaning = "scores pass c tanh(s / c); 0: none", .reported = Parameter::Reported::kSeldom, .integer = false},
    {.name = "learned_sink", .default_value = 0, .low = 0, .high = 1, .meaning = "1: a learned logit a head enters the denominator", .reported = Parameter::Reported::kSeldom},
};

constexpr FeatureRisk kRisks[] = {
    {.feature = "kv_quantisation",
     .what = "vLLM's fp8 cache with FlashAttention 3: long-context needle retrieval fell from 91 % to 13 % before a fix, 89 % after it",
     .date = "2026-04-22",
     .url = "https://github.com/vllm-project/vllm-project.github.io/blob/c3a01c4a5807c8d900ae468897e45263373e534e/_posts/2026-04-22-fp8-kvcache.md"},
    {.feature = "determinism",
     .what = "attention kernels are not batch-invariant: 80 distinct outputs in 1,000 runs at temperature 0; the fix costs 26 s -> 42 s",
     .date = "2025-09-10",
     .url = "https://thinkingmachines.ai/blog/defeating-nondeterminism-in-llm-inference/"},
};

Status Check(const Problem& problem) {
  ASSAY_RETURN_IF_ERROR(CheckParameters(problem, mechanisms::k_gqa));
  return CheckSoftmaxProblem(problem, kSoftmaxRoles);
}

Result<OwnedProblem> Example(const ExampleSpec& spec, const ParameterSet& parameters, Rng& rng) {
  ExampleSpec own = spec;
  if (parameters.Int("kv_heads") > 0) own.kv_heads = parameters.Int("kv_heads");
  ASSAY_TRY(OwnedProblem owned, MakeSoftmaxExample("gqa", own, rng));
  owned.problem.softcap = parameters["softcap"];
  if (parameters.Int("learned_sink") != 0) {
    const TensorView sink = owned.Add(Role::kSink, DType::kF32, {own.query_heads});
    for (int64_t h = 0; h < own.query_heads; ++h) sink.Set({h}, rng.Normal());
  }
  return owned;
}

Result<CaseOutputs> RunFunction(const ConformanceCase& conformance_case, const Attend& attend) {
  return RunFunctionCase(conformance_case, attend, "gqa");
}

constexpr CaseAdapter kCases[] = {
    {"Attention", RunAttention},
    {"FlexAttention", RunFlexAttention},
    {"GroupedQueryAttention", RunFunction},
    {"SinkAttention", RunFunction},
    {"SoftcapAttention", RunFunction},
    {"ChunkedLocalAttention", RunFunction},
    {"RelativeBiasAttention", RunFunction},
    {"SlidingWindowAttention", RunFunction},
    {"AlibiAttention", RunAlibi},
    {"QkNormAttention", RunQkNorm},
    {"GatedOutputAttention", RunGatedOutput},
    {"SeparateGateAttention", RunSeparateGate},
    {"RopeOrNopeAttention", RunRopeOrNope},
    {"DifferentialAttention", RunDifferential},
};

constexpr Kernel kKernels[] = {{.id = "tile", .check = CheckSoftmaxTile, .prepare = PrepareSoftmaxTile, .epilogue = epilogue::kIdentity}};

}  // namespace
}  // namespace gqa

namespace mechanisms {
constinit const Mechanism k_gqa = {
    .id = "gqa",
    .revision = 1,
    .title = "Grouped-query attention",
    .formula = "o_i = sum_j softmax_j(scale q_i.k_j) v_j; query head h reads key/value head floor(h Hkv / Hq)",
    .citation = "Ainslie et al. 2023, arXiv 2305.13245; Shazeer 2019, arXiv 1911.02150; Vaswani et al. 2017, arXiv 1706.03762",
    .summary = "every token reads every earlier token; groups of query heads share keys and values, which divides the cache by the group size",
    .parameters = gqa::kParameters,
    .traits = {.state = StateKind::kGrowing},
    .availability = Availability::kDropIn,
    .risks = gqa::kRisks,
    .check = gqa::Check,
    .reference = gqa::Reference<double>,
    .twin = gqa::Reference<float>,
    .count = CountWork<gqa::Reference<Counted>>,
    .kernels = gqa::kKernels,
    .example = gqa::Example,
    .cost = gqa::Cost,
    .resident = gqa::Resident,
    .projections = gqa::Projections,
    .table_kernel = gqa::TimedBy,
    .cases = gqa::kCases,
};
}  // namespace mechanisms
}  // namespace assay
