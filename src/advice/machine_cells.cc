// The cells of an audit that are measured on this machine: kernels beside its ceilings at the use case's own shapes, and numerics at the edges.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "advice/audit_cells.h"
#include "probes/cost/cost.h"
#include "probes/numerics/numerics.h"

namespace assay {
namespace {

// Shapes are capped: a CPU round at a longer context would eat the audit's minute, and ratios of bytes and FLOPs need no more.
constexpr int64_t kLongestPrefill = 2048;
constexpr int64_t kLongestDecode = 16384;

std::vector<const Mechanism*> MechanismsOf(const AuditSetting& setting) {
  std::vector<const Mechanism*> mechanisms;
  for (const CandidatePlan& plan : setting.plans) {
    for (const LayerGroup& group : plan.groups) {
      for (const Mechanism* mechanism : {group.mechanism, group.read_mechanism}) {
        if (mechanism != nullptr && std::find(mechanisms.begin(), mechanisms.end(), mechanism) == mechanisms.end()) mechanisms.push_back(mechanism);
      }
    }
  }
  return mechanisms;
}

// What is measured: every distinct mechanism with its parameters and heads, the baseline's first group first.
struct CostSubjects {
  std::vector<CostSubject> all;
  std::map<std::string, int> sets;  // how many of a mechanism

  void Add(const Mechanism* mechanism, const ParameterSet& parameters, const LayerShape& shape) {
    if (mechanism == nullptr) return;
    const bool known = std::any_of(all.begin(), all.end(), [&](const CostSubject& subject) {
      return subject.mechanism == mechanism && subject.parameters.Canonical() == parameters.Canonical() && subject.shape->kv_heads == shape.kv_heads;
    });
    if (known) return;
    all.push_back({.mechanism = mechanism, .parameters = parameters, .shape = shape});
    ++sets[std::string(mechanism->id)];
  }
};

CostSubjects SubjectsOf(const AuditSetting& setting) {
  CostSubjects subjects;
  for (const CandidatePlan& plan : setting.plans) {
    for (const LayerGroup& group : plan.groups) {
      subjects.Add(group.mechanism, group.parameters, group.shape);
      subjects.Add(group.read_mechanism, group.read_parameters, group.shape);
    }
  }
  return subjects;
}

// Where a mechanism is measured with several sets of parameters, they are part of the name.
std::string ScopeOfCost(const Measurement& row, const CostSubjects& subjects) {
  std::map<std::string, std::string> factors;
  for (const Factor& factor : row.factors) factors[factor.name] = factor.value;
  std::string scope = "cpu." + row.subject.mechanism;
  for (const auto& [name, value] : factors) scope += "." + value;
  if (const auto sets = subjects.sets.find(row.subject.mechanism); sets != subjects.sets.end() && sets->second > 1) {
    std::string parameters = row.subject.parameters;
    std::replace(parameters.begin(), parameters.end(), '=', '-');
    std::replace(parameters.begin(), parameters.end(), ',', '.');
    scope += "." + parameters;
  }
  return scope;
}

// One shape: a prefill of so many tokens, or a decode behind so many.
struct KernelShape {
  Phase phase;
  int64_t tokens;
};

// The use case's own shapes, a cell each: a stop loses at most one of them.
std::vector<KernelShape> KernelShapes(const AuditSetting& setting) {
  const serving::TrafficShape shape = ShapeOf(setting.traffic);
  const auto tokens = [](double wanted, int64_t longest) { return std::clamp<int64_t>(std::llround(wanted), 64, longest); };
  std::vector<KernelShape> shapes = {{Phase::kPrefill, tokens(shape.prompt_p50, kLongestPrefill)}, {Phase::kDecode, tokens(shape.decode_context_p50, kLongestDecode)}};
  const int64_t far = tokens(shape.decode_context_p95, kLongestDecode);
  if (far != shapes[1].tokens) shapes.push_back({Phase::kDecode, far});
  return shapes;
}

Result<std::vector<Measurement>> MeasureKernels(const AuditSetting& setting, KernelShape shape, double seconds) {
  CostOptions options;
  const CostSubjects subjects = SubjectsOf(setting);
  options.subjects = subjects.all;
  options.family_share = 1.0 / static_cast<double>(KernelShapes(setting).size());
  options.shape = setting.plans[0].groups[0].shape;
  (shape.phase == Phase::kPrefill ? options.prefill_tokens : options.decode_contexts) = {shape.tokens};
  options.budget_s = seconds;
  options.seed = setting.seed;
  options.command = setting.command;
  options.stop = [] { return StopRequested(); };
  ASSAY_TRY(CostReport report, RunCost(options));
  if (report.stopped) return EnvironmentError("stopped before the kernels were measured");
  for (const std::string& artifact : report.artifacts) ASSAY_RETURN_IF_ERROR(setting.store->PutArtifact(artifact, "application/json"));
  for (Measurement& row : report.measurements) {
    row.factors.push_back({"scope", ScopeOfCost(row, subjects)});
    row.cell_key = CellKey(row.subject, row.factors, row.machine);
  }
  std::set<std::string> told;  // several sets of parameters may fail alike
  for (const CostRefusal& refusal : report.refusals) {
    if (!told.insert(refusal.mechanism + refusal.where).second) continue;
    Measurement row = AuditRow(setting, fmt::format("cpu.{}.{}", refusal.mechanism, refusal.where), "kernel_time_ms", "cost",
                               Quantity::Refused("ms", refusal.reason));
    report.measurements.push_back(std::move(row));
  }
  return std::move(report.measurements);
}

// Findings are text: they go into one artifact, and a row a kernel says how many there were.
Result<std::vector<Measurement>> MeasureNumerics(const AuditSetting& setting) {
  NumericsOptions options;
  options.mechanisms = MechanismsOf(setting);
  options.seed = setting.seed;
  options.command = setting.command;
  options.machine = setting.machine_id;
  options.stop = [] { return StopRequested(); };
  const NumericsReport report = RunNumerics(options);
  if (report.stopped) return EnvironmentError("stopped before the probes were done");
  nlohmann::json probes = nlohmann::json::array(), growth = nlohmann::json::array();
  for (const ProbeReport& kernel : report.kernels) {
    for (const std::string& passed : kernel.passed) probes.push_back({{"probe", passed}, {"subject", kernel.kernel}, {"outcome", "passed"}});
    for (const ProbeSkip& skip : kernel.not_applicable) {
      probes.push_back({{"probe", skip.probe}, {"subject", kernel.kernel}, {"outcome", "not_applicable"}, {"detail", skip.reason}});
    }
    for (const ProbeFinding& finding : kernel.findings) {
      probes.push_back({{"probe", finding.probe}, {"subject", kernel.kernel}, {"outcome", "finding"}, {"title", finding.title},
                        {"severity", NameOf(finding.severity)}, {"detail", finding.reproducer}});
    }
  }
  for (const ErrorGrowth& curve : report.growth) {
    growth.push_back({{"mechanism", curve.mechanism}, {"kernel", curve.kernel}, {"lengths", curve.lengths}, {"row_errors", curve.row_errors},
                      {"exponent", {curve.exponent.low, curve.exponent.high}}});
  }
  ASSAY_TRY(const std::string artifact, setting.store->PutArtifact(nlohmann::json{{"probes", probes}, {"growth", growth}}.dump(), "application/json"));
  Measurement count = AuditRow(setting, "numerics", "finding_count", "numerics",
                               {static_cast<double>(report.finding_count()), static_cast<double>(report.finding_count()),
                                static_cast<double>(report.finding_count()), "findings", Basis::kMeasured, "probes T01-T31 on this lab's own kernels"});
  count.samples_artifact = artifact;
  count.sample_count = static_cast<int64_t>(probes.size());
  std::vector<Measurement> rows = {std::move(count)};
  for (Measurement row : report.measurements) {
    row.factors.push_back({"scope", fmt::format("numerics.{}.{}", row.subject.mechanism, row.subject.implementation)});
    row.cell_key = CellKey(row.subject, row.factors, row.machine);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::vector<StudyCell> MachineCells(const AuditSetting& setting) {
  std::vector<StudyCell> cells;
  const std::vector<KernelShape> shapes = KernelShapes(setting);
  for (const KernelShape shape : shapes) {
    const double seconds = setting.measure_seconds / static_cast<double>(shapes.size());
    const std::string where = fmt::format("{} {}", shape.phase == Phase::kPrefill ? "prefill of" : "decode behind", shape.tokens);
    cells.push_back({.key = fmt::format("{}/kernels/{}", setting.identity, where), .label = fmt::format("kernels on this machine, {} tokens", where),
                     .estimated_seconds = seconds, .measure = [&setting, shape, seconds] { return MeasureKernels(setting, shape, seconds); }});
  }
  cells.push_back({.key = setting.identity + "/numerics", .label = "numerics at the edges", .estimated_seconds = 10,
                   .measure = [&setting] { return MeasureNumerics(setting); }});
  return cells;
}

}  // namespace assay
