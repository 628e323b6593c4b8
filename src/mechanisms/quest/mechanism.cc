// Quest: the descriptor.
#include <fmt/format.h>

#include "kernels/page_select.h"
#include "kernels/softmax_kernel.h"
#include "mechanisms/quest/quest.h"
#include "mechanisms/quest/reference.h"
#include "mechanisms/softmax_problem.h"

namespace assay {
namespace mechanisms {
extern const Mechanism k_quest;
}

namespace quest {
namespace {

using enum Parameter::Reported;

constexpr Parameter kParameters[] = {
    {.name = "page_tokens", .default_value = kDefaultPageTokens, .low = 1, .high = 4096, .meaning = "tokens that share one pair of bounds"},
    {.name = "budget_pages", .default_value = kDefaultBudgetPages, .low = 1, .high = 1e7, .meaning = "pages a decoding token reads, forced ones included"},
    {.name = "first_pages", .default_value = kDefaultFirstPages, .low = 0, .high = 1e6, .meaning = "pages from the start that are always read", .reported = kSeldom},
    {.name = "last_pages", .default_value = kDefaultLastPages, .low = 1, .high = 1e6, .meaning = "pages at the end that are always read", .reported = kSeldom},
};

constexpr FeatureRisk kRisks[] = {
    {.feature = "engine_support",
     .what = "a study of 20 models that found decoding robust to sparsity also found it rarely adopted in inference engines",
     .date = "2026-05-22",
     .url = "https://arxiv.org/html/2605.24168"},
};

// What a page bound could not stand for is not read: masks, positions, biases and sinks.
constexpr Role kRoles[] = {Role::kQ,      Role::kK,      Role::kV,   Role::kO,   Role::kLse,  Role::kWeights,
                           Role::kKScale, Role::kVScale, Role::kCuQ, Role::kCuK, Role::kLenK, Role::kPageTable};

Status Check(const Problem& problem) {
  ASSAY_RETURN_IF_ERROR(CheckParameters(problem, mechanisms::k_quest));
  ASSAY_RETURN_IF_ERROR(CheckSoftmaxProblem(problem, kRoles));
  if (problem.softcap != 0 || problem.window_left >= 0 || problem.window_right >= 0) return Unsupported("quest: no softcap and no window beside page selection");
  const Pages pages = PagesOf(problem);
  if (pages.first + pages.last > pages.budget) {
    return BadInput(fmt::format("quest: {} first and {} last pages do not fit into a budget of {}", pages.first, pages.last, pages.budget));
  }
  return Ok();
}

// The kernel's pages are the cache's own, 64 tokens, and the newest is always read.
PageSelection SelectionOf(const Problem& problem) { return {.page_budget = PagesOf(problem).budget, .newest_always = true}; }

Status CheckSelectedPages(const Problem& problem, const Kernel& self) {
  if (problem.phase != Phase::kDecode) return Unsupported("pages are selected in decode; prefill is dense");
  const Pages pages = PagesOf(problem);
  if (pages.page_tokens != kKvPageTokens || pages.first != 0 || pages.last != 1) {
    return Unsupported(fmt::format("the page-selecting kernel has pages of {} tokens and always reads the newest alone", kKvPageTokens));
  }
  return CheckSoftmaxPages(problem, self, SelectionOf(problem));
}

Result<std::unique_ptr<Plan>> PrepareSelectedPages(const Problem& problem, const Kernel& self, const KernelEnv& env) {
  return PrepareSoftmaxPages(problem, self, env, SelectionOf(problem));
}

Status CheckDensePrefill(const Problem& problem, const Kernel& self) {
  if (problem.phase == Phase::kDecode) return Unsupported("the tile kernel reads every page");
  return CheckSoftmaxTile(problem, self);
}

constexpr Kernel kKernels[] = {
    {.id = "selected_pages", .check = CheckSelectedPages, .prepare = PrepareSelectedPages, .epilogue = epilogue::kIdentity},
    {.id = "tile", .check = CheckDensePrefill, .prepare = PrepareSoftmaxTile, .epilogue = epilogue::kIdentity},
};

Result<OwnedProblem> Example(const ExampleSpec& spec, const ParameterSet& parameters, Rng& rng) {
  ASSAY_TRY(OwnedProblem owned, MakeSoftmaxExample("quest", spec, rng));
  owned.problem.parameters = parameters.values();
  return owned;
}

}  // namespace

Pages PagesOf(const Problem& problem) {
  const auto parameter = [&](std::string_view name, double otherwise) { return static_cast<int64_t>(problem.Parameter(name, otherwise)); };
  return {.page_tokens = parameter("page_tokens", kDefaultPageTokens),
          .budget = parameter("budget_pages", kDefaultBudgetPages),
          .first = parameter("first_pages", kDefaultFirstPages),
          .last = parameter("last_pages", kDefaultLastPages)};
}

}  // namespace quest

namespace mechanisms {
constinit const Mechanism k_quest = {
    .id = "quest",
    .revision = 1,
    .title = "Quest",
    .formula = "softmax attention over the pages with the largest sum_c max(q_c min_c, q_c max_c), an upper bound of their scores",
    .citation = "Tang et al. 2024, arXiv 2406.10774",
    .summary = "a decoding token reads few pages of a cache that stays whole: traffic falls, memory does not",
    .parameters = quest::kParameters,
    .traits = {.state = StateKind::kSelected, .shift_invariant = false, .key_permutable = false},
    .availability = Availability::kDropIn,
    .risks = quest::kRisks,
    .check = quest::Check,
    .reference = quest::Reference<double>,
    .twin = quest::Reference<float>,
    .count = CountWork<quest::Reference<Counted>>,
    .kernels = quest::kKernels,
    .example = quest::Example,
    .cost = quest::Cost,
    .resident = quest::Resident,
    .projections = SoftmaxProjections,
};
}  // namespace mechanisms
}  // namespace assay
