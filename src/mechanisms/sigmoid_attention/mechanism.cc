// Sigmoid attention: the descriptor.
#include "kernels/softmax_kernel.h"
#include "mechanisms/sigmoid_attention/reference.h"
#include "mechanisms/sigmoid_attention/sigmoid_attention.h"
#include "mechanisms/softmax_problem.h"

namespace assay {
namespace mechanisms {
extern const Mechanism k_sigmoid_attention;
}

namespace sigmoid_attention {
namespace {

constexpr Parameter kParameters[] = {
    {.name = "bias_tokens", .default_value = kDefaultBiasTokens, .low = 1, .high = 1e9, .meaning = "n of the bias -log n that every score gets: the trained length",
     .reported = Parameter::Reported::kSeldom},
};

// No LSE, no sink: nothing is normalised. No softcap: sigma saturates by itself.
constexpr Role kRoles[] = {Role::kQ,    Role::kK,    Role::kV,        Role::kO,    Role::kWeights, Role::kKScale,   Role::kVScale, Role::kCuQ,
                           Role::kCuK,  Role::kLenK, Role::kPageTable, Role::kPosQ, Role::kPosK,    Role::kMaskBool, Role::kMaskAdd, Role::kAlibi};

Status Check(const Problem& problem) {
  ASSAY_RETURN_IF_ERROR(CheckParameters(problem, mechanisms::k_sigmoid_attention));
  if (problem.softcap != 0) return Unsupported("sigmoid_attention: scores are not capped; leave softcap at 0");
  return CheckSoftmaxProblem(problem, kRoles);
}

constexpr Kernel kKernels[] = {{.id = "tile", .check = CheckSoftmaxTile, .prepare = PrepareSoftmaxTile, .epilogue = epilogue::kSigmoid}};

Result<OwnedProblem> Example(const ExampleSpec& spec, const ParameterSet& parameters, Rng& rng) {
  ExampleSpec own = spec;
  own.with_lse = false;
  ASSAY_TRY(OwnedProblem owned, MakeSoftmaxExample("sigmoid_attention", own, rng));
  owned.problem.parameters = parameters.values();
  return owned;
}

}  // namespace
}  // namespace sigmoid_attention

namespace mechanisms {
constinit const Mechanism k_sigmoid_attention = {
    .id = "sigmoid_attention",
    .revision = 1,
    .title = "Sigmoid attention",
    .formula = "o_i = sum_j sigma(scale q_i.k_j - log n) v_j, without normalisation",
    .citation = "Ramapuram et al. 2024, arXiv 2409.04431",
    .summary = "no sum over keys ties them together, so partial results simply add; the bias carries what the denominator did",
    .parameters = sigmoid_attention::kParameters,
    .traits = {.state = StateKind::kGrowing, .normalised = false, .shift_invariant = false, .mergeable_by_lse = false},
    .availability = Availability::kPretrain,
    .check = sigmoid_attention::Check,
    .reference = sigmoid_attention::Reference<double>,
    .twin = sigmoid_attention::Reference<float>,
    .count = CountWork<sigmoid_attention::Reference<Counted>>,
    .kernels = sigmoid_attention::kKernels,
    .example = sigmoid_attention::Example,
    .cost = sigmoid_attention::Cost,
    .resident = sigmoid_attention::Resident,
    .projections = SoftmaxProjections,
};
}  // namespace mechanisms
}  // namespace assay
