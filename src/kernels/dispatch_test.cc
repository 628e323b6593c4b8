// The switch that forces a backend: heard by every plan that does not name one, and never ignored.
#include "kernels/dispatch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/matmul.h"
#include "kernels/recurrence_kernel.h"
#include "kernels/softmax_kernel.h"

namespace assay {
namespace {

class Environment {
 public:
  explicit Environment(const char* value) {
    if (const char* before = std::getenv("ASSAY_BACKEND"); before != nullptr) before_ = before, was_set_ = true;
    setenv("ASSAY_BACKEND", value, 1);
  }
  ~Environment() { was_set_ ? setenv("ASSAY_BACKEND", before_.c_str(), 1) : unsetenv("ASSAY_BACKEND"); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::string before_;
  bool was_set_ = false;
};

TEST(Dispatch, TheEnvironmentForcesEachBackendOfThisCpu) {
  Tensor memory(DType::kF32, {1, 1});
  const MatmulProblem problem{.a = memory.view(), .w = memory.view(), .w_scale = {}, .o = memory.view()};
  for (const Backend backend : AvailableBackends()) {
    const Environment forced(std::string(NameOf(backend)).c_str());
    ASSERT_TRUE(TableFor(Backend::kAuto).ok());
    EXPECT_EQ(TableFor(Backend::kAuto).value()->name, NameOf(backend));
    const auto plan = PrepareMatmul(problem, {});
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan.value()->target(), std::string(NameOf(backend)) + "/f32");
  }
}

// Run by continuous integration with each backend forced from outside (cmake/AssayKernels.cmake): the process's own environment, unchanged.
TEST(Dispatch, WhatTheProcessIsGivenRunsInEveryFamily) {
  const char* forced = std::getenv("ASSAY_BACKEND");
  const std::string name = forced == nullptr || *forced == '\0' || std::string(forced) == "auto" ? NameOf(AvailableBackends().back()).data() : forced;
  const auto has = [&](Backend backend) { return NameOf(backend) == name; };
  if (std::none_of(AvailableBackends().begin(), AvailableBackends().end(), has)) GTEST_SKIP() << "this CPU has no " << name;
  OwnedProblem p;
  for (const Role role : {Role::kQ, Role::kK, Role::kV, Role::kO}) p.Add(role, DType::kF32, {1, 3, 1, 16});
  p.problem.scale = 1;
  const KernelEnv env;
  const Kernel softmax{.id = "tile"}, recurrence{.id = "recurrence", .epilogue = recurrence::kDelta};
  const auto expect = [&](const Result<std::unique_ptr<Plan>>& plan) {
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    EXPECT_EQ(std::string(plan.value()->target()).substr(0, name.size() + 1), name + "/");
    plan.value()->Pack();
    plan.value()->Run();
  };
  expect(PrepareSoftmaxTile(p.problem, softmax, env));
  expect(PrepareRecurrenceStep(p.problem, recurrence, env));
  expect(PrepareRecurrenceChunk(p.problem, recurrence, env));
  const TensorView rows = TensorView::Contiguous(p.problem.Get(Role::kQ).data, DType::kF32, std::vector<int64_t>{3, 16});
  const TensorView products = TensorView::Contiguous(p.problem.Get(Role::kO).data, DType::kF32, std::vector<int64_t>{3, 3});
  expect(PrepareMatmul({.a = rows, .w = rows, .w_scale = {}, .o = products}, env));
}

TEST(Dispatch, NothingForcedIsTheFastest) {
  for (const char* nothing : {"", "auto"}) {
    const Environment none(nothing);
    EXPECT_EQ(TableFor(Backend::kAuto).value()->name, NameOf(AvailableBackends().back()));
  }
}

TEST(Dispatch, WhatACallerNamesBeatsTheEnvironment) {
  const Environment forced(std::string(NameOf(AvailableBackends().back())).c_str());
  EXPECT_EQ(TableFor(Backend::kGeneric).value()->name, NameOf(Backend::kGeneric));
}

TEST(Dispatch, AnUnknownBackendIsAnErrorThatNamesThoseThereAre) {
  const Environment forced("sse9");
  const auto table = TableFor(Backend::kAuto);
  ASSERT_FALSE(table.ok());
  EXPECT_NE(table.error().message.find("'sse9'"), std::string::npos);
  EXPECT_NE(table.error().message.find("generic"), std::string::npos);
}

}  // namespace
}  // namespace assay
