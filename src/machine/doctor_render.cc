// The doctor's report as JSON and as one screen of text.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/json_number.h"
#include "machine/doctor.h"

namespace assay::machine {
namespace {

constexpr size_t kScreenColumns = 118;

nlohmann::json ToJson(const stats::PairedRatio& ratio) {
  return {{"ratio", JsonNumberOrNull(ratio.ratio.estimate)},
          {"low", JsonNumberOrNull(ratio.ratio.low)},
          {"high", JsonNumberOrNull(ratio.ratio.high)},
          {"confidence", ratio.ratio.confidence},
          {"pairs", ratio.pairs},
          {"log_deviation", JsonNumberOrNull(ratio.log_deviation)}};
}

std::string Bytes(int64_t bytes) {
  if (bytes >= (int64_t{1} << 30)) return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (int64_t{1} << 30));
  if (bytes >= (int64_t{1} << 20)) return fmt::format("{:.4g} MiB", static_cast<double>(bytes) / (1 << 20));
  return fmt::format("{:.4g} KiB", static_cast<double>(bytes) / 1024);
}

std::string CacheLine(const Fingerprint& f) {
  std::string line;
  for (const Cache& cache : f.caches) {
    if (cache.type == "instruction") continue;
    line += fmt::format("{}L{} {} x {}", line.empty() ? "" : ", ", cache.level, cache.instances, Bytes(cache.bytes));
  }
  return line.empty() ? "not exposed" : line;
}

std::string Or(const std::string& text, const char* otherwise) {
  return text.empty() ? otherwise : text;
}

std::string MachineLines(const Fingerprint& f) {
  std::string text;
  const auto line = [&](const char* name, const std::string& value) { text += fmt::format("{:<10}{}\n", name, value); };
  line("machine", fmt::format("{}  ({}, family {} model {}), id {}", Or(f.cpu_model, "unknown CPU"), f.architecture,
                              f.family, f.model, f.Id()));
  line("caches", CacheLine(f));
  line("simd", fmt::format("{}; kernels run {}", fmt::join(f.simd, " "), f.best_backend));
  line("limits",
       fmt::format("{} processors allowed, quota {}, memory {} usable of {}", f.allowed_cpus,
                   f.quota_cpus > 0 ? fmt::format("{:.2f}", f.quota_cpus) : "none", Bytes(f.usable_memory_bytes()),
                   Bytes(f.memory_limit_bytes > 0 ? f.memory_limit_bytes : f.memory_total_bytes)));
  line("system", fmt::format("{}, Linux {}, hypervisor {}, huge pages {}, governor {}, clock {}",
                             Or(f.distribution, "unknown"), f.kernel, Or(f.hypervisor, "none seen"),
                             Or(f.huge_pages, "none"), Or(f.governor, "not exposed"), Or(f.clock_source, "unknown")));
  return text;
}

std::string CeilingLines(const DoctorReport& report) {
  int most_threads = 1;
  for (const CeilingRow& row : report.ceilings) most_threads = std::max(most_threads, row.threads);
  std::string text = fmt::format("{:<12}{:>12}", "ceilings", "1 thread");
  if (most_threads > 1) text += fmt::format("{:>12}", fmt::format("{} threads", most_threads));
  text += "   best bursts, median over rounds; what ran\n";
  const auto cell = [&](CeilingKind kind, int threads) {
    for (const CeilingRow& row : report.ceilings)
      if (row.info.kind == kind && row.threads == threads)
        return std::isfinite(row.median) ? fmt::format("{:.1f}", row.median * 1e-9) : std::string("refused");
    return std::string("-");
  };
  for (const CeilingRow& row : report.ceilings) {
    if (row.threads != 1) continue;
    const CeilingKind kind = row.info.kind;
    text += fmt::format("  {:<10}{:>12}", NameOf(kind), cell(kind, 1));
    if (most_threads > 1) text += fmt::format("{:>12}", cell(kind, most_threads));
    std::string what = row.info.refusal.empty() ? row.info.instruction : row.info.refusal;
    if (row.info.working_set_bytes > 0 && row.info.refusal.empty())
      what += fmt::format(", {} a thread", Bytes(row.info.working_set_bytes));
    text += fmt::format(" G{:<7} {}\n", UnitOf(kind), what);
  }
  return text;
}

std::string Wrap(const std::string& words, size_t indent) {
  std::string text;
  size_t column = indent;
  for (size_t begin = 0; begin < words.size();) {
    size_t end = words.find(' ', begin);
    if (end == std::string::npos) end = words.size();
    if (column + (end - begin) > kScreenColumns && column > indent) {
      text += "\n" + std::string(indent, ' ');
      column = indent;
    }
    text += words.substr(begin, end - begin) + (end < words.size() ? " " : "");
    column += end - begin + 1;
    begin = end + 1;
  }
  return text;
}

const char* Colour(Fitness fitness) {
  return fitness == Fitness::kFit ? "\x1b[32m" : fitness == Fitness::kLimited ? "\x1b[33m" : "\x1b[31m";
}

}  // namespace

nlohmann::json ToJson(const DoctorReport& report) {
  nlohmann::json ceilings = nlohmann::json::array();
  for (const CeilingRow& row : report.ceilings)
    ceilings.push_back({{"name", NameOf(row.info.kind)},
                        {"threads", row.threads},
                        {"unit", UnitOf(row.info.kind)},
                        {"median", JsonNumberOrNull(row.median)},
                        {"best", JsonNumberOrNull(row.best)},
                        {"what_ran", row.info.instruction},
                        {"working_set_bytes", row.info.working_set_bytes},
                        {"refused", row.info.refusal.empty() ? nlohmann::json() : nlohmann::json(row.info.refusal)}});
  nlohmann::json checks = nlohmann::json::array();
  for (const Check& check : report.checks)
    checks.push_back({{"name", check.name},
                      {"fitness", NameOf(check.fitness)},
                      {"finding", check.finding},
                      {"remedy", check.remedy.empty() ? nlohmann::json() : nlohmann::json(check.remedy)}});
  return {{"schema_version", 1},
          {"fit", report.fit()},
          {"machine", ToJson(report.fingerprint)},
          {"ceilings", std::move(ceilings)},
          {"noise",
           {{"cache_kernel", ToJson(report.noise.cache)},
            {"memory_kernel", ToJson(report.noise.memory)},
            {"rounds", report.noise.rounds},
            {"flagged_rounds", report.noise.flagged_rounds},
            {"detectable_ratio_30_pairs", JsonNumberOrNull(report.noise.DetectableRatio(30))},
            {"detectable_ratio_100_pairs", JsonNumberOrNull(report.noise.DetectableRatio(100))},
            {"pairs_for_5_percent", report.noise.PairsFor(1.05)}}},
          {"checks", std::move(checks)},
          {"elapsed_s", report.elapsed_s}};
}

std::string ToText(const DoctorReport& report, bool colour) {
  std::string text = MachineLines(report.fingerprint) + "\n" + CeilingLines(report) + "\nfit to measure\n";
  for (const Check& check : report.checks) {
    const std::string mark = fmt::format("{:<8}", NameOf(check.fitness));
    text += fmt::format("  {}{}{} {:<20}{}\n", colour ? Colour(check.fitness) : "", mark, colour ? "\x1b[0m" : "",
                        check.name, Wrap(check.finding, 31));
    if (!check.remedy.empty()) text += fmt::format("{:31}-> {}\n", "", Wrap(check.remedy, 34));
  }
  text += report.fit() ? fmt::format("\nThis machine is fit to compare kernels ({:.1f} s).\n", report.elapsed_s)
                       : fmt::format("\nThis machine is NOT fit to time kernels: see \"unfit\" above ({:.1f} s).\n",
                                     report.elapsed_s);
  return text;
}

}  // namespace assay::machine
