// `assay audit USECASE.toml`: the main job. Text (or JSON) on stdout, progress on stderr, report.html beside the caller.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "advice/audit_run.h"
#include "cli/command.h"
#include "fmt/format.h"
#include "formats/text.h"
#include "report/audit_json.h"
#include "report/evidence_card.h"
#include "report/html.h"
#include "report/terminal.h"
#include "study/runner.h"

namespace assay::cli {
namespace {

struct AuditArguments {
  std::string usecase;
  std::string trace;
  std::vector<std::string> settings;
  std::string report = "report.html";
  std::string cards;
  bool no_measure = false;
  bool no_flips = false;
  bool fresh = false;
  double measure_seconds = 20;
};

// A path as a shell takes it back.
std::string Quoted(const std::string& path) {
  if (path.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+=:@%") == std::string::npos) return path;
  std::string out = "'";
  for (const char c : path) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// The file by a path that holds in every directory: a number's command is run long after, from wherever its reader is.
std::string FromAnywhere(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return Quoted(error ? path : absolute.lexically_normal().string());
}

// The command that repeats this audit, without what only concerns where its answers go.
std::string CommandLine(const AuditArguments& arguments, const Common& common) {
  std::string command = "assay audit " + FromAnywhere(arguments.usecase);
  if (!arguments.trace.empty()) command += " --trace " + FromAnywhere(arguments.trace);
  for (const std::string& setting : arguments.settings) command += " --set " + setting;
  if (arguments.no_measure) command += " --no-measure";
  else if (arguments.measure_seconds != AuditArguments{}.measure_seconds) command += fmt::format(" --measure-seconds {:g}", arguments.measure_seconds);
  return command + fmt::format(" --seed {}", common.seed);
}

Status WriteAnswer(const std::string& path, const std::string& text) {
  if (const Status written = formats::WriteFile(path, text); !written.ok()) {
    return EnvironmentError(written.error().message + "; choose another place with --report or --cards. What was measured is stored");
  }
  return Ok();
}

// B.json and B.html for each candidate, below `directory`.
Status WriteCards(const std::string& directory, const AuditResult& audit) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return EnvironmentError(fmt::format("{}: {}; choose another place with --cards", directory, error.message()));
  for (const AuditCandidate& candidate : audit.candidates) {
    const AuditResult card = EvidenceCard(audit, candidate.letter);
    ASSAY_RETURN_IF_ERROR(WriteAnswer(fmt::format("{}/{}.json", directory, candidate.letter), AuditJson(card, true)));
    ASSAY_RETURN_IF_ERROR(WriteAnswer(fmt::format("{}/{}.html", directory, candidate.letter), AuditHtml(card)));
  }
  return Ok();
}

int Run(const AuditArguments& arguments, const Common& common) {
  auto store = Store::Open({.path = common.db_path});
  if (!store.ok()) return Fail(store.error());
  AuditRequest request;
  request.usecase_path = arguments.usecase;
  if (!arguments.trace.empty()) request.trace_path = arguments.trace;
  request.settings = arguments.settings;
  request.seed = common.seed;
  request.effort = arguments.no_measure ? AuditRequest::Effort::kNoMeasurements : AuditRequest::Effort::kFull;
  request.measure_seconds = arguments.measure_seconds;
  request.resume = !arguments.fresh;
  request.quiet = common.quiet;
  request.search_flips = !arguments.no_flips;
  request.command = CommandLine(arguments, common);
  request.version = ASSAY_VERSION;
  const auto outcome = RunAudit(*store, request);
  if (!outcome.ok()) return Fail(outcome.error());
  if (outcome->stopped) {
    std::fprintf(stderr, "assay: %s\n", outcome->stop_message.c_str());
    return kStoppedExitCode;
  }
  const AuditResult& audit = outcome->audit;
  if (common.json) fmt::print("{}\n", AuditJson(audit, true));
  else fmt::print("{}", AuditText(audit, ColourOfStdout(), 110));
  std::fflush(stdout);
  if (const Status written = WriteAnswer(arguments.report, AuditHtml(audit)); !written.ok()) return Fail(written.error());
  if (!arguments.cards.empty()) {
    if (const Status written = WriteCards(arguments.cards, audit); !written.ok()) return Fail(written.error());
  }
  if (!common.json) fmt::print("Report     {}\nExplain    any number: assay explain SCOPE.METRIC, as the report names it\n", arguments.report);
  const Assessment& baseline = audit.advice.assessments[0];
  return baseline.standing == Standing::kInfeasible ? kDoesNotHold : kFine;
}

}  // namespace

void Register_audit(CLI::App& app, const Common& common, int& exit_code) {
  auto arguments = std::make_shared<AuditArguments>();
  app.add_option("USECASE", arguments->usecase, "the use case, a TOML file")->required();
  app.add_option("--trace", arguments->trace, "replace the traffic by a trace: Azure CSV, Mooncake JSONL, or arrival_s,prompt_tokens,output_tokens");
  app.add_option("--set", arguments->settings, "change a condition: rate_factor=2, prompt_length_factor=4, price_factor=2, assume.NAME=low:high")->take_all();
  app.add_option("--report", arguments->report, "where the HTML page goes")->capture_default_str();
  app.add_option("--cards", arguments->cards, "write an evidence card for each candidate, JSON and HTML, into this folder");
  app.add_option("--measure-seconds", arguments->measure_seconds, "time for the kernels measured on this machine")->check(CLI::Range(1.0, 3600.0))->capture_default_str();
  app.add_flag("--no-measure", arguments->no_measure, "arithmetic, simulation, claims and advice only; nothing is timed here");
  app.add_flag("--no-flips", arguments->no_flips, "do not search for what would flip the advice");
  app.add_flag("--fresh", arguments->fresh, "do not continue an interrupted audit of the same use case");
  app.callback([&common, &exit_code, arguments] { exit_code = Run(*arguments, common); });
}

}  // namespace assay::cli
