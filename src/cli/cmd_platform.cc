// assay platform list|show|fit|score: accelerator profiles.
#include <CLI/CLI.hpp>
#include <cmath>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "formats/text.h"
#include "platform/fit.h"
#include "platform/score.h"
#include "serving/score_serving.h"
#include "store/time.h"

namespace assay::cli {
namespace {

using nlohmann::json;
using namespace platform;

struct Options {
  std::string profile = "auto";
  std::vector<std::string> tables;
  std::string table;
  std::string out;
  TableOrigin origin;
};

std::string SectionName(const Section& s) {
  std::string name(NameOf(s.family));
  if (s.family < Family::kAllReduce) name += fmt::format(" {}", NameOf(s.compute));
  if (s.family < Family::kGdnPrefill) name += fmt::format(", {} cache", NameOf(s.cache));
  if (s.window > 0) name += fmt::format(", window {}", s.window);
  if (s.family >= Family::kAllReduce && !s.variant.empty()) name += " " + s.variant;
  return name;
}

json SummaryJson(const ErrorSummary& s) {
  const auto number = [&](double value) { return s.rows > 0 ? json(value) : json(nullptr); };
  return {{"rows", s.rows},
          {"error", {{"p50", number(s.p50)}, {"p90", number(s.p90)}, {"p99", number(s.p99)}}},
          {"interval", {{"coverage", number(s.coverage)}, {"median_width", number(s.median_width)}}}};
}

json SectionJson(const Section& s) {
  json coverage = json::object();
  for (const Range& range : s.coverage) coverage[std::string(NameOf(range.feature))] = {std::exp2(range.low), std::exp2(range.high)};
  return {{"family", NameOf(s.family)}, {"compute", NameOf(s.compute)}, {"cache", NameOf(s.cache)}, {"window", s.window},
          {"head_dim", s.head_dim},     {"variant", s.variant},         {"table", s.table},         {"rows", s.rows},
          {"launch_ms", s.launch_ms},   {"efficiency", s.efficiency},   {"coverage", coverage},     {"held_out", SummaryJson(s.held_out)},
          {"held_out_roofline", SummaryJson(s.held_out_roofline)}};
}

void PrintSections(const Profile& profile) {
  fmt::print("{}   {}; {}; fitted {}\n", profile.name(), profile.source, profile.licence, profile.date);
  fmt::print("  {:<44} {:>6}  {:>6} {:>6} {:>6}  {:>8} {:>6}  {:>8}\n", "kernel", "rows", "p50", "p90", "p99", "coverage", "width", "roofline");
  for (const Section& s : profile.sections) {
    fmt::print("  {:<44} {:>6}  {:>5.1f}% {:>5.1f}% {:>5.1f}%  {:>7.0f}% {:>5.0f}%  {:>7.0f}%\n", SectionName(s), s.rows, 100 * s.held_out.p50,
               100 * s.held_out.p90, 100 * s.held_out.p99, 100 * s.held_out.coverage, 100 * s.held_out.median_width,
               100 * s.held_out_roofline.p50);
  }
}

int List(const Common& common) {
  json list = json::array();
  for (const ShippedProfile& shipped : ShippedProfiles()) {
    const auto profile = ParseProfile(shipped.toml, shipped.name());
    if (!profile) return Fail(profile.error());
    if (common.json) {
      json sections = json::array();
      for (const Section& section : profile->sections) sections.push_back(SectionJson(section));
      list.push_back({{"name", profile->name()}, {"gpu", profile->gpu}, {"engine", profile->engine}, {"version", profile->version},
                      {"source", profile->source}, {"licence", profile->licence}, {"date", profile->date}, {"sections", sections}});
    } else {
      fmt::print("{:<34} {:>3} kernels, fitted {}\n", profile->name(), profile->sections.size(), profile->date);
    }
  }
  if (common.json) fmt::print("{}\n", json{{"schema_version", 1}, {"profiles", list}}.dump());
  return kFine;
}

int Show(const Options& options, const Common& common) {
  const auto profile = LoadProfile(options.profile);
  if (!profile) return Fail(profile.error());
  if (!common.json) {
    fmt::print("Errors are of the 20 % of rows held out; width is of the 90 % interval; roofline is the median error of two parameters.\n");
    PrintSections(*profile);
    return kFine;
  }
  json sections = json::array();
  for (const Section& section : profile->sections) sections.push_back(SectionJson(section));
  fmt::print("{}\n", json{{"schema_version", 1}, {"name", profile->name()}, {"source", profile->source}, {"licence", profile->licence},
                          {"date", profile->date}, {"sections", sections}}.dump());
  return kFine;
}

int Fit(const Options& options, const Common& common) {
  std::vector<MeasuredTable> tables;
  for (const std::string& path : options.tables) {
    auto table = ReadMeasuredTable(path);
    if (!table) return Fail(table.error());
    tables.push_back(std::move(*table));
  }
  FitNotes notes;
  auto profile = FitProfile(tables, options.origin, &notes);
  if (!profile) return Fail(profile.error());
  profile->date = UtcToday();
  for (const std::string& note : notes.skipped) fmt::print(stderr, "skipped {}\n", note);
  const std::string text = WriteProfile(*profile);
  if (options.out.empty()) {
    fmt::print("{}", text);
    return kFine;
  }
  if (const Status written = formats::WriteFile(options.out, text); !written.ok()) return Fail(written.error());
  if (!common.quiet) PrintSections(*profile);
  return kFine;
}

int ScoreOne(const Options& options, const Common& common) {
  const auto table = ReadMeasuredTable(options.table);
  if (!table) return Fail(table.error());
  const auto profile = options.profile == "auto" ? ProfileForTable(*table) : LoadProfile(options.profile);
  if (!profile) return Fail(profile.error());
  const Score score = ScoreTable(*profile, *table);
  if (score.seen && !common.quiet) {
    fmt::print(stderr, "the profile was fitted on a table of this name; if these are its own rows, read held_out of `assay platform show` instead\n");
  }
  if (score.zero_rows > 0 && !common.quiet) fmt::print(stderr, "{} rows of latency 0 (failed measurements) are left out\n", score.zero_rows);
  if (common.json) {
    json out = SummaryJson(score.model);
    out["schema_version"] = 1;
    out["profile"] = score.profile;
    out["table"] = score.table;
    out["rows"] = score.rows;
    out["in_coverage"] = score.in_coverage;
    out["refused"] = score.refused;
    out["roofline"] = SummaryJson(score.roofline);
    out["roofline"]["in_coverage"] = score.in_coverage;
    out["roofline"]["refused"] = score.refused;
    out["roofline"]["rows"] = score.rows;
    out["seen"] = score.seen;
    out["zero_rows"] = score.zero_rows;
    if (!score.note.empty()) out["note"] = score.note;
    fmt::print("{}\n", out.dump());
    return kFine;
  }
  fmt::print("{} on {}: {} rows, {} in coverage, {} refused\n", score.profile, score.table, score.rows, score.in_coverage, score.refused);
  if (!score.note.empty()) fmt::print("  {}\n", score.note);
  if (score.in_coverage == 0) return kFine;
  for (const auto& [name, s] : {std::pair{"model", score.model}, std::pair{"roofline", score.roofline}}) {
    fmt::print("  {:<9} error p50 {:.2f} %, p90 {:.2f} %, p99 {:.2f} %; 90 % interval holds {:.1f} %, median width {:.1f} %\n", name, 100 * s.p50,
               100 * s.p90, 100 * s.p99, 100 * s.coverage, 100 * s.median_width);
  }
  return kFine;
}

json ServingJson(const serving::ServingScore& s) {
  const bool any = s.rows > s.refused;
  const auto error = [&](const serving::LatencyError& e) {
    return any ? json{{"p50", e.p50}, {"p90", e.p90}, {"median_ratio", e.median_ratio}} : json{{"p50", nullptr}, {"p90", nullptr}, {"median_ratio", nullptr}};
  };
  return {{"rows", s.rows}, {"refused", s.refused}, {"ttft", error(s.ttft)}, {"tpot", error(s.tpot)}, {"coverage", any ? json(s.coverage) : json(nullptr)}};
}

int ScoreServingPoints(const Options& options, const Common& common) {
  const auto table = formats::Table::Read(options.table);
  if (!table) return Fail(table.error());
  const auto report = serving::ScoreServing(*table, common.seed);
  if (!report) return Fail(report.error());
  if (common.json) {
    json groups = json::object();
    for (const auto& [name, score] : report->groups) groups[name] = ServingJson(score);
    json out{{"schema_version", 1}, {"overall", ServingJson(report->overall)}, {"groups", groups}, {"refusals", report->refusals},
             {"conflicting_rows", report->conflicting}};
    fmt::print("{}\n", out.dump());
    return kFine;
  }
  fmt::print("{:<58} {:>5} {:>7}  {:>13}  {:>13}  {:>8}\n", "model / GPU / engine", "rows", "refused", "TTFT p50/p90", "TPOT p50/p90", "coverage");
  const auto line = [](std::string_view name, const serving::ServingScore& s) {
    fmt::print("{:<58} {:>5} {:>7}  {:>5.0f}% /{:>4.0f}%  {:>5.0f}% /{:>4.0f}%  {:>7.0f}%\n", name, s.rows, s.refused, 100 * s.ttft.p50,
               100 * s.ttft.p90, 100 * s.tpot.p50, 100 * s.tpot.p90, 100 * s.coverage);
  };
  for (const auto& [name, score] : report->groups) {
    if (score.rows > score.refused) line(name, score);
  }
  line("all", report->overall);
  for (const auto& [reason, rows] : report->refusals) fmt::print("  refused {:>5}: {}\n", rows, reason);
  fmt::print("  left out {:>4}: the same measurement under two configurations\n", report->conflicting);
  return kFine;
}

}  // namespace

void Register_platform(CLI::App& app, const Common& common, int& exit_code) {
  auto options = std::make_shared<Options>();
  app.require_subcommand(1);
  CLI::App* list = app.add_subcommand("list", "the profiles that ship with the program");
  list->callback([&common, &exit_code] { exit_code = List(common); });
  CLI::App* show = app.add_subcommand("show", "one profile: kernels, held-out errors, coverage");
  show->add_option("profile", options->profile, "GPU/ENGINE/VERSION or a path ending in .toml")->required();
  show->callback([options, &common, &exit_code] { exit_code = Show(*options, common); });
  CLI::App* fit = app.add_subcommand("fit", "fit a profile from measured tables of one GPU, engine and version");
  fit->add_option("--table", options->tables, "measured tables (system__group__framework__version__table.csv)")->required();
  fit->add_option("--source", options->origin.source, "who measured the tables, and with what; kept in the profile")->capture_default_str();
  fit->add_option("--licence", options->origin.licence, "of the tables; kept in the profile")->capture_default_str();
  fit->add_option("--out", options->out, "file to write; default: stdout");
  fit->callback([options, &common, &exit_code] { exit_code = Fit(*options, common); });
  CLI::App* score = app.add_subcommand("score", "error of a profile on a measured table");
  score->add_option("profile", options->profile, "GPU/ENGINE/VERSION, a path ending in .toml, or auto: by the table's file name")
      ->capture_default_str();
  score->add_option("--table", options->table, "the measured table")->required();
  score->callback([options, &common, &exit_code] { exit_code = ScoreOne(*options, common); });
  CLI::App* points = app.add_subcommand("score-serving", "error of simulated serving on measured end-to-end points");
  points->add_option("--table", options->table, "the measured points (silicon.csv)")->required();
  points->callback([options, &common, &exit_code] { exit_code = ScoreServingPoints(*options, common); });
}

}  // namespace assay::cli
