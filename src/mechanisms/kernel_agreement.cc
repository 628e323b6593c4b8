#include "mechanisms/kernel_agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "mechanisms/module_math.h"

namespace assay {
namespace {

using module_math::Array;

constexpr Role kOutputRoles[] = {Role::kO, Role::kLse, Role::kStateOut, Role::kConvOut};

bool IsOutput(Role role) {
  return role == Role::kWeights || role == Role::kScores || std::find(std::begin(kOutputRoles), std::end(kOutputRoles), role) != std::end(kOutputRoles);
}

Tensor Rounded(const TensorView& view, DType dtype) {
  const Array values = Array::From(view);
  Tensor tensor(dtype, values.shape());
  for (int64_t i = 0; i < values.count(); ++i) StoreElement(tensor.view().data, dtype, static_cast<size_t>(i), values.data()[i]);
  return tensor;
}

// The problem's inputs as the kernel gets them. Integers, masks and quantised caches stay as they are.
OwnedProblem RoundInputs(const Problem& problem, DType dtype) {
  OwnedProblem owned;
  owned.problem = problem;
  owned.problem.arguments.clear();
  for (const Argument& argument : problem.arguments) {
    if (IsOutput(argument.role)) continue;
    const bool is_row = argument.role == Role::kQ || argument.role == Role::kK || argument.role == Role::kV;
    const DType given = argument.tensor.dtype;
    const bool wide = given == DType::kF64 || given == DType::kF32 || given == DType::kF16 || given == DType::kBf16;
    if (wide) {
      owned.Adopt(argument.role, Rounded(argument.tensor, is_row ? dtype : DType::kF32));
    } else {
      owned.problem.arguments.push_back(argument);
    }
  }
  return owned;
}

// A problem on the same inputs with outputs of its own, poisoned.
OwnedProblem WithOutputs(const Problem& inputs, const Problem& original, DType dtype) {
  OwnedProblem owned;
  owned.problem = inputs;
  for (const Role role : kOutputRoles) {
    const TensorView* given = original.Find(role);
    if (given == nullptr) continue;
    Tensor out(dtype, std::span<const int64_t>(given->shape.data(), static_cast<size_t>(given->rank)));
    out.Poison();
    owned.Adopt(role, std::move(out));
  }
  return owned;
}

std::string_view NameOfRole(Role role) {
  switch (role) {
    case Role::kO: return "O";
    case Role::kLse: return "LSE";
    case Role::kStateOut: return "STATE_OUT";
    default: return "CONV_OUT";
  }
}

// What an output's errors are measured against, element by element: sum_j p_j |v_j| by running the reference on |V|, or the largest
// magnitude of the output where the mechanism is not a weighted sum of V rows (states, absorbed values).
Array Magnitude(const Mechanism& mechanism, const Problem& inputs, const Problem& original, Role role, const Array& truth) {
  const bool weighted_sum = role == Role::kO && inputs.Has(Role::kV) && mechanism.traits.state != StateKind::kFixed &&
                            inputs.v_scale == ScaleGranularity::kNone;
  if (!weighted_sum) {
    double largest = 0;
    for (int64_t i = 0; i < truth.count(); ++i) {
      if (std::isfinite(truth.data()[i])) largest = std::max(largest, std::abs(truth.data()[i]));
    }
    Array magnitude(truth.shape());
    std::fill(magnitude.data(), magnitude.data() + magnitude.count(), role == Role::kLse ? std::max(largest, 1.0) : largest);
    return magnitude;
  }
  OwnedProblem absolute = WithOutputs(inputs, original, DType::kF64);
  Array v = Array::From(inputs.Get(Role::kV));
  for (int64_t i = 0; i < v.count(); ++i) v.data()[i] = std::abs(v.data()[i]);
  for (Argument& argument : absolute.problem.arguments) {
    if (argument.role == Role::kV) {
      absolute.tensors.push_back(v.ToTensor());
      argument.tensor = absolute.tensors.back().view();
    }
  }
  mechanism.reference(absolute.problem);
  return Array::From(absolute.problem.Get(Role::kO));
}

// Largest |twin - truth| / magnitude over an output: the relative error that fp32 arithmetic brings here.
double RelativeError(const Array& twin, const Array& truth, const Array& magnitude) {
  double worst = 0;
  for (int64_t i = 0; i < truth.count(); ++i) {
    const double error = std::abs(twin.data()[i] - truth.data()[i]);
    if (std::isfinite(error) && magnitude.data()[i] > 0) worst = std::max(worst, error / magnitude.data()[i]);
  }
  return worst;
}

bool SamePlace(double actual, double expected) { return std::isnan(expected) ? std::isnan(actual) : actual == expected; }

std::string IndexString(int64_t flat, const std::vector<int64_t>& shape) {
  std::string text = "]";
  for (size_t axis = shape.size(); axis-- > 0;) {
    text = fmt::format("{}{}{}", axis > 0 ? ", " : "[", flat % shape[axis], text);
    flat /= shape[axis];
  }
  return shape.empty() ? "[]" : text;
}

Status CompareOutput(Role role, const Array& actual, const Array& truth, const Array& twin, const Array& magnitude, bool rounds_weights, double* worst_ratio) {
  // Weights rounded to bf16 before they meet V err by 2^-9 each, and the fast exp2 that goes with them by less than that again.
  const double rounding = rounds_weights ? EpsilonOf(DType::kBf16) : 0;
  const double epsilon = EpsilonOf(DType::kF32);
  const double relative = kShuffleMargin * RelativeError(twin, truth, magnitude) + kFloorUlps * epsilon + rounding;
  for (int64_t i = 0; i < truth.count(); ++i) {
    const double got = actual.data()[i];
    const double want = truth.data()[i];
    const double bound = relative * magnitude.data()[i] + epsilon * std::abs(want);
    const double error = std::abs(got - want);
    const bool finite = std::isfinite(want);
    if (finite && error <= bound) {
      if (bound > 0) *worst_ratio = std::max(*worst_ratio, error / bound);
      continue;
    }
    if (!finite && SamePlace(got, want)) continue;
    return NotHeld(fmt::format("{}{} is {:.9g}, the reference {:.9g}; the derived bound is {:.3g}", NameOfRole(role), IndexString(i, truth.shape()), got, want, bound));
  }
  return Ok();
}

}  // namespace

Result<KernelRun> CompareWithReference(const Mechanism& mechanism, const Kernel& kernel, const Problem& problem, DType dtype, Backend backend) {
  KernelRun run;
  const OwnedProblem inputs = RoundInputs(problem, dtype);
  const OwnedProblem computed = WithOutputs(inputs.problem, problem, DType::kF32);
  if (!kernel.check(computed.problem, kernel).ok()) return run;
  const KernelEnv env = {.pool = nullptr, .backend = backend};
  auto plan = kernel.prepare(computed.problem, kernel, env);
  if (!plan.ok()) return std::move(plan).TakeError().In(fmt::format("kernel {} accepted a problem it cannot prepare", kernel.id));
  (*plan)->Pack();
  (*plan)->Run();
  run.served = true;
  run.target = (*plan)->target();

  // A kernel says in its target that weights meet V in bf16.
  const bool rounds_weights = run.target.find("p16") != std::string::npos;
  const OwnedProblem truth = WithOutputs(inputs.problem, problem, DType::kF64);
  const OwnedProblem twin = WithOutputs(inputs.problem, problem, DType::kF64);
  mechanism.reference(truth.problem);
  mechanism.twin(twin.problem);
  for (const Role role : kOutputRoles) {
    if (!truth.problem.Has(role)) continue;
    const Array expected = Array::From(truth.problem.Get(role));
    const Array magnitude = Magnitude(mechanism, inputs.problem, problem, role, expected);
    const Status agrees = CompareOutput(role, Array::From(computed.problem.Get(role)), expected, Array::From(twin.problem.Get(role)), magnitude, rounds_weights, &run.worst_ratio);
    if (!agrees.ok()) return Error(agrees.error()).In(fmt::format("kernel {} ({})", kernel.id, run.target));
  }
  return run;
}

}  // namespace assay
