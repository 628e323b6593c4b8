#include "report/bench_report.h"

#include <fmt/format.h>

#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "advice/roofline_figure.h"
#include "core/json_number.h"
#include "report/audit_json.h"
#include "report/page.h"
#include "stats/descriptive.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

Json PeerJson(const BenchPeer& peer) {
  Json json = {{"name", peer.name}, {"implementation", peer.implementation}, {"refusal", peer.refusal}};
  if (!peer.refusal.empty()) return json;
  json["median_ms"] = peer.median_ms;
  json["ratio"] = peer.ratio;
  json["ratio_low"] = JsonNumber(peer.ratio_low);
  json["ratio_high"] = JsonNumber(peer.ratio_high);
  json["row_error"] = peer.row_error;
  return json;
}

Json RowJson(const BenchRow& row) {
  Json peer_ms = Json::object(), comparisons = Json::array();
  for (const BenchPeer& peer : row.peers) {
    if (peer.refusal.empty()) peer_ms[peer.name] = peer.median_ms;
    comparisons.push_back(PeerJson(peer));
  }
  return {{"name", row.name}, {"family", row.family}, {"shape", row.shape}, {"dtype", row.dtype},
          {"implementation", row.implementation}, {"threads", row.threads}, {"median_ms", row.median_ms}, {"ms_q1", row.ms_q1},
          {"ms_q3", row.ms_q3}, {"pack_ms", row.pack_ms},
          {"rate", row.rate}, {"rate_unit", row.rate_unit}, {"ceiling", row.ceiling}, {"ceiling_kind", row.ceiling_kind},
          {"ceiling_instruction", row.ceiling_instruction}, {"share_of_ceiling", row.share_of_ceiling}, {"share_q1", row.share_q1},
          {"share_q3", row.share_q3}, {"rounds", row.rounds}, {"flags", row.flags}, {"row_error", row.row_error},
          {"ops_per_byte", row.ops_per_byte}, {"arithmetic_ceiling", row.arithmetic_ceiling}, {"bandwidth_ceiling", row.bandwidth_ceiling},
          {"arithmetic_kind", row.arithmetic_kind}, {"bandwidth_kind", row.bandwidth_kind}, {"peers", std::move(peer_ms)}, {"comparisons", std::move(comparisons)}};
}

std::string PeerLine(const BenchPeer& peer) {
  if (!peer.refusal.empty()) return fmt::format("  {:<32} refused: {}\n", peer.name, peer.refusal);
  return fmt::format("  {:<32} {:>11.3f} ms = {:.2f}x ours ({:.2f} to {:.2f}), row error {:.1e}; {}\n", peer.name, peer.median_ms, peer.ratio,
                     peer.ratio_low, peer.ratio_high, peer.row_error, peer.implementation);
}

Json ReportJson(const BenchReport& report) {
  Json rows = Json::array(), refused = Json::array();
  for (const BenchRow& row : report.rows) rows.push_back(RowJson(row));
  for (const BenchRefusal& refusal : report.refused) refused.push_back({{"name", refusal.name}, {"reason", refusal.reason}});
  return {{"schema_version", 1}, {"machine", report.machine}, {"date", report.date}, {"seed", report.seed}, {"rows", std::move(rows)},
          {"refused", std::move(refused)}, {"stopped", report.stopped}};
}

// A library's message may hold any bytes.
std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Quartiles of the rounds as the interval; ceilings as medians over the family's rows, each pair that bounds one of them.
Figure FamilyRoofline(const BenchReport& report, const std::string& family) {
  std::vector<RooflinePoint> points;
  std::map<std::string, std::pair<std::vector<double>, std::vector<double>>> ceilings;
  for (const BenchRow& row : report.rows) {
    if (row.family != family) continue;
    const double ops_per_second = row.rate * (row.rate_unit == "B/s" ? row.ops_per_byte : 1);
    points.push_back({.scope = row.name, .label = row.name, .ops_per_byte = row.ops_per_byte, .ops_per_second = ops_per_second,
                      .low = ops_per_second * row.median_ms / row.ms_q3, .high = ops_per_second * row.median_ms / row.ms_q1});
    auto& [arithmetic, bandwidth] = ceilings[fmt::format("ceilings {} and {}", row.arithmetic_kind, row.bandwidth_kind)];
    arithmetic.push_back(row.arithmetic_ceiling);
    bandwidth.push_back(row.bandwidth_ceiling);
  }
  std::vector<RooflineCeiling> lines;
  for (const auto& [label, rates] : ceilings) {
    lines.push_back({.label = label, .ops_per_second = stats::Median(rates.first), .bytes_per_second = stats::Median(rates.second)});
  }
  return RooflineFigure(fmt::format("Roofline: {}", family), points, lines, "no row was measured");
}

}  // namespace

std::string BenchJson(const BenchReport& report) { return Dump(ReportJson(report)); }

std::string BenchHtml(const BenchReport& report) {
  Json json = ReportJson(report);
  json["figures"] = Json::object();
  size_t compared = 0;
  int threads = 0, rounds = 0;
  for (const BenchRow& row : report.rows) {
    json["figures"][row.family] = FigureJson(FamilyRoofline(report, row.family));
    compared += row.peers.empty() ? 0 : 1;
    threads = row.threads;
    rounds = row.rounds;
  }
  const std::string lead = fmt::format("{} of our kernels beside the ceilings of the same rounds{}; {} threads, {} rounds a row.", report.rows.size(),
                                       compared > 0 ? fmt::format(", {} of them beside peers", compared) : "", threads, rounds);
  return page::Fill({.kind = "bench", .first = "rows", .title = "Kernels on this machine", .lead = lead, .json = Dump(json), .script = page::bench_script()});
}

std::string BenchTable(const BenchReport& report) {
  std::string text = fmt::format("{:<22} {:>11} {:>13} {:>13} {:>12} {:>7} {:>15} {:>9}  {}\n", "row", "ms (median)", "rate", "ceiling", "of",
                                 "share", "quartiles", "row error", "ran");
  const auto out = std::back_inserter(text);
  constexpr double kGiga = 1e-9;
  for (const BenchRow& row : report.rows) {
    const std::string unit = "G" + row.rate_unit;
    fmt::format_to(out, "{:<22} {:>11.3f} {:>13} {:>13} {:>12} {:>6.1f}% {:>15} {:>9.1e}  {}, {} threads{}{}\n", row.name, row.median_ms,
                   fmt::format("{:.1f} {}", row.rate * kGiga, unit), fmt::format("{:.1f} {}", row.ceiling * kGiga, unit), row.ceiling_kind,
                   100 * row.share_of_ceiling, fmt::format("{:.1f}-{:.1f}%", 100 * row.share_q1, 100 * row.share_q3), row.row_error,
                   row.implementation, row.threads, row.flags.empty() ? "" : ", ", row.flags);
    for (const BenchPeer& peer : row.peers) text += PeerLine(peer);
  }
  std::set<std::string> ceilings;
  for (const BenchRow& row : report.rows) ceilings.insert(fmt::format("ceiling {}: {}\n", row.ceiling_kind, row.ceiling_instruction));
  for (const std::string& ceiling : ceilings) text += ceiling;
  for (const BenchRefusal& refusal : report.refused) fmt::format_to(out, "{:<22} refused: {}\n", refusal.name, refusal.reason);
  return text;
}

}  // namespace assay
