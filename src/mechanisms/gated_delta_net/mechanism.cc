// Gated delta rule: the descriptor. The cases it answers are in rule_cases.cc (the recurrence) and layer_cases.cc (whole layers).
#include "kernels/recurrence_args.h"
#include "kernels/recurrence_kernel.h"
#include "mechanisms/gated_delta_net/gated_delta_net.h"
#include "mechanisms/gated_delta_net/reference.h"
#include "mechanisms/softmax_problem.h"

namespace assay {
namespace mechanisms {
extern const Mechanism k_gated_delta_net;
}

namespace gated_delta_net {
namespace {

using enum Parameter::Reported;

constexpr Parameter kParameters[] = {
    {.name = "key_heads", .default_value = 0, .low = 0, .high = 4096, .meaning = "query and key heads; 0: half the value heads"},
    {.name = "value_heads", .default_value = 0, .low = 0, .high = 4096, .meaning = "value heads, one state each; 0: the layer's query heads"},
    {.name = "key_dim", .default_value = 0, .low = 0, .high = 4096, .meaning = "channels of a key; 0: the layer's head width"},
    {.name = "value_dim", .default_value = 0, .low = 0, .high = 4096, .meaning = "channels of a value (the paper's expand_v times key_dim); 0: the layer's value width"},
    {.name = "conv_kernel", .default_value = 4, .low = 1, .high = 64, .meaning = "taps of the causal convolution on q, k and v; 1: none", .reported = kSeldom},
    {.name = "channel_decay", .default_value = 0, .low = 0, .high = 1, .meaning = "1: a decay for each key channel (Kimi delta attention)"},
    {.name = "delta", .default_value = 1, .low = 0, .high = 1, .meaning = "0: nothing is erased before a write (gated linear attention)"},
    {.name = "beta_max", .default_value = 1, .low = 0, .high = 2, .meaning = "largest write strength; above 1 the transition has negative eigenvalues", .reported = kSeldom, .integer = false},
};

// Dated failures of serving features with a recurrent state.
constexpr FeatureRisk kRisks[] = {
    {.feature = "prefix_cache",
     .what = "Modular disabled prefix caching for Qwen3.5: the recurrent state is stale on cache hits (smoke-test accuracy 0.58, 0.87 without)",
     .date = "2026-05-06",
     .url = "https://github.com/modular/modular/issues/6681"},
    {.feature = "prefix_cache",
     .what = "ROCm/ATOM turns the prefix cache off for Qwen3.5 and Qwen-Next (MXFP4 score 0.8317 with it, 0.857 without)",
     .date = "2026-06-06",
     .url = "https://github.com/ROCm/ATOM/pull/1112"},
    {.feature = "prefix_cache",
     .what = "vLLM on TPU: Qwen3.5-397B scored 0.01 on gsm8k with prefix caching, 0.97 without; the guard costs 3.5x throughput",
     .date = "2026-08-17",
     .url = "https://github.com/vllm-project/tpu-inference/pull/3412"},
    {.feature = "prefix_cache",
     .what = "llama.cpp: hybrids lose coherence or tool calling when a cached prefix is resumed without the recurrent state",
     .date = "2026-04-09",
     .url = "https://github.com/ggml-org/llama.cpp/issues/21681"},
    {.feature = "speculation",
     .what = "vLLM 0.28.0: prefix caching with multi-token prediction still corrupts the output of hybrids with a recurrent state",
     .date = "2026-08-26",
     .url = "https://github.com/vllm-project/vllm/issues/53912"},
    {.feature = "speculation",
     .what = "MiniMax went back to full attention for M2: weak prefix caching and speculative decoding, a precision-sensitive state",
     .date = "2025-10-30",
     .url = "https://huggingface.co/blog/MiniMax-AI/why-did-m2-end-up-as-a-full-attention-model"},
};

// The shared kernels honour a rule by entry and chunks of one length: what they would silently read otherwise is refused here.
Status CheckRule(const Problem& problem, const Kernel& self) {
  const bool delta = problem.Parameter("delta", 1) != 0;
  if (delta == (self.epilogue == recurrence::kDelta)) return Ok();
  return Unsupported(delta ? "this entry adds without erasing; the problem asks for the delta rule" : "this entry erases; the problem asks for plain addition");
}
Status CheckStep(const Problem& problem, const Kernel& self) {
  ASSAY_RETURN_IF_ERROR(CheckRule(problem, self));
  if (problem.chunk > 1) return Unsupported("the stepwise kernel has no chunks");
  return CheckRecurrenceStep(problem, self);
}
Status CheckChunk(const Problem& problem, const Kernel& self) {
  ASSAY_RETURN_IF_ERROR(CheckRule(problem, self));
  if (problem.chunk != 0 && problem.chunk != kRecurrenceChunk) return Unsupported("the chunked kernel takes chunks of 64 tokens, or the choice (0)");
  return CheckRecurrenceChunk(problem, self);
}
constexpr Kernel kKernels[] = {
    {.id = "recurrent_step", .check = CheckStep, .prepare = PrepareRecurrenceStep, .epilogue = recurrence::kDelta},
    {.id = "recurrent_chunk", .check = CheckChunk, .prepare = PrepareRecurrenceChunk, .epilogue = recurrence::kDelta},
    {.id = "additive_step", .check = CheckStep, .prepare = PrepareRecurrenceStep, .epilogue = recurrence::kAdditive},
    {.id = "additive_chunk", .check = CheckChunk, .prepare = PrepareRecurrenceChunk, .epilogue = recurrence::kAdditive},
};

constexpr CaseAdapter kCases[] = {
    {"LinearAttention", RunLinearAttention<Form::kStepwise>},
    {"LinearAttention", RunLinearAttention<Form::kChunked>},
    {"GatedDeltaRule", RunGatedDeltaRule<Form::kStepwise>},
    {"GatedDeltaRule", RunGatedDeltaRule<Form::kChunked>},
    {"KimiDeltaRule", RunKimiDeltaRule<Form::kStepwise>},
    {"KimiDeltaRule", RunKimiDeltaRule<Form::kChunked>},
    {"openvino", RunOpenVino<Form::kStepwise>},
    {"openvino", RunOpenVino<Form::kChunked>},
    {"GatedDeltaNetLayer", RunGatedDeltaNetLayer<Form::kStepwise>},
    {"GatedDeltaNetLayer", RunGatedDeltaNetLayer<Form::kChunked>},
    {"KimiDeltaAttentionLayer", RunKimiDeltaAttentionLayer<Form::kStepwise>},
    {"KimiDeltaAttentionLayer", RunKimiDeltaAttentionLayer<Form::kChunked>},
};

Status Check(const Problem& problem) {
  ASSAY_RETURN_IF_ERROR(CheckParameters(problem, mechanisms::k_gated_delta_net));
  const Result<Shape> shape = ResolveShape(problem);
  return shape.ok() ? Ok() : Status(shape.error());
}

template <class T>
void Run(const Problem& problem) {
  Reference<T>(problem, ResolveShape(problem).value());
}

}  // namespace
}  // namespace gated_delta_net

namespace mechanisms {
constinit const Mechanism k_gated_delta_net = {
    .id = "gated_delta_net",
    .revision = 1,
    .title = "Gated delta rule",
    .formula = "S_t = e^{g_t} S_{t-1}; S_t += beta_t k_t (v_t - S_t^T k_t)^T; o_t = scale S_t^T q_t",
    .citation = "Yang, Kautz, Hatamizadeh 2024, arXiv 2412.06464; per-channel decay: Kimi Team 2025, arXiv 2510.26692",
    .summary = "a state of fixed size is rewritten token by token: memory and time stop growing with the context, and so does what can be recalled",
    .parameters = gated_delta_net::kParameters,
    .traits = {.state = StateKind::kFixed,
               .normalised = false,
               .shift_invariant = false,
               .mergeable_by_lse = false,
               .key_permutable = false,
               .chunked = true,
               .causal_only = true},
    .availability = Availability::kPretrain,
    .risks = gated_delta_net::kRisks,
    .check = gated_delta_net::Check,
    .reference = gated_delta_net::Run<double>,
    .twin = gated_delta_net::Run<float>,
    .count = CountWork<gated_delta_net::Run<Counted>>,
    .kernels = gated_delta_net::kKernels,
    .example = gated_delta_net::Example,
    .cost = gated_delta_net::Cost,
    .resident = gated_delta_net::Resident,
    .projections = gated_delta_net::Projections,
    .table_kernel = gated_delta_net::TimedBy,
    .cases = gated_delta_net::kCases,
};
}  // namespace mechanisms
}  // namespace assay
