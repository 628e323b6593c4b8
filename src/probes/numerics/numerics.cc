// Runs the probes over kernels, and turns what they say into findings and measurements.
#include "probes/numerics/numerics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "probes/numerics/error_growth.h"
#include "probes/numerics/probe.h"

namespace assay {
namespace numerics {

std::vector<Probe> AllProbes() {
  std::vector<Probe> all;
  for (const std::span<const Probe> group : {MaskProbes(), SoftmaxProbes(), InvarianceProbes(), RecurrentProbes(), MemoryProbes()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  std::sort(all.begin(), all.end(), [](const Probe& a, const Probe& b) { return a.id < b.id; });
  return all;
}

namespace {

// What one kernel's probes add up to.
struct KernelResult {
  ProbeReport report;
  std::string target;
  double row_error = 0;
  double error_over_twin = 0;
  std::vector<std::pair<std::string, int64_t>> bitwise;  // probe, values that differ in bits
  bool served = false;
  bool stopped = false;
};

std::string SubjectName(const Subject& subject, const std::string& target) {
  return fmt::format("{}/{} {}, {} operands", subject.mechanism->id, subject.kernel->id, target.empty() ? NameOf(subject.backend) : std::string_view(target), NameOf(subject.dtype));
}

constexpr std::string_view kOrdinaryCalls = "T28";

using ProbeDone = std::function<bool()>;  // false: stop

KernelResult RunProbes(const Subject& subject, const ProbeDone& done) {
  KernelResult result;
  for (const Probe& probe : AllProbes()) {
    Outcome outcome = probe.run(subject);
    const std::string id(probe.id);
    for (const Judgement& judgement : outcome.judgements) {
      result.target = judgement.target;
      if (!std::isfinite(judgement.row_error)) continue;
      // Ordinary calls only: T10 and its like are ill-conditioned on purpose, for the truth's own fp32 twin too.
      if (id == kOrdinaryCalls) result.row_error = std::max(result.row_error, judgement.row_error);
      // Where the twin happens to be exact to the last bit a quotient says nothing.
      if (judgement.twin_error > EpsilonOf(DType::kF32)) result.error_over_twin = std::max(result.error_over_twin, judgement.row_error / judgement.twin_error);
    }
    if (!outcome.not_applicable.empty()) {
      result.report.not_applicable.push_back({id, outcome.not_applicable});
    } else {
      result.served = true;
      if (id == "T11" || id == "T15") result.bitwise.emplace_back(id, outcome.bitwise_mismatches);
      if (outcome.findings.empty()) result.report.passed.push_back(id);
      for (ProbeFinding& finding : outcome.findings) {
        finding.probe = id;
        finding.resembles = probe.resembles;
        result.report.findings.push_back(std::move(finding));
      }
    }
    if (done && !done()) {
      result.stopped = true;
      break;
    }
  }
  result.report.kernel = SubjectName(subject, result.target);
  return result;
}

// The rows of one kernel. A probe's row is 1 or 0; probes that do not apply have none.
void AddMeasurements(const Subject& subject, const KernelResult& result, const NumericsOptions& options, std::vector<Measurement>* rows) {
  Measurement base;
  base.subject = {.mechanism = std::string(subject.mechanism->id),
                  .parameters = subject.parameters.Canonical(),
                  .implementation = "assay/" + result.target,
                  .revision = subject.mechanism->revision};
  base.probe = "numerics";
  base.command = options.command;
  base.machine = options.machine;
  base.seed = options.seed;
  base.sample_count = 1;
  const auto add = [&](std::string_view metric, std::string_view unit, double value, std::string_view probe, std::string origin) {
    Measurement row = base;
    row.metric = metric;
    row.factors = {{"dtype", std::string(NameOf(subject.dtype))}, {"kernel", std::string(subject.kernel->id)}};
    if (!probe.empty()) row.factors.push_back({"probe", std::string(probe)});
    row.cell_key = CellKey(row.subject, row.factors, row.machine);
    row.quantity = {.value = value, .low = value, .high = value, .unit = std::string(unit), .basis = Basis::kMeasured, .origin = std::move(origin)};
    rows->push_back(std::move(row));
  };
  for (const std::string& probe : result.report.passed) add("probe_passed", "bool", 1, probe, "the torture suite's " + probe);
  std::string last;
  for (const ProbeFinding& finding : result.report.findings) {
    if (finding.probe == last) continue;
    last = finding.probe;
    add("probe_passed", "bool", 0, finding.probe, finding.title);
  }
  for (const auto& [probe, mismatches] : result.bitwise) {
    add("bitwise_mismatch_count", "values", static_cast<double>(mismatches), probe, probe == "T11" ? "values that change with the number of splits" : "values that change with the batch or with threads");
  }
  add("row_error", "ratio", result.row_error, "", "largest error of an output row over sum_j p_j |v_j|, over the length residues of T28");
  if (result.error_over_twin > 0) add("error_vs_twin", "ratio", result.error_over_twin, "", "largest row error over that of the fp32 reference on the same call");
}

void AddGrowth(const Subject& subject, const ErrorGrowth& growth, const std::string& target, const NumericsOptions& options, std::vector<Measurement>* rows) {
  Measurement row;
  row.subject = {.mechanism = growth.mechanism, .parameters = subject.parameters.Canonical(), .implementation = "assay/" + target, .revision = subject.mechanism->revision};
  row.factors = {{"dtype", std::string(NameOf(subject.dtype))}, {"kernel", std::string(subject.kernel->id)}};
  row.probe = "numerics";
  row.metric = "error_growth_exponent";
  row.quantity = {.value = growth.exponent.estimate, .low = growth.exponent.low, .high = growth.exponent.high, .unit = "exponent", .basis = Basis::kMeasured,
                  .origin = "slope of log row error over log keys, with Student's interval"};
  row.sample_count = static_cast<int64_t>(growth.lengths.size());
  row.command = options.command;
  row.machine = options.machine;
  row.seed = options.seed;
  row.cell_key = CellKey(row.subject, row.factors, row.machine);
  rows->push_back(std::move(row));
}

// Does the kernel take this mechanism's most ordinary call?
bool ServesSomething(const Subject& subject) {
  const Result<OwnedProblem> owned = subject.Example({.query_tokens = {subject.Rows(3)}, .key_tokens = {3}}, "serves");
  return owned.ok() && subject.Serves(owned->problem).ok();
}

// Values of a parameter that a kernel may be for: the given one, the ends of a switch, the page of this lab's caches.
std::vector<double> Choices(const Parameter& parameter, double given) {
  std::vector<double> choices = {given};
  for (const double value : {parameter.low, 1.0, 64.0}) {
    const bool possible = parameter.integer && value >= parameter.low && value <= parameter.high;
    if (possible && std::find(choices.begin(), choices.end(), value) == choices.end()) choices.push_back(value);
  }
  return choices;
}

// A kernel may be for one setting of a mechanism's parameters only (a recurrence that erases, or one that does not; pages of 64 tokens), or
// for decode only: the first setting that it serves is probed. One parameter is changed at a time, then all of a short list together.
void ChooseSetting(Subject* subject) {
  if (ServesSomething(*subject)) return;
  const ParameterSet given = subject->parameters;
  const std::span<const Parameter> parameters = subject->mechanism->parameters;
  const auto serves = [&](std::vector<ParameterValue> named) {
    Result<ParameterSet> set = ParameterSet::Make(*subject->mechanism, {}, named);
    if (!set.ok()) return false;
    subject->parameters = std::move(set).value();
    return ServesSomething(*subject);
  };
  for (const bool decode_only : {false, true}) {
    subject->decode_only = decode_only;
    if (serves(given.values())) return;
    for (size_t i = 0; i < parameters.size(); ++i) {
      for (const double value : Choices(parameters[i], given.values()[i].value)) {
        std::vector<ParameterValue> named = given.values();
        named[i].value = value;
        if (serves(named)) return;
      }
    }
    constexpr size_t kShortList = 4;
    if (parameters.size() > kShortList) continue;
    std::vector<std::vector<double>> choices;
    size_t combinations = 1;
    for (size_t i = 0; i < parameters.size(); ++i) {
      choices.push_back(Choices(parameters[i], given.values()[i].value));
      combinations *= choices.back().size();
    }
    for (size_t combination = 0; combination < combinations; ++combination) {
      std::vector<ParameterValue> named = given.values();
      size_t rest = combination;
      for (size_t i = 0; i < named.size(); ++i) {
        named[i].value = choices[i][rest % choices[i].size()];
        rest /= choices[i].size();
      }
      if (serves(named)) return;
    }
  }
  subject->parameters = given;
  subject->decode_only = false;
}

std::vector<Subject> SubjectsOf(const NumericsOptions& options) {
  std::vector<const Mechanism*> mechanisms = options.mechanisms;
  if (mechanisms.empty()) mechanisms.assign(AllMechanisms().begin(), AllMechanisms().end());
  const std::span<const Backend> available = AvailableBackends();
  std::vector<Subject> subjects;
  for (const Mechanism* mechanism : mechanisms) {
    for (const Kernel& kernel : mechanism->kernels) {
      for (const Backend backend : available) {
        if (options.quick && backend != available.back()) continue;
        for (const DType dtype : {DType::kF32, DType::kBf16}) {
          subjects.push_back({mechanism, &kernel, backend, dtype, SmallParameters(*mechanism), options.quick, options.seed});
          ChooseSetting(&subjects.back());
        }
      }
    }
  }
  return subjects;
}

}  // namespace
}  // namespace numerics

int NumericsReport::finding_count() const {
  int count = 0;
  for (const ProbeReport& report : kernels) count += static_cast<int>(report.findings.size());
  return count;
}

ProbeReport ProbeKernel(const Mechanism& mechanism, const Kernel& kernel, Backend backend, DType dtype, const NumericsOptions& options) {
  numerics::Subject subject{&mechanism, &kernel, backend, dtype, numerics::SmallParameters(mechanism), options.quick, options.seed};
  numerics::ChooseSetting(&subject);
  return numerics::RunProbes(subject, {}).report;
}

NumericsReport RunNumerics(const NumericsOptions& options) {
  NumericsReport report;
  const std::vector<numerics::Subject> subjects = numerics::SubjectsOf(options);
  for (const numerics::Subject& subject : subjects) {
    numerics::KernelResult result = numerics::RunProbes(subject, [&] { return !options.stop || !options.stop(); });
    report.stopped = report.stopped || result.stopped;
    // A kernel that serves nothing of this element type is not a subject.
    if (!result.served) continue;
    numerics::AddMeasurements(subject, result, options, &report.measurements);
    if (!report.stopped) {
      if (std::optional<ErrorGrowth> growth = numerics::MeasureGrowth(subject)) {
        growth->kernel = result.report.kernel;
        numerics::AddGrowth(subject, *growth, result.target, options, &report.measurements);
        report.growth.push_back(std::move(*growth));
      }
    }
    report.kernels.push_back(std::move(result.report));
    if (report.stopped) break;
  }
  return report;
}

}  // namespace assay
