#include "mechanisms/conformance.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "formats/conformance_case.h"
#include "mechanisms/kernel_agreement.h"
#include "mechanisms/plain_cases.h"

namespace assay {
namespace {

// Element `offset` of a view whose strides are free.
int64_t OffsetOf(const TensorView& view, int64_t flat) {
  int64_t offset = 0;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    const auto i = static_cast<size_t>(axis);
    offset += flat % view.shape[i] * view.stride[i];
    flat /= view.shape[i];
  }
  return offset;
}

double ToleranceOf(DType dtype) {
  switch (dtype) {
    case DType::kF64: return 1e-9;
    case DType::kF32: return 1e-6;
    case DType::kF16: return 1e-3;
    case DType::kBf16: return 8e-3;
    default: return 0;
  }
}

double RoundTo(DType dtype, double value) {
  double storage = 0;
  StoreElement(&storage, dtype, 0, value);
  return LoadElement(&storage, dtype, 0);
}

Status CompareOne(const formats::CaseTensor& expected, const TensorView& actual) {
  const TensorView& want = expected.tensor.view();
  const bool same_shape = want.rank == actual.rank && std::equal(want.shape.begin(), want.shape.begin() + want.rank, actual.shape.begin());
  if (!same_shape) return NotHeld(fmt::format("output '{}' is {}, expected {}", expected.name, ShapeString(actual), ShapeString(want)));
  const int64_t count = want.count();
  double largest = 1;
  for (int64_t i = 0; i < count; ++i) {
    const double value = LoadElement(want.data, want.dtype, static_cast<size_t>(OffsetOf(want, i)));
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  const double bound = IsFloat(want.dtype) ? ToleranceOf(want.dtype) * largest : 0;
  int64_t wrong = 0;
  double worst = 0;
  int64_t worst_at = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double e = LoadElement(want.data, want.dtype, static_cast<size_t>(OffsetOf(want, i)));
    const double a = RoundTo(want.dtype, LoadElement(actual.data, actual.dtype, static_cast<size_t>(OffsetOf(actual, i))));
    const bool agrees = std::isnan(e) ? std::isnan(a) : std::isinf(e) ? a == e : std::abs(a - e) <= bound;
    if (agrees) continue;
    const double error = std::isfinite(a - e) ? std::abs(a - e) : std::numeric_limits<double>::infinity();
    if (wrong++ == 0 || error > worst) {
      worst = error;
      worst_at = i;
    }
  }
  if (wrong == 0) return Ok();
  const double e = LoadElement(want.data, want.dtype, static_cast<size_t>(OffsetOf(want, worst_at)));
  const double a = LoadElement(actual.data, actual.dtype, static_cast<size_t>(OffsetOf(actual, worst_at)));
  return NotHeld(fmt::format("output '{}': {} of {} elements differ; worst at {}: {:.9g}, expected {:.9g} (allowed {:.2g})", expected.name, wrong, count, worst_at, a, e, bound));
}

// Reads in place: outputs that a reference forgets to write must not pass by luck.
void PoisonOutputs(const Problem& problem) {
  for (const Role role : {Role::kO, Role::kLse, Role::kWeights, Role::kStateOut, Role::kConvOut}) {
    const TensorView* view = problem.Find(role);
    if (view == nullptr) continue;
    for (int64_t i = 0; i < view->count(); ++i) StoreElement(view->data, view->dtype, static_cast<size_t>(OffsetOf(*view, i)), std::nan(""));
  }
}

Status RunTruth(const Mechanism& mechanism, const Problem& problem) {
  ASSAY_RETURN_IF_ERROR(mechanism.check(problem));
  PoisonOutputs(problem);
  mechanism.reference(problem);
  return Ok();
}

// Every kernel, backend, element type and split count that serves the problem. The first disagreement is kept; outputs stay the reference's,
// so that one call's rounding is never held against the next.
Status RunKernels(const Mechanism& mechanism, const Problem& problem, int* runs) {
  for (const Kernel& kernel : mechanism.kernels) {
    for (const Backend backend : AvailableBackends()) {
      for (const DType dtype : {DType::kF32, DType::kBf16}) {
        for (const int splits : {0, 3}) {
          if (splits > 0 && mechanism.traits.state == StateKind::kFixed) continue;
          Problem split = problem;
          split.splits = splits;
          ASSAY_TRY(const KernelRun run, CompareWithReference(mechanism, kernel, split, dtype, backend));
          if (run.served) ++*runs;
        }
      }
    }
  }
  return Ok();
}

struct AdapterResult {
  CaseOutcome outcome;
  std::string reason;
};

AdapterResult RunOne(const Mechanism* mechanism, const CaseAdapter& adapter, const ConformanceCase& conformance_case, int* kernel_runs) {
  Status kernels = Ok();
  const Attend attend = [&](Problem& problem) -> Status {
    ASSAY_CHECK(mechanism != nullptr, "an operator outside all mechanisms calls no mixer");
    ASSAY_RETURN_IF_ERROR(RunTruth(*mechanism, problem));
    if (kernels.ok()) kernels = RunKernels(*mechanism, problem, kernel_runs);
    return Ok();
  };
  const std::string who = mechanism != nullptr ? fmt::format("{} reference", mechanism->id) : std::string("reference");
  conformance_case.ForgetReads();
  const auto outputs = adapter.run(conformance_case, attend);
  if (!outputs.ok()) {
    const bool outside = outputs.error().kind == ErrorKind::kUnsupported;
    return {outside ? CaseOutcome::kSkipped : CaseOutcome::kFailed, outputs.error().message};
  }
  if (const auto misread = conformance_case.Misread(); !misread.empty()) {
    return {CaseOutcome::kFailed, fmt::format("{} has another type than operator {} gives it", fmt::join(misread, ", "), conformance_case.op)};
  }
  if (const auto unread = conformance_case.Unread(); !unread.empty()) {
    return {CaseOutcome::kSkipped, fmt::format("{} of operator {} is not understood here", fmt::join(unread, ", "), conformance_case.op)};
  }
  if (const Status same = CompareOutputs(conformance_case, *outputs); !same.ok()) {
    return {CaseOutcome::kFailed, fmt::format("{}: {}", who, same.error().message)};
  }
  if (!kernels.ok()) return {CaseOutcome::kFailed, fmt::format("{}: {}", mechanism->id, kernels.error().message)};
  return {CaseOutcome::kPassed, ""};
}

void Count(CaseTally* tally, CaseOutcome outcome) {
  if (outcome == CaseOutcome::kPassed) ++tally->passed;
  if (outcome == CaseOutcome::kFailed) ++tally->failed;
  if (outcome == CaseOutcome::kSkipped) ++tally->skipped;
}

}  // namespace

Status CompareOutputs(const ConformanceCase& conformance_case, const CaseOutputs& outputs) {
  for (const formats::CaseTensor& expected : conformance_case.outputs) {
    const auto found = std::find_if(outputs.outputs.begin(), outputs.outputs.end(), [&](const CaseOutput& output) { return output.name == expected.name; });
    if (found == outputs.outputs.end()) return NotHeld(fmt::format("output '{}' is not computed", expected.name));
    ASSAY_RETURN_IF_ERROR(CompareOne(expected, found->value.view()));
  }
  return Ok();
}

Result<CaseOutputs> RunReference(const Mechanism& mechanism, const CaseAdapter& adapter, const ConformanceCase& conformance_case,
                                 const std::function<void(Problem&)>& change) {
  return adapter.run(conformance_case, [&](Problem& problem) -> Status {
    if (change) change(problem);
    return RunTruth(mechanism, problem);
  });
}

CaseVerdict VerifyCase(const ConformanceCase& conformance_case) {
  CaseVerdict verdict = {.path = conformance_case.path, .name = conformance_case.name, .op = conformance_case.op};
  bool known = false;
  bool any_passed = false;
  const auto consider = [&](const Mechanism* mechanism, const CaseAdapter& adapter) {
    if (adapter.op != conformance_case.op || verdict.outcome == CaseOutcome::kFailed) return;
    known = true;
    const AdapterResult result = RunOne(mechanism, adapter, conformance_case, &verdict.kernel_runs);
    any_passed = any_passed || result.outcome == CaseOutcome::kPassed;
    if (result.outcome != CaseOutcome::kPassed) verdict.reason = result.reason;
    if (result.outcome == CaseOutcome::kFailed) verdict.outcome = CaseOutcome::kFailed;
  };
  for (const Mechanism* mechanism : AllMechanisms()) {
    for (const CaseAdapter& adapter : mechanism->cases) consider(mechanism, adapter);
  }
  for (const CaseAdapter& adapter : PlainCases()) consider(nullptr, adapter);
  if (!known) verdict.reason = fmt::format("no mechanism here serves operator {}", conformance_case.op);
  if (verdict.outcome != CaseOutcome::kFailed && any_passed) {
    verdict.outcome = CaseOutcome::kPassed;
    verdict.reason.clear();
  }
  return verdict;
}

Result<VerifyReport> VerifyCases(const std::string& directory, const VerifyOptions& options) {
  ASSAY_TRY(const std::vector<std::string> paths, formats::ListCaseFiles(directory));
  VerifyReport report;
  const auto keep = [&](CaseVerdict verdict) {
    Count(&report.total, verdict.outcome);
    Count(&report.ops[verdict.op], verdict.outcome);
    report.kernel_runs += verdict.kernel_runs;
    if (options.on_case) options.on_case(verdict);
    report.cases.push_back(std::move(verdict));
  };
  for (const std::string& path : paths) {
    const auto cases = formats::ReadCaseFile(path);
    if (!cases.ok()) {
      // With a filter, a file without a readable operator may or may not be meant; it is broken either way.
      const bool outside = cases.error().kind == ErrorKind::kUnsupported;
      keep({.outcome = outside ? CaseOutcome::kSkipped : CaseOutcome::kFailed, .path = path, .name = path, .op = "unreadable", .reason = cases.error().message});
      continue;
    }
    for (const formats::Case& item : *cases) {
      if (options.op.empty() || item.op == options.op) keep(VerifyCase(item));
    }
  }
  if (report.cases.empty()) return BadInput(fmt::format("{}: no case of operator '{}' below it", directory, options.op));
  return report;
}

}  // namespace assay
