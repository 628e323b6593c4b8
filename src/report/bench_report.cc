#include "report/bench_report.h"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "core/json_number.h"

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
          {"implementation", row.implementation}, {"threads", row.threads}, {"median_ms", row.median_ms}, {"pack_ms", row.pack_ms},
          {"rate", row.rate}, {"rate_unit", row.rate_unit}, {"ceiling", row.ceiling}, {"ceiling_kind", row.ceiling_kind},
          {"ceiling_instruction", row.ceiling_instruction}, {"share_of_ceiling", row.share_of_ceiling}, {"share_q1", row.share_q1},
          {"share_q3", row.share_q3}, {"rounds", row.rounds}, {"flags", row.flags}, {"row_error", row.row_error},
          {"ops_per_byte", row.ops_per_byte}, {"arithmetic_ceiling", row.arithmetic_ceiling}, {"bandwidth_ceiling", row.bandwidth_ceiling},
          {"bandwidth_kind", row.bandwidth_kind}, {"peers", std::move(peer_ms)}, {"comparisons", std::move(comparisons)}};
}

std::string PeerLine(const BenchPeer& peer) {
  if (!peer.refusal.empty()) return fmt::format("  {:<32} refused: {}\n", peer.name, peer.refusal);
  return fmt::format("  {:<32} {:>11.3f} ms = {:.2f}x ours ({:.2f} to {:.2f}), row error {:.1e}; {}\n", peer.name, peer.median_ms, peer.ratio,
                     peer.ratio_low, peer.ratio_high, peer.row_error, peer.implementation);
}

}  // namespace

std::string BenchJson(const BenchReport& report) {
  Json rows = Json::array(), refused = Json::array();
  for (const BenchRow& row : report.rows) rows.push_back(RowJson(row));
  for (const BenchRefusal& refusal : report.refused) refused.push_back({{"name", refusal.name}, {"reason", refusal.reason}});
  return Json{{"schema_version", 1}, {"rows", std::move(rows)}, {"refused", std::move(refused)}, {"stopped", report.stopped}}.dump(
      -1, ' ', false, Json::error_handler_t::replace);
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
