// The kernel under test and the truth it is held against.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>

#include "kernels/role_name.h"
#include "mechanisms/kernel_agreement.h"
#include "probes/numerics/probe.h"

namespace assay::numerics {
namespace {

constexpr Role kOutputs[] = {Role::kO, Role::kLse, Role::kWeights, Role::kScores, Role::kStateOut, Role::kConvOut};

bool IsOutput(Role role) { return std::find(std::begin(kOutputs), std::end(kOutputs), role) != std::end(kOutputs); }

// The same problem with outputs in memory of its own, in fp64.
struct Redirected {
  Problem problem;
  std::deque<Tensor> tensors;
};
Redirected WithOwnOutputs(const Problem& problem) {
  Redirected redirected{problem, {}};
  for (Argument& argument : redirected.problem.arguments) {
    if (!IsOutput(argument.role)) continue;
    const std::span<const int64_t> shape(argument.tensor.shape.data(), static_cast<size_t>(argument.tensor.rank));
    redirected.tensors.emplace_back(DType::kF64, shape);
    redirected.tensors.back().Poison();
    argument.tensor = redirected.tensors.back().view();
  }
  return redirected;
}

// sum_j p_j |v_j| of every output element: the reference over |V|. Values that are channels of K become a V of their own.
std::vector<double> Magnitudes(const Mechanism& mechanism, const Problem& problem, const std::vector<double>& truth) {
  if (!mechanism.traits.normalised && mechanism.traits.state == StateKind::kFixed) {
    // A recurrence erases what it wrote, so no sum of weights bounds it: rows are measured against the output's own size.
    double squares = 0;
    for (const double x : truth) squares += std::isfinite(x) ? x * x : 0;
    return std::vector<double>(truth.size(), truth.empty() ? 0 : std::sqrt(squares / static_cast<double>(truth.size())));
  }
  Redirected absolute = WithOwnOutputs(problem);
  const bool own_values = problem.Has(Role::kV);
  TensorView source = problem.Get(own_values ? Role::kV : Role::kK);
  if (!own_values) {
    const TensorView& o = problem.Get(Role::kO);
    source.shape[static_cast<size_t>(source.rank - 1)] = o.shape[static_cast<size_t>(o.rank - 1)];
  }
  absolute.tensors.emplace_back(DType::kF64, std::span<const int64_t>(source.shape.data(), static_cast<size_t>(source.rank)));
  const TensorView copy = absolute.tensors.back().view();
  ForEachElement(source, [&](std::span<const int64_t> index) {
    const int64_t from = source.Offset(index);
    const char* base = static_cast<const char*>(source.data) + (from < 0 ? from * (BitsOf(source.dtype) / 8) : 0);
    const double value = LoadElement(base, source.dtype, from < 0 ? 0 : static_cast<size_t>(from));
    copy.as<double>()[copy.Offset(index)] = std::abs(value);
  });
  bool replaced = false;
  for (Argument& argument : absolute.problem.arguments) {
    if (argument.role == Role::kV) {
      argument.tensor = copy;
      replaced = true;
    }
  }
  if (!replaced) absolute.problem.arguments.push_back({Role::kV, copy});
  if (!mechanism.check(absolute.problem).ok()) return std::vector<double>(truth.size(), 1.0);
  mechanism.reference(absolute.problem);
  return Values(absolute.problem, Role::kO);
}

// Rows of the last axis: the largest |got - truth| of a row over the row's largest magnitude.
struct RowErrors {
  double largest = 0;
  size_t at = 0;  // element
  bool poisoned = false;
};
RowErrors Compare(std::span<const double> got, std::span<const double> truth, std::span<const double> magnitude, size_t width) {
  RowErrors errors;
  for (size_t row = 0; width > 0 && row + width <= truth.size(); row += width) {
    double scale = 0;
    for (size_t c = 0; c < width; ++c) scale = std::max(scale, std::isfinite(magnitude[row + c]) ? std::abs(magnitude[row + c]) : 0);
    for (size_t c = row; c < row + width; ++c) {
      if (got[c] == truth[c] || (std::isnan(got[c]) && std::isnan(truth[c]))) continue;
      if (!std::isfinite(got[c]) || !std::isfinite(truth[c])) {
        if (!errors.poisoned) errors.at = c;
        errors.poisoned = true;
        errors.largest = std::numeric_limits<double>::infinity();
        continue;
      }
      const double difference = std::abs(got[c] - truth[c]);
      const double error = scale > 0 ? difference / scale : std::numeric_limits<double>::infinity();
      if (error > errors.largest && !errors.poisoned) {
        errors.largest = error;
        errors.at = c;
      }
    }
  }
  return errors;
}

std::string IndexText(const TensorView& view, size_t element) {
  std::string text;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    const auto extent = static_cast<size_t>(std::max<int64_t>(1, view.shape[static_cast<size_t>(axis)]));
    text = fmt::format("{}{}{}", element % extent, text.empty() ? "" : ", ", text);
    element /= extent;
  }
  return "[" + text + "]";
}

// What a kernel may be off by: a calibrated multiple of its fp32 twin, some rounding steps where the twin happens to be exact, and, with
// 16-bit operands, weights rounded to that type before they meet V.
double Allowed(double twin_error, DType dtype) {
  const double rounding = dtype == DType::kBf16 || dtype == DType::kF16 ? EpsilonOf(dtype) : 0;
  return kShuffleMargin * (std::isfinite(twin_error) ? twin_error : 0) + kFloorUlps * EpsilonOf(DType::kF32) + rounding;
}

}  // namespace

Rng Subject::Stream(std::string_view key) const {
  return Rng(DeriveSeed(seed, fmt::format("numerics/{}/{}/{}/{}", mechanism->id, kernel->id, NameOf(dtype), key)));
}

Result<OwnedProblem> Subject::Example(ExampleSpec spec, std::string_view key) const {
  spec.dtype = dtype;
  Rng rng = Stream(key);
  return mechanism->example(spec, parameters, rng);
}

Status Subject::Serves(const Problem& problem) const {
  ASSAY_RETURN_IF_ERROR(mechanism->check(problem));
  return kernel->check(problem, *kernel);
}

Result<std::string> Subject::Run(const Problem& problem, ThreadPool* pool) const {
  ASSAY_RETURN_IF_ERROR(Serves(problem));
  for (const Argument& argument : problem.arguments) {
    if (IsOutput(argument.role)) Fill(argument.tensor, std::numeric_limits<double>::quiet_NaN());
  }
  ASSAY_TRY(const std::unique_ptr<Plan> plan, kernel->prepare(problem, *kernel, {.pool = pool, .backend = backend}));
  plan->Pack();
  plan->Run();
  return std::string(plan->target());
}

ParameterSet SmallParameters(const Mechanism& mechanism) {
  std::vector<ParameterValue> named;
  for (const Parameter& parameter : mechanism.parameters) {
    if (!parameter.integer) continue;
    const bool width = parameter.name.ends_with("_rank") || parameter.name.ends_with("_dim");
    double value = parameter.default_value;
    if (width && value >= 64) value = std::floor(value / 16);
    // A window or a budget that no probe's length reaches would never be looked at.
    if (parameter.name.ends_with("_tokens") && value >= 256) value = 64;
    if (parameter.name.ends_with("_pages") && value >= 16) value = 4;
    if (value != parameter.default_value) named.push_back({std::string(parameter.name), std::max(parameter.low, value)});
  }
  return ParameterSet::Make(mechanism, {}, named).value();
}

void ForEachElement(const TensorView& view, const std::function<void(std::span<const int64_t> index)>& visit) {
  std::array<int64_t, kMaxRank> index{};
  const auto rank = static_cast<size_t>(view.rank);
  if (view.count() == 0) return;
  while (true) {
    visit(std::span<const int64_t>(index.data(), rank));
    size_t axis = rank;
    while (axis > 0 && ++index[axis - 1] == view.shape[axis - 1]) index[--axis] = 0;
    if (axis == 0) return;
  }
}

void Fill(const TensorView& view, double value) {
  ForEachElement(view, [&](std::span<const int64_t> index) {
    const int64_t offset = view.Offset(index);
    char* base = static_cast<char*>(view.data) + (offset < 0 ? offset * (BitsOf(view.dtype) / 8) : 0);
    StoreElement(base, view.dtype, offset < 0 ? 0 : static_cast<size_t>(offset), value);
  });
}

std::vector<double> Values(const Problem& problem, Role role) {
  std::vector<double> values;
  const TensorView* view = problem.Find(role);
  if (view == nullptr) return values;
  values.reserve(static_cast<size_t>(view->count()));
  ForEachElement(*view, [&](std::span<const int64_t> index) {
    const int64_t offset = view->Offset(index);
    const char* base = static_cast<const char*>(view->data) + (offset < 0 ? offset * (BitsOf(view->dtype) / 8) : 0);
    values.push_back(LoadElement(base, view->dtype, offset < 0 ? 0 : static_cast<size_t>(offset)));
  });
  return values;
}

int64_t MismatchCount(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) return static_cast<int64_t>(std::max(a.size(), b.size()));
  int64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += std::memcmp(&a[i], &b[i], sizeof(double)) != 0;
  return count;
}

void SetValue(const Problem& problem, int64_t sequence, int64_t key, int64_t head, int64_t channel, double value) {
  TokenRows(problem, problem.Has(Role::kV) ? Role::kV : Role::kK, sequence).Set(key, head, channel, value);
}

Result<Judgement> Judge(const Subject& subject, const Problem& problem, ThreadPool* pool) {
  ASSAY_TRY(std::string target, subject.Run(problem, pool));
  Judgement judgement = JudgeAnswer(*subject.mechanism, subject.dtype, problem);
  judgement.target = std::move(target);
  return judgement;
}

Judgement JudgeAnswer(const Mechanism& mechanism, DType dtype, const Problem& problem) {
  Judgement judgement;
  Redirected truth = WithOwnOutputs(problem);
  mechanism.reference(truth.problem);
  Redirected twin = WithOwnOutputs(problem);
  (mechanism.twin != nullptr ? mechanism.twin : mechanism.reference)(twin.problem);

  judgement.right = true;
  for (const Role role : {Role::kO, Role::kLse, Role::kStateOut}) {
    if (!problem.Has(role)) continue;
    const TensorView& view = problem.Get(role);
    const std::vector<double> expected = Values(truth.problem, role);
    const std::vector<double> got = Values(problem, role);
    // A log-sum-exp is a number of its own size; a state has no rows of weights.
    std::vector<double> magnitude = expected;
    size_t width = 1;
    if (role == Role::kO) {
      magnitude = Magnitudes(mechanism, problem, expected);
      width = static_cast<size_t>(view.shape[static_cast<size_t>(view.rank - 1)]);
    } else if (role == Role::kLse) {
      for (double& x : magnitude) x = std::max(1.0, std::abs(x));
    } else {
      width = expected.size();
    }
    const RowErrors error = Compare(got, expected, magnitude, width);
    const RowErrors twin_error = Compare(Values(twin.problem, role), expected, magnitude, width);
    const double allowed = Allowed(twin_error.largest, dtype);
    if (role == Role::kO) {
      judgement.row_error = error.largest;
      judgement.twin_error = twin_error.largest;
      judgement.allowed = allowed;
    }
    if (error.largest <= allowed) continue;
    if (judgement.right) {
      judgement.text = fmt::format("{}{} is {:.6g}, the truth is {:.6g}: error {:.2g}, allowed {:.2g} (fp32 twin {:.2g})", NameOf(role),
                                   IndexText(view, error.at), got[error.at], expected[error.at], error.largest, allowed, twin_error.largest);
    }
    judgement.right = false;
    judgement.poisoned = judgement.poisoned || error.poisoned;
  }
  return judgement;
}

Outcome Outcome::NotApplicable(std::string reason) {
  Outcome outcome;
  outcome.not_applicable = std::move(reason);
  return outcome;
}

void Outcome::Add(Severity severity, std::string title, std::string reproducer) {
  findings.push_back({.probe = {}, .severity = severity, .title = std::move(title), .resembles = {}, .reproducer = std::move(reproducer)});
}

void Outcome::Expect(const Subject& subject, const Problem& problem, const std::string& reproducer) {
  Result<Judgement> judgement = Judge(subject, problem);
  if (!judgement.ok()) {
    unserved = judgement.error().message;
    return;
  }
  ++served;
  if (!judgement->right) Add(judgement->poisoned ? Severity::kCritical : Severity::kMajor, judgement->text, reproducer);
  judgements.push_back(std::move(judgement).value());
}

}  // namespace assay::numerics
