// `assay db runs|check|merge|export`: the store itself. Data on stdout; what went wrong on stderr.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "fmt/format.h"
#include "store/store.h"

namespace assay::cli {
namespace {

using Json = nlohmann::ordered_json;

void Print(const Json& json) { fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace)); }

int Runs(const Common& common) {
  const auto store = Store::Open({.path = common.db_path, .read_only = true});
  if (!store.ok()) return Fail(store.error());
  const auto runs = store->Runs();
  if (!runs.ok()) return Fail(runs.error());
  if (common.json) {
    Json list = Json::array();
    for (const RunInfo& run : *runs)
      list.push_back({{"id", run.id}, {"status", NameOf(run.status)}, {"created_utc", run.created_utc}, {"ended_utc", run.ended_utc},
                      {"measurements", run.measurement_count}, {"command", run.start.command_line},
                      {"use_case_hash", run.start.use_case_hash}, {"plan_hash", run.start.plan_hash}});
    Print({{"schema_version", 1}, {"db", store->path()}, {"runs", list}});
    return kFine;
  }
  if (runs->empty()) fmt::print("{}: no runs yet\n", store->path());
  for (const RunInfo& run : *runs)
    fmt::print("{:<26} {:<9} {:>6} rows  {}\n", run.id, NameOf(run.status), run.measurement_count, run.start.command_line);
  return kFine;
}

int Check(const Common& common) {
  // Opened for writing: an older file is migrated by this, and a log left by a killed process is folded in.
  const auto store = Store::Open({.path = common.db_path, .create = false});
  if (!store.ok()) return Fail(store.error());
  const auto report = store->Check();
  if (!report.ok()) return Fail(report.error());
  if (common.json) {
    Print({{"schema_version", 1}, {"db", store->path()}, {"runs", report->run_count}, {"measurements", report->measurement_count},
           {"artifacts", report->artifact_count}, {"problems", report->problems}, {"orphan_artifacts", report->orphan_artifacts},
           {"unended_runs", report->unended_runs}});
  } else {
    fmt::print("{}: {} runs, {} measurements, {} artifacts\n", store->path(), report->run_count, report->measurement_count,
               report->artifact_count);
    for (const std::string& problem : report->problems) fmt::print("  problem: {}\n", problem);
    for (const std::string& hash : report->orphan_artifacts) fmt::print("  orphan artifact: {} (nothing points to it)\n", hash);
    for (const std::string& run : report->unended_runs) fmt::print("  run {} has not ended: still running, or killed\n", run);
    if (report->problems.empty()) fmt::print("  whole\n");
  }
  return report->problems.empty() ? kFine : kDoesNotHold;
}

int Merge(const Common& common, const std::vector<std::string>& others) {
  auto store = Store::Open({.path = common.db_path});
  if (!store.ok()) return Fail(store.error());
  Json merged = Json::array();
  bool conflicts = false;
  for (const std::string& other : others) {
    const auto report = store->Merge(other);
    if (!report.ok()) return Fail(report.error());
    conflicts = conflicts || !report->conflicts.empty();
    if (common.json) {
      merged.push_back({{"from", other}, {"runs_added", report->runs_added}, {"measurements_added", report->measurements_added},
                        {"measurements_same", report->measurements_same}, {"artifacts_added", report->artifacts_added},
                        {"conflicts", report->conflicts}});
      continue;
    }
    fmt::print("{}: {} runs, {} measurements, {} artifacts added; {} measurements were here already\n", other, report->runs_added,
               report->measurements_added, report->artifacts_added, report->measurements_same);
    for (const std::string& conflict : report->conflicts) fmt::print("  conflict, ours kept: {}\n", conflict);
  }
  if (common.json) Print({{"schema_version", 1}, {"db", store->path()}, {"merged", merged}});
  return conflicts ? kDoesNotHold : kFine;
}

int Export(const Common& common, const Query& query, bool csv) {
  const auto store = Store::Open({.path = common.db_path, .read_only = true});
  if (!store.ok()) return Fail(store.error());
  bool written = true;
  const auto write = [&written](std::string_view text) {
    written = written && std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  };
  const Status status = csv ? store->ExportCsv(query, write) : store->ExportJson(query, write);
  if (!status.ok()) return Fail(status.error());
  if (!written || std::fflush(stdout) != 0) return Fail(EnvironmentError("the export could not be written to standard output"));
  return kFine;
}

}  // namespace

void Register_db(CLI::App& app, const Common& common, int& exit_code) {
  app.require_subcommand(1);
  app.add_subcommand("runs", "what was run, oldest first")->callback([&] { exit_code = Runs(common); });
  app.add_subcommand("check", "is the store whole? (pages, references, artifacts against their hashes); migrates an older one")
      ->callback([&] { exit_code = Check(common); });

  auto* merge = app.add_subcommand("merge", "join other stores into this one; exit 1 when rows conflict (ours are kept)");
  auto others = std::make_shared<std::vector<std::string>>();
  merge->add_option("FILES", *others, "stores to join")->required();
  merge->callback([&common, &exit_code, others] { exit_code = Merge(common, *others); });

  auto* exporting = app.add_subcommand("export", "measurements as one JSON object, or as CSV");
  auto query = std::make_shared<Query>();
  auto format = std::make_shared<std::string>("json");
  exporting->add_option("--format", *format, "json or csv")->check(CLI::IsMember({"json", "csv"}))->capture_default_str();
  exporting->add_option("--run", query->run_id, "only this run");
  exporting->add_option("--cell", query->cell_key, "only this cell");
  exporting->add_option("--probe", query->probe, "only this probe");
  exporting->add_option("--metric", query->metric, "only this metric");
  exporting->add_option("--mechanism", query->mechanism, "only this mechanism");
  exporting->add_option("--implementation", query->implementation, "only this implementation");
  exporting->callback([&common, &exit_code, query, format] { exit_code = Export(common, *query, *format == "csv"); });
}

}  // namespace assay::cli
