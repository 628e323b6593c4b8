// The judge of kernels is judged: correct kernels in another order of sums pass, small planted defects do not, and every kernel in the
// registry agrees with its reference over storage forms, element types, and flat and peaked scores.
#include "mechanisms/kernel_agreement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace assay {
namespace {

const Mechanism& Gqa() { return **FindMechanism("gqa"); }

// A kernel that runs the fp32 twin on keys and channels in a random order: correct by construction, rounded differently.
class ShuffledPlan : public Plan {
 public:
  ShuffledPlan(const Problem& problem, uint64_t seed) : problem_(problem), rng_(seed) {}
  void Run() noexcept override {
    const Extents extents = ResolveExtents(problem_).value();
    const std::vector<int64_t> keys = Order(extents.key_tokens[0]);
    const std::vector<int64_t> channels = Order(extents.head_dim);
    Problem shuffled = problem_;
    std::vector<Tensor> keep;
    for (Argument& argument : shuffled.arguments) {
      if (argument.role != Role::kQ && argument.role != Role::kK && argument.role != Role::kV) continue;
      const TensorView from = argument.tensor;
      Tensor to(from.dtype, {from.shape[0], from.shape[1], from.shape[2]});
      for (int64_t t = 0; t < from.shape[0]; ++t) {
        for (int64_t h = 0; h < from.shape[1]; ++h) {
          for (int64_t c = 0; c < from.shape[2]; ++c) {
            const int64_t row = argument.role == Role::kQ ? t : keys[static_cast<size_t>(t)];
            const int64_t channel = argument.role == Role::kV ? c : channels[static_cast<size_t>(c)];
            to.view().Set({t, h, c}, from.At({row, h, channel}));
          }
        }
      }
      keep.push_back(std::move(to));
      argument.tensor = keep.back().view();
    }
    Gqa().twin(shuffled);
  }
  [[nodiscard]] std::string_view target() const override { return "shuffled/f32"; }

 private:
  std::vector<int64_t> Order(int64_t count) {
    std::vector<int64_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng_.Below(i)]);
    return order;
  }
  Problem problem_;
  Rng rng_;
};

uint64_t g_seed = 0;  // a Kernel is a pair of plain functions; the test sets what they see
double g_defect = 0;

Result<std::unique_ptr<Plan>> PrepareShuffled(const Problem& problem, const Kernel&, const KernelEnv&) {
  return std::unique_ptr<Plan>(std::make_unique<ShuffledPlan>(problem, g_seed));
}
Status Serves(const Problem&, const Kernel&) { return Ok(); }

OwnedProblem Example(const Mechanism& mechanism, const ExampleSpec& spec, uint64_t seed) {
  Rng rng(seed);
  auto owned = mechanism.example(spec, ParameterSet::Defaults(mechanism), rng);
  EXPECT_TRUE(owned.ok()) << owned.error().message;
  return std::move(owned).value();
}

TEST(KernelAgreement, ShuffledSumsRaiseNoAlarm) {
  const Kernel shuffled = {.id = "shuffled", .check = Serves, .prepare = PrepareShuffled};
  double worst = 0;
  for (g_seed = 0; g_seed < 1000; ++g_seed) {
    const auto keys = static_cast<int64_t>(1 + g_seed % 60);
    const double spread = g_seed % 3 == 0 ? 0.1 : g_seed % 3 == 1 ? 1 : 8;
    const OwnedProblem owned = Example(Gqa(), {.query_tokens = {2}, .key_tokens = {keys}, .query_heads = 2, .kv_heads = 1, .head_dim = 16, .causal = Causal::kNone, .logit_std = spread}, g_seed);
    const auto run = CompareWithReference(Gqa(), shuffled, owned.problem, DType::kF32, Backend::kGeneric);
    ASSERT_TRUE(run.ok()) << g_seed << ": " << run.error().message;
    worst = std::max(worst, run->worst_ratio);
  }
  // Neither an alarm nor a bound so wide that nothing could raise one.
  EXPECT_GT(worst, 0.05);
}

class DefectivePlan : public Plan {
 public:
  explicit DefectivePlan(const Problem& problem) : problem_(problem) {}
  void Run() noexcept override {
    Gqa().twin(problem_);
    const TensorView& o = problem_.Get(Role::kO);
    o.Set({0, 1, 3}, o.At({0, 1, 3}) + g_defect);
  }
  [[nodiscard]] std::string_view target() const override { return "defective/f32"; }

 private:
  Problem problem_;
};
Result<std::unique_ptr<Plan>> PrepareDefective(const Problem& problem, const Kernel&, const KernelEnv&) {
  return std::unique_ptr<Plan>(std::make_unique<DefectivePlan>(problem));
}

TEST(KernelAgreement, ADefectOfAFewRoundingsIsFoundAndNamed) {
  const Kernel defective = {.id = "defective", .check = Serves, .prepare = PrepareDefective};
  const OwnedProblem owned = Example(Gqa(), {.query_tokens = {2}, .key_tokens = {40}}, 1);
  g_defect = 0;
  EXPECT_TRUE(CompareWithReference(Gqa(), defective, owned.problem, DType::kF32, Backend::kGeneric).ok());
  for (const double defect : {1e-4, std::nan(""), std::numeric_limits<double>::infinity()}) {
    g_defect = defect;
    const auto run = CompareWithReference(Gqa(), defective, owned.problem, DType::kF32, Backend::kGeneric);
    ASSERT_FALSE(run.ok()) << defect;
    EXPECT_NE(run.error().message.find("O[0, 1, 3]"), std::string::npos) << run.error().message;
  }
}

TEST(KernelAgreement, EveryKernelAgreesWithItsReference) {
  using Storage = ExampleSpec::Storage;
  int runs = 0;
  for (const Mechanism* mechanism : AllMechanisms()) {
    if (mechanism->traits.state == StateKind::kFixed) continue;  // recurrences have tests of their own beside them
    for (const Storage storage : {Storage::kDense, Storage::kPacked, Storage::kPaged}) {
      for (const double spread : {0.1, 1.0, 8.0}) {
        for (const int64_t queries : {1, 5}) {
          const OwnedProblem owned = Example(*mechanism, {.query_tokens = {queries, queries}, .key_tokens = {queries, 133}, .storage = storage, .logit_std = spread}, 7);
          for (const Kernel& kernel : mechanism->kernels) {
            for (const Backend backend : AvailableBackends()) {
              for (const DType dtype : {DType::kF32, DType::kBf16}) {
                const auto run = CompareWithReference(*mechanism, kernel, owned.problem, dtype, backend);
                ASSERT_TRUE(run.ok()) << mechanism->id << ' ' << NameOf(backend) << ' ' << NameOf(dtype) << " storage " << static_cast<int>(storage) << " spread "
                                      << spread << ": " << run.error().message;
                runs += run->served ? 1 : 0;
              }
            }
          }
        }
      }
    }
  }
  EXPECT_GT(runs, 100);
}

}  // namespace
}  // namespace assay
