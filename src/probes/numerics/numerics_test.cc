// Each probe against a kernel that is right and against one with the defect planted that the probe exists for. The kernels here run the
// mechanism's fp32 twin with one thing changed before or after.
#include "probes/numerics/numerics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "probes/numerics/probe.h"
#include "store/metrics.h"

namespace assay {
namespace {

using numerics::Outcome;
using numerics::Probe;
using numerics::Subject;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// State that a planted defect may keep between calls.
int g_calls = 0;

template <void (*kBefore)(Problem&), void (*kAfter)(const Problem&)>
class PlantedPlan : public Plan {
 public:
  explicit PlantedPlan(Problem problem) : problem_(std::move(problem)) {}
  void Run() noexcept override {
    Problem changed = problem_;
    kBefore(changed);
    FindMechanism(problem_.mechanism).value()->twin(changed);
    kAfter(problem_);
    ++g_calls;
  }
  [[nodiscard]] std::string_view target() const override { return "test/twin"; }

 private:
  Problem problem_;
};

void Nothing(Problem&) {}
void NothingAfter(const Problem&) {}
Status Anything(const Problem&, const Kernel&) { return Ok(); }

template <void (*kBefore)(Problem&), void (*kAfter)(const Problem&) = NothingAfter>
constexpr Kernel Planted() {
  return {.id = "planted", .check = Anything, .prepare = [](const Problem& problem, const Kernel&, const KernelEnv&) -> Result<std::unique_ptr<Plan>> {
            return std::unique_ptr<Plan>(std::make_unique<PlantedPlan<kBefore, kAfter>>(problem));
          }};
}

TensorView& View(Problem& problem, Role role) {
  for (Argument& argument : problem.arguments) {
    if (argument.role == role) return argument.tensor;
  }
  ADD_FAILURE() << "a role that is not there";
  return problem.arguments[0].tensor;
}

bool AnyValue(const Problem& problem, Role role, bool (*is)(double)) {
  for (const double x : numerics::Values(problem, role)) {
    if (is(x)) return true;
  }
  return false;
}

void SpoilFirstOutput(const Problem& problem, double value) {
  const TensorView& o = problem.Get(Role::kO);
  if (o.count() > 0) StoreElement(o.data, o.dtype, 0, value);
}

// --- The defects ---

void MaskedRowIsMeanOfValues(const Problem& problem) {
  if (!problem.Has(Role::kMaskBool)) return;
  for (const double x : numerics::Values(problem, Role::kO)) {
    if (x == 0) return numerics::Fill(problem.Get(Role::kO), 0.1);
  }
}
void NanLeaksFromValues(const Problem& problem) {
  if (AnyValue(problem, problem.Has(Role::kV) ? Role::kV : Role::kK, [](double x) { return std::isnan(x); })) SpoilFirstOutput(problem, kNan);
}
void NanLeaksFromKeys(const Problem& problem) {
  if (AnyValue(problem, Role::kK, [](double x) { return std::isnan(x); })) SpoilFirstOutput(problem, kNan);
}
void FirstTileMaskedIsNan(const Problem& problem) {
  const TensorView* mask = problem.Find(Role::kMaskBool);
  if (mask == nullptr || mask->shape[3] < 64) return;
  for (int64_t j = 0; j < 64; ++j) {
    if (mask->At({0, 0, 0, j}) != 0) return;
  }
  SpoilFirstOutput(problem, kNan);
}
void TopLeft(Problem& problem) {
  if (problem.causal == Causal::kBottomRight) problem.causal = Causal::kTopLeft;
}
void WindowPlusOne(Problem& problem) {
  if (problem.window_left >= 0) ++problem.window_left;
}
void HeadsAreTiled(Problem& problem) {
  // Reads key head h mod Hkv: with 6 and 3 heads, the same as reading the heads in another order.
  const TensorView& v = problem.Get(Role::kV);
  if (v.shape[2] == 3) View(problem, Role::kV).stride[2] = 0;
}
void OverflowsAsFp16Would(const Problem& problem) {
  if (AnyValue(problem, Role::kK, [](double x) { return std::abs(x) > 20000; })) SpoilFirstOutput(problem, kNan);
}
void FirstSplitIsLost(Problem& problem) {
  if (problem.splits > 1 && View(problem, Role::kK).shape[0] > 8) problem.scale *= 0.9;
}
Tensor g_sink;
void SinkOncePerSplit(Problem& problem) {
  if (!problem.Has(Role::kSink) || problem.splits < 2) return;
  TensorView& sink = View(problem, Role::kSink);
  g_sink = Tensor(DType::kF64, {sink.shape[0]});
  for (int64_t h = 0; h < sink.shape[0]; ++h) g_sink.view().Set({h}, sink.At({h}) + std::log(problem.splits));
  sink = g_sink.view();
}
void DependsOnTheBatch(const Problem& problem) {
  const TensorView* cu = problem.Find(Role::kCuQ);
  if (cu == nullptr || cu->shape[0] < 3) return;
  const TensorView& o = problem.Get(Role::kO);
  o.as<float>()[0] = std::nextafter(o.as<float>()[0], 10.0F);
}
void PartialChunkIsWrong(const Problem& problem) {
  const TensorView& o = problem.Get(Role::kO);
  if (problem.chunk > 1 && o.shape[0] % problem.chunk == 1) StoreElement(o.data, o.dtype, static_cast<size_t>(o.count() - 1), 3);
}
void FactoredDecayOverflows(const Problem& problem) {
  if (problem.Has(Role::kLogDecay) && AnyValue(problem, Role::kLogDecay, [](double g) { return g < -5.9; })) SpoilFirstOutput(problem, kNan);
}
void InitialStateIsIgnored(Problem& problem) {
  std::erase_if(problem.arguments, [](const Argument& argument) { return argument.role == Role::kStateIn; });
}
void WritesIntoTheInitialState(const Problem& problem) {
  if (problem.Has(Role::kStateIn)) StoreElement(problem.Get(Role::kStateIn).data, problem.Get(Role::kStateIn).dtype, 0, 7);
}
void StridesAreIgnored(Problem& problem) {
  TensorView& v = View(problem, Role::kV);
  if (v.rank == 4 && v.stride[3] == 1 && v.stride[2] != 0 && v.stride[1] != v.shape[2] * v.shape[3]) v.stride[1] = std::min(v.stride[1], v.shape[2] * v.shape[3]);
}
void OddLastBlockIsDropped(Problem& problem) {
  TensorView& k = View(problem, Role::kK);
  if (k.rank == 3 && k.shape[0] % 64 == 1 && k.shape[0] > 64) problem.scale *= 1.5;
}
void OffsetsAre32Bits(Problem& problem) {
  for (Argument& argument : problem.arguments) {
    if (argument.tensor.rank == 4 && argument.tensor.stride[1] > (int64_t{1} << 28)) argument.tensor.stride[1] = 0;
  }
}
void SoftcapIsIgnored(Problem& problem) { problem.softcap = 0; }
void WritesBesideTheOutput(const Problem& problem) {
  if (g_calls > 0) return;  // the first call of this probe has canaries around its outputs
  const TensorView& o = problem.Get(Role::kO);
  o.as<float>()[o.count()] = 1;
}
void RemembersTheLastCall(const Problem& problem) {
  const TensorView& o = problem.Get(Role::kO);
  if (o.count() > 0) o.as<float>()[0] += static_cast<float>(g_calls) * 1e-6F;
}

struct Defect {
  const char* probe;
  const char* mechanism;
  const char* name;
  Kernel kernel;
};
const Defect kDefects[] = {
    {"T01", "gqa", "MaskedRowIsMeanOfValues", Planted<Nothing, MaskedRowIsMeanOfValues>()},
    {"T02", "gqa", "NanLeaksFromValues", Planted<Nothing, NanLeaksFromValues>()},
    {"T02", "mla", "NanLeaksFromLatentValues", Planted<Nothing, NanLeaksFromValues>()},
    {"T03", "gqa", "NanLeaksFromKeys", Planted<Nothing, NanLeaksFromKeys>()},
    {"T04", "gqa", "FirstTileMaskedIsNan", Planted<Nothing, FirstTileMaskedIsNan>()},
    {"T05", "gqa", "TopLeft", Planted<TopLeft>()},
    {"T06", "gqa", "WindowPlusOne", Planted<WindowPlusOne>()},
    {"T09", "gqa", "HeadsAreTiled", Planted<HeadsAreTiled>()},
    {"T10", "gqa", "OverflowsAsFp16Would", Planted<Nothing, OverflowsAsFp16Would>()},
    {"T11", "gqa", "FirstSplitIsLost", Planted<FirstSplitIsLost>()},
    {"T12", "gqa", "SinkOncePerSplit", Planted<SinkOncePerSplit>()},
    {"T15", "gqa", "DependsOnTheBatch", Planted<Nothing, DependsOnTheBatch>()},
    {"T20", "gated_delta_net", "PartialChunkIsWrong", Planted<Nothing, PartialChunkIsWrong>()},
    {"T21", "gated_delta_net", "FactoredDecayOverflows", Planted<Nothing, FactoredDecayOverflows>()},
    {"T22", "gated_delta_net", "InitialStateIsIgnored", Planted<InitialStateIsIgnored>()},
    {"T22", "gated_delta_net", "WritesIntoTheInitialState", Planted<Nothing, WritesIntoTheInitialState>()},
    {"T27", "gqa", "StridesAreIgnored", Planted<StridesAreIgnored>()},
    {"T28", "gqa", "OddLastBlockIsDropped", Planted<OddLastBlockIsDropped>()},
    {"T29", "gqa", "OffsetsAre32Bits", Planted<OffsetsAre32Bits>()},
    {"T30", "gqa", "SoftcapIsIgnored", Planted<SoftcapIsIgnored>()},
    {"T31", "gqa", "WritesBesideTheOutput", Planted<Nothing, WritesBesideTheOutput>()},
    {"T31", "gqa", "RemembersTheLastCall", Planted<Nothing, RemembersTheLastCall>()},
};

Subject SubjectOf(const char* mechanism_id, const Kernel& kernel) {
  const Mechanism* mechanism = *FindMechanism(mechanism_id);
  return {mechanism, &kernel, Backend::kGeneric, DType::kF32, numerics::SmallParameters(*mechanism), true, 1};
}

Outcome RunProbe(const char* id, const Subject& subject) {
  for (const Probe& probe : numerics::AllProbes()) {
    if (probe.id == id) {
      g_calls = 0;
      return probe.run(subject);
    }
  }
  ADD_FAILURE() << "no probe " << id;
  return {};
}

class PlantedDefect : public testing::TestWithParam<Defect> {};

TEST_P(PlantedDefect, IsCaughtByItsProbe) {
  const Defect& defect = GetParam();
  const Outcome outcome = RunProbe(defect.probe, SubjectOf(defect.mechanism, defect.kernel));
  if (outcome.not_applicable.find("address space") != std::string::npos) GTEST_SKIP() << outcome.not_applicable;
  EXPECT_EQ(outcome.not_applicable, "");
  EXPECT_FALSE(outcome.findings.empty());
  for (const ProbeFinding& finding : outcome.findings) EXPECT_FALSE(finding.title.empty() || finding.reproducer.empty());
}
INSTANTIATE_TEST_SUITE_P(Numerics, PlantedDefect, testing::ValuesIn(kDefects), [](const auto& param) { return std::string(param.param.probe) + param.param.name; });

TEST(Numerics, ARightKernelHasNoFindings) {
  static const Kernel kRight = Planted<Nothing>();
  for (const char* id : {"gqa", "mla", "gated_delta_net"}) {
    const ProbeReport report = ProbeKernel(**FindMechanism(id), kRight, Backend::kGeneric, DType::kF32, {.seed = 3});
    for (const ProbeFinding& finding : report.findings) ADD_FAILURE() << id << " " << finding.probe << ": " << finding.title << " (" << finding.reproducer << ")";
    EXPECT_GE(report.passed.size(), 8u) << id;
    EXPECT_EQ(report.passed.size() + report.not_applicable.size(), numerics::AllProbes().size());
    for (const ProbeSkip& skip : report.not_applicable) EXPECT_FALSE(skip.reason.empty()) << skip.probe;
  }
}

// Our own kernels, on the fastest backend: the audit prints what this test forbids.
TEST(Numerics, OurKernelsHaveNoFindings) {
  const NumericsReport report = RunNumerics({.seed = 1});
  EXPECT_FALSE(report.kernels.empty());
  for (const ProbeReport& kernel : report.kernels) {
    EXPECT_GE(kernel.passed.size(), 6u) << kernel.kernel;
    for (const ProbeFinding& finding : kernel.findings) ADD_FAILURE() << kernel.kernel << " " << finding.probe << ": " << finding.title << " (" << finding.reproducer << ")";
  }
  for (const ErrorGrowth& growth : report.growth) EXPECT_LT(growth.exponent.low, 1.0) << growth.kernel;
}

TEST(Numerics, MeasurementsNameTheirKernelAndProbe) {
  const NumericsReport report = RunNumerics({.mechanisms = {*FindMechanism("gqa")}, .seed = 1, .command = "assay audit"});
  ASSERT_FALSE(report.kernels.empty());
  ASSERT_FALSE(report.measurements.empty());
  for (Measurement row : report.measurements) {
    row.run_id = "r";  // as the runner names it
    EXPECT_EQ(row.subject.mechanism, "gqa");
    EXPECT_EQ(row.probe, "numerics");
    EXPECT_EQ(row.cell_key.size(), 32u);
    EXPECT_EQ(row.quantity.basis, Basis::kMeasured);
    EXPECT_TRUE(CheckMeasurement(row).ok()) << row.metric;
  }
}

TEST(Numerics, StopsBetweenProbes) {
  const NumericsReport report = RunNumerics({.stop = [] { return true; }});
  EXPECT_LE(report.kernels.size(), 1u);
}

}  // namespace
}  // namespace assay
