// The switch that forces a backend: heard by every plan that does not name one, and never ignored.
#include "kernels/dispatch.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "kernels/matmul.h"

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
