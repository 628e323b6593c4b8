// `assay bench`: our kernels beside this machine's ceiling. The table on stdout, progress on stderr.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "cli/command.h"
#include "fmt/format.h"
#include "probes/bench/bench.h"
#include "study/runner.h"

namespace assay::cli {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const BenchReport& report) {
  Json rows = Json::array();
  for (const BenchRow& row : report.rows) {
    rows.push_back({{"name", row.name}, {"family", row.family}, {"shape", row.shape}, {"dtype", row.dtype},
                    {"implementation", row.implementation}, {"threads", row.threads}, {"median_ms", row.median_ms}, {"pack_ms", row.pack_ms},
                    {"rate", row.rate}, {"rate_unit", row.rate_unit}, {"ceiling", row.ceiling}, {"ceiling_kind", row.ceiling_kind}, {"ceiling_instruction", row.ceiling_instruction},
                    {"share_of_ceiling", row.share_of_ceiling}, {"share_q1", row.share_q1}, {"share_q3", row.share_q3},
                    {"rounds", row.rounds}, {"flags", row.flags}, {"row_error", row.row_error}, {"peers", Json::object()}});
  }
  Json refused = Json::array();
  for (const BenchRefusal& refusal : report.refused) refused.push_back({{"name", refusal.name}, {"reason", refusal.reason}});
  return {{"schema_version", 1}, {"rows", rows}, {"refused", refused}, {"stopped", report.stopped}};
}

void PrintTable(const BenchReport& report) {
  fmt::print("{:<22} {:>11} {:>13} {:>13} {:>12} {:>7} {:>15} {:>9}  {}\n", "row", "ms (median)", "rate", "ceiling", "of", "share",
             "quartiles", "row error", "ran");
  for (const BenchRow& row : report.rows) {
    const double giga = 1e-9;
    const std::string unit = "G" + row.rate_unit;
    fmt::print("{:<22} {:>11.3f} {:>13} {:>13} {:>12} {:>6.1f}% {:>15} {:>9.1e}  {}, {} threads{}{}\n", row.name, row.median_ms,
               fmt::format("{:.1f} {}", row.rate * giga, unit), fmt::format("{:.1f} {}", row.ceiling * giga, unit), row.ceiling_kind,
               100 * row.share_of_ceiling, fmt::format("{:.1f}-{:.1f}%", 100 * row.share_q1, 100 * row.share_q3), row.row_error,
               row.implementation, row.threads, row.flags.empty() ? "" : ", ", row.flags);
  }
  std::set<std::string> ceilings;
  for (const BenchRow& row : report.rows) ceilings.insert(fmt::format("ceiling {}: {}\n", row.ceiling_kind, row.ceiling_instruction));
  for (const std::string& ceiling : ceilings) fmt::print("{}", ceiling);
  for (const BenchRefusal& refusal : report.refused) fmt::print("{:<22} refused: {}\n", refusal.name, refusal.reason);
}

}  // namespace

void Register_bench(CLI::App& app, const Common& common, int& exit_code) {
  auto options = std::make_shared<BenchOptions>();
  app.add_option("--filter", options->filter, "only rows with this text in their name");
  app.add_option("--threads", options->threads, "0: every processor this process may use")->capture_default_str();
  app.add_option("--rounds", options->rounds, "interleaved rounds of kernel and ceiling a row")->capture_default_str();
  app.callback([options, &common, &exit_code] {
    const StopOnSignal stop_on_signal;
    options->seed = common.seed;
    options->stop = [] { return StopRequested(); };
    if (!common.quiet) options->progress = [](std::string_view row) { fmt::print(stderr, "{} ...\n", row); };
    const Result<BenchReport> report = RunBench(*options);
    if (!report.ok()) {
      exit_code = Fail(report.error());
      return;
    }
    if (common.json) {
      fmt::print("{}\n", ToJson(*report).dump());
    } else {
      PrintTable(*report);
    }
    exit_code = report->stopped ? kStoppedExitCode : report->rows.empty() ? kUnfitEnvironment : kFine;
  });
}

}  // namespace assay::cli
