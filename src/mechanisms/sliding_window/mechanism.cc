// Sliding-window attention: the descriptor.
#include <fmt/format.h>

#include "kernels/softmax_kernel.h"
#include "mechanisms/sliding_window/reference.h"
#include "mechanisms/sliding_window/sliding_window.h"
#include "mechanisms/softmax_cases.h"
#include "mechanisms/softmax_problem.h"

namespace assay {
namespace mechanisms {
extern const Mechanism k_sliding_window;
}

namespace sliding_window {
namespace {

constexpr Parameter kParameters[] = {
    {.name = "window_tokens", .default_value = 4096, .low = 1, .high = 1e8, .meaning = "keys a query sees, its own included: exactly so many"},
    {.name = "sink_tokens", .default_value = 0, .low = 0, .high = 1e6, .meaning = "first tokens that stay visible for ever", .reported = Parameter::Reported::kSeldom},
};

constexpr FeatureRisk kRisks[] = {
    {.feature = "long_context_recall",
     .what = "MiniMax-M2's sliding-window variants fell from 90.0 to 72.0 on RULER-128K CWE beyond 32K tokens; the model shipped with full attention",
     .date = "2026-05-27",
     .url = "https://www.tailorednewshub.com/en/llms/minimax-unveils-m2-series-teases-m3-sparse-attention"},
    {.feature = "kv_quantisation",
     .what = "vLLM found no fp8 cache gain below 741,565 tokens on gpt-oss, half of whose layers have a window of 128, before tuning",
     .date = "2026-04-22",
     .url = "https://github.com/vllm-project/vllm-project.github.io/blob/c3a01c4a5807c8d900ae468897e45263373e534e/_posts/2026-04-22-fp8-kvcache.md"},
};

Status Check(const Problem& problem) {
  ASSAY_RETURN_IF_ERROR(CheckParameters(problem, mechanisms::k_sliding_window));
  if (problem.window_left < 0) return BadInput("sliding_window: window_left is not set; a window of W keys is window_left = W - 1");
  const auto stated = static_cast<int64_t>(problem.Parameter("window_tokens", static_cast<double>(problem.window_left + 1)));
  if (stated != problem.window_left + 1) {
    return BadInput(fmt::format("sliding_window: window_tokens is {}, but window_left {} means {} keys", stated, problem.window_left, problem.window_left + 1));
  }
  return CheckSoftmaxProblem(problem, kSoftmaxRoles);
}

// The tile kernel knows one window; keys kept before it are another set.
Status CheckTile(const Problem& problem, const Kernel& self) {
  if (problem.Parameter("sink_tokens", 0) > 0) return Unsupported("the tile kernel reads a window, not the first tokens as well");
  return CheckSoftmaxTile(problem, self);
}

constexpr Kernel kKernels[] = {{.id = "tile", .check = CheckTile, .prepare = PrepareSoftmaxTile, .epilogue = epilogue::kIdentity}};

Result<OwnedProblem> Example(const ExampleSpec& spec, const ParameterSet& parameters, Rng& rng) {
  ASSAY_TRY(OwnedProblem owned, MakeSoftmaxExample("sliding_window", spec, rng));
  owned.problem.window_left = parameters.Int("window_tokens") - 1;
  owned.problem.parameters = parameters.values();
  return owned;
}

Result<CaseOutputs> RunWindowCase(const ConformanceCase& conformance_case, const Attend& attend) {
  return RunFunctionCase(conformance_case, attend, "sliding_window");
}

constexpr CaseAdapter kCases[] = {{"SlidingWindowAttention", RunWindowCase}};

}  // namespace
}  // namespace sliding_window

namespace mechanisms {
constinit const Mechanism k_sliding_window = {
    .id = "sliding_window",
    .revision = 1,
    .title = "Sliding-window attention",
    .formula = "o_i = sum_j softmax_j(scale q_i.k_j) v_j over j in (i - W, i] and j < sink_tokens: exactly W keys and the first ones",
    .citation = "Beltagy et al. 2020, arXiv 2004.05150; first tokens: Xiao et al. 2023, arXiv 2309.17453",
    .summary = "a cache that stops growing at the window, paid with everything older than it",
    .parameters = sliding_window::kParameters,
    .traits = {.state = StateKind::kWindowed},
    .availability = Availability::kConvert,
    .risks = sliding_window::kRisks,
    .check = sliding_window::Check,
    .reference = sliding_window::Reference<double>,
    .twin = sliding_window::Reference<float>,
    .count = CountWork<sliding_window::Reference<Counted>>,
    .kernels = sliding_window::kKernels,
    .example = sliding_window::Example,
    .cost = sliding_window::Cost,
    .resident = sliding_window::Resident,
    .projections = SoftmaxProjections,
    .table_kernel = sliding_window::TimedBy,
    .cases = sliding_window::kCases,
};
}  // namespace mechanisms
}  // namespace assay
