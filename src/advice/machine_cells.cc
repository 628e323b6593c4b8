// The cells of an audit that are measured on this machine: kernels beside its ceilings at the use case's own shapes, and numerics at the edges.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "advice/audit_cells.h"
#include "probes/numerics/numerics.h"

namespace assay {
namespace {

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

std::string_view OutcomeJsonKey(Severity severity) { return NameOf(severity); }

// Findings are text: they go into one artifact, and a row a kernel says how many there were.
Result<std::vector<Measurement>> MeasureNumerics(const AuditSetting& setting) {
  NumericsOptions options;
  options.mechanisms = MechanismsOf(setting);
  options.seed = setting.seed;
  options.run_id = "pending";
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
                        {"severity", OutcomeJsonKey(finding.severity)}, {"detail", finding.reproducer}});
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
    row.run_id.clear();
    row.cell_key = CellKey(row.subject, row.factors, row.machine);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::vector<StudyCell> MachineCells(const AuditSetting& setting) {
  return {{.key = setting.identity + "/numerics", .label = "numerics at the edges", .estimated_seconds = 10,
           .measure = [&setting] { return MeasureNumerics(setting); }}};
}

}  // namespace assay
