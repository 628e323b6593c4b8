// assay verify: outside test vectors against the references and every kernel that serves them.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "mechanisms/conformance.h"

namespace assay::cli {
namespace {

nlohmann::json TallyJson(const CaseTally& tally) { return {{"passed", tally.passed}, {"failed", tally.failed}, {"skipped", tally.skipped}}; }

nlohmann::json CaseJson(const CaseVerdict& verdict) {
  return {{"path", verdict.path}, {"case", verdict.name}, {"op", verdict.op}, {"reason", verdict.reason}};
}

void PrintJson(const VerifyReport& report) {
  nlohmann::json answer = TallyJson(report.total);
  answer["schema_version"] = 1;
  answer["kernel_runs"] = report.kernel_runs;
  answer["ops"] = nlohmann::json::object();
  for (const auto& [op, tally] : report.ops) answer["ops"][op] = TallyJson(tally);
  answer["failures"] = nlohmann::json::array();
  answer["skips"] = nlohmann::json::array();
  for (const CaseVerdict& verdict : report.cases) {
    if (verdict.outcome == CaseOutcome::kFailed) answer["failures"].push_back(CaseJson(verdict));
    if (verdict.outcome == CaseOutcome::kSkipped) answer["skips"].push_back(CaseJson(verdict));
  }
  // File names and contents are the user's: bytes that are not UTF-8 are replaced, not thrown on.
  std::printf("%s\n", answer.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

// Skips, one line for each operator and reason: warnings, so on stderr.
void PrintSkips(const VerifyReport& report) {
  std::map<std::string, int> reasons;
  for (const CaseVerdict& verdict : report.cases) {
    if (verdict.outcome == CaseOutcome::kSkipped) ++reasons[verdict.op + ": " + verdict.reason];
  }
  for (const auto& [reason, count] : reasons) std::fprintf(stderr, "skipped %d: %s\n", count, reason.c_str());
}

struct Options {
  std::string directory;
  std::string op;
};

int Run(const Options& options, const Common& common) {
  const auto report = VerifyCases(options.directory, {.op = options.op});
  if (!report.ok()) return Fail(report.error());
  if (common.json) {
    PrintJson(*report);
  } else {
    if (!common.quiet) PrintSkips(*report);
    for (const CaseVerdict& verdict : report->cases) {
      if (verdict.outcome == CaseOutcome::kFailed) std::printf("FAILED %s (%s): %s\n", verdict.path.c_str(), verdict.op.c_str(), verdict.reason.c_str());
    }
    std::printf("%lld passed, %lld failed, %lld skipped\n", static_cast<long long>(report->total.passed), static_cast<long long>(report->total.failed),
                static_cast<long long>(report->total.skipped));
  }
  if (report->total.failed == 0) return kFine;
  std::fprintf(stderr, "assay verify: %lld case%s failed\n", static_cast<long long>(report->total.failed), report->total.failed == 1 ? "" : "s");
  return kDoesNotHold;
}

}  // namespace

void Register_verify(CLI::App& app, const Common& common, int& exit_code) {
  auto options = std::make_shared<Options>();
  app.add_option("--cases", options->directory, "folder with conformance cases: *.txt and openvino_gated_delta_net.json, at any depth")->required();
  app.add_option("--op", options->op, "only cases of this operator, e.g. Attention");
  app.callback([options, &common, &exit_code] { exit_code = Run(*options, common); });
}

}  // namespace assay::cli
