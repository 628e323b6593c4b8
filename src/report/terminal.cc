#include "report/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <vector>

namespace assay {
namespace {

// Text in columns: every cell as wide as the widest of its column; the last is not padded.
class Table {
 public:
  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  [[nodiscard]] std::string Text(std::string_view indent) const {
    std::vector<size_t> widths;
    for (const auto& row : rows_) {
      widths.resize(std::max(widths.size(), row.size()));
      for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string out;
    for (const auto& row : rows_) {
      std::string line(indent);
      for (size_t i = 0; i < row.size(); ++i) {
        line += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
      }
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
    }
    return out;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

std::string Wrap(std::string_view text, std::string_view first, std::string_view rest, size_t columns) {
  std::string out(first);
  size_t width = first.size();
  bool line_is_empty = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    if (!line_is_empty && width + 1 + word.size() > columns) {
      out += "\n" + std::string(rest);
      width = rest.size();
      line_is_empty = true;
    }
    if (!line_is_empty) out += ' ', ++width;
    out += word;
    width += word.size();
    line_is_empty = false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out + "\n";
}

std::string Cell(const AuditResult& audit, std::string_view scope, std::string_view metric) {
  const Measurement* row = audit.Find(scope, metric);
  if (row == nullptr) return "-";
  if (row->quantity.refused()) return FormatQuantity(row->quantity);
  const auto flagged = [&](std::string_view flag) { return row->flags.find(flag) != std::string::npos; };
  return FormatQuantity(row->quantity) + (std::isinf(row->quantity.low) || std::isinf(row->quantity.high) ? "*" : "") + (flagged("extrapolated") ? "^" : "") + (flagged("mixed") ? "~" : "");
}

std::string PercentRange(const Quantity& q) {
  return q.refused() ? "refused" : fmt::format("{:.0f}..{:.0f} %", 100 * q.low, 100 * q.high);
}

std::string TrafficLines(const AuditResult& audit) {
  const auto number = [&](std::string_view scope, std::string_view metric) {
    const Measurement* row = audit.Find(scope, metric);
    return row == nullptr || row->quantity.refused() ? std::string("?") : FormatNumber(row->quantity.value, row->quantity.unit);
  };
  std::string out = fmt::format("Traffic    {} requests/s; prompt {} / {} tokens, answer {} / {} (p50 / p95); a token is decoded under {} / {}\n",
                                number("traffic", "request_rate_per_second"), number("traffic.p50", "prompt_tokens"),
                                number("traffic.p95", "prompt_tokens"), number("traffic.p50", "output_tokens"),
                                number("traffic.p95", "output_tokens"), number("traffic.p50", "decode_context_tokens"),
                                number("traffic.p95", "decode_context_tokens"));
  const Measurement* decode = audit.Find("step", "attention_share_decode");
  const Measurement* prefill = audit.Find("step", "attention_share_prefill");
  const Measurement* bound = audit.Find("step", "amdahl_bound");
  if (decode != nullptr && prefill != nullptr && !decode->quantity.refused()) {
    out += fmt::format("Attention  {} of a decode step, {} of a prefill step", PercentRange(decode->quantity), PercentRange(prefill->quantity));
    if (bound != nullptr && !bound->quantity.refused()) out += fmt::format("; free attention would cut TPOT by at most {:.0f} %", 100 * bound->quantity.high);
    out += "\n";
  }
  return out;
}

std::string CandidateTable(const AuditResult& audit) {
  Table table;
  const bool offline = !audit.candidates.empty() && audit.Find(audit.candidates[0].letter, "batch_hours") != nullptr &&
                       !audit.Find(audit.candidates[0].letter, "batch_hours")->quantity.refused();
  if (offline) table.Add({"", "candidate", "batch h", "USD/batch", "KV/sequence", "quality", "switch USD", "standing"});
  else table.Add({"", "candidate", "max req/s", "replicas", "TTFT p95 ms", "TPOT p95 ms", "USD/month", "KV/sequence", "quality", "switch USD", "standing"});
  for (const AuditCandidate& candidate : audit.candidates) {
    const auto found = std::find_if(audit.advice.assessments.begin(), audit.advice.assessments.end(),
                                    [&](const Assessment& a) { return a.letter == candidate.letter; });
    const std::string standing = found == audit.advice.assessments.end() ? "?" : StandingText(*found);
    std::vector<std::string> cells = {candidate.letter, candidate.id};
    const std::vector<std::string_view> metrics =
        offline ? std::vector<std::string_view>{"batch_hours", "cost_usd_per_month"}
                : std::vector<std::string_view>{"max_rate_per_second", "replica_count", "ttft_ms_p95", "tpot_ms_p95", "cost_usd_per_month"};
    for (const std::string_view metric : metrics) cells.push_back(Cell(audit, candidate.letter, metric));
    for (const char* metric : {"kv_bytes_per_sequence", "quality_loss_points", "switching_cost_usd"}) cells.push_back(Cell(audit, candidate.letter, metric));
    cells.push_back(standing);
    table.Add(std::move(cells));
  }
  std::string text = table.Text("");
  if (text.find('*') != std::string::npos) text += "   * a bound, open on its other side (assay explain says why): it can rule a candidate out, never in\n";
  if (text.find('^') != std::string::npos) text += "   ^ extrapolated: kernels beyond the measured rows carry more than 5 % of the time; it can rule a candidate out, never in\n";
  if (text.find('~') != std::string::npos) text += "   ~ mixed: times of another engine or version than the baseline's; they decide nothing\n";
  return text;
}

std::string ClaimLine(const AuditResult& audit) {
  std::map<std::string, int> verdicts;
  int near = 0, expired = 0;
  for (const AuditClaim& claim : audit.claims) {
    if (!claim.bears_on_use_case) continue;
    ++near;
    expired += !claim.expired.empty();
    ++verdicts[claim.for_you];
  }
  std::string text = fmt::format("Claims     {} of {} bear on this use case", near, audit.claims.size());
  const char* separator = ": ";
  for (const auto& [verdict, count] : verdicts) {
    std::string name = verdict;
    std::replace(name.begin(), name.end(), '_', ' ');
    text += fmt::format("{}{} {}", separator, count, name);
    separator = ", ";
  }
  if (expired > 0) text += fmt::format("; {} expired with their baselines", expired);
  return text + "\n";
}

std::string ProbeLine(const AuditResult& audit) {
  int passed = 0, findings = 0, skipped = 0;
  for (const AuditProbe& probe : audit.probes) ++(probe.outcome == "passed" ? passed : probe.outcome == "finding" ? findings : skipped);
  return fmt::format("Numerics   {} probe runs passed, {} findings, {} not applicable (our kernels on this CPU)\n", passed, findings, skipped);
}

}  // namespace

Colour ColourOfStdout() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  if (no_color != nullptr && *no_color != '\0') return Colour::kNo;
  if (term == nullptr || std::string_view(term) == "dumb") return Colour::kNo;
  return isatty(STDOUT_FILENO) != 0 ? Colour::kYes : Colour::kNo;
}

std::string FormatNumber(double value, std::string_view unit) {
  if (std::isnan(value)) return "?";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  if (unit == "B") {
    constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t power = 0;
    while (std::fabs(value) >= 1024 && power + 1 < std::size(kUnits)) value /= 1024, ++power;
    return fmt::format("{:.{}f} {}", value, power == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2, kUnits[power]);
  }
  const double magnitude = std::fabs(value);
  if (magnitude >= 1e9) return fmt::format("{:.2e}", value);
  if (magnitude >= 1000) {
    std::string digits = fmt::format("{:.0f}", value);
    for (auto at = static_cast<int>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3) digits.insert(static_cast<size_t>(at), ",");
    return digits;
  }
  return fmt::format("{:.3g}", value);
}

std::string FormatQuantity(const Quantity& q) {
  if (q.refused()) return "refused";
  if (std::isinf(q.high)) return ">= " + FormatNumber(q.low, q.unit);
  if (std::isinf(q.low)) return "<= " + FormatNumber(q.high, q.unit);
  if (q.low == q.high) return FormatNumber(q.value, q.unit);
  return fmt::format("{} [{}, {}]", FormatNumber(q.value, q.unit), FormatNumber(q.low, q.unit), FormatNumber(q.high, q.unit));
}

std::string AuditText(const AuditResult& audit, Colour colour, int columns) {
  const auto width = static_cast<size_t>(std::max(columns, 60));
  const std::string_view bold = colour == Colour::kYes ? "\x1b[1m" : "";
  const std::string_view plain = colour == Colour::kYes ? "\x1b[0m" : "";
  std::string out = fmt::format("{}\n\n", audit.title);
  out += fmt::format("{}{}{}", bold, Wrap(audit.advice.sentence, "", "", width), plain);
  out += Wrap(audit.advice.counter_argument, "  Against it: ", "  ", width);
  out += "\n" + TrafficLines(audit) + "\n" + CandidateTable(audit) + "\n";
  if (audit.flips.empty()) out += fmt::format("Flips      {}\n", audit.flips_refused.empty() ? "nothing within the searched ranges" : audit.flips_refused);
  for (size_t i = 0; i < audit.flips.size(); ++i) {
    const Flip& flip = audit.flips[i];
    out += fmt::format("{}{} {} -> {}: {}\n", i == 0 ? "Flips      " : "           ", flip.factor, FormatNumber(flip.today, ""),
                       FormatNumber(flip.at, ""), flip.advice_there);
  }
  constexpr size_t kShownUnknowns = 4;
  for (size_t i = 0; i < audit.advice.unknown.size() && i < kShownUnknowns; ++i) {
    out += Wrap(audit.advice.unknown[i], i == 0 ? "Not known  " : "           ", "           ", width);
  }
  if (audit.advice.unknown.size() > kShownUnknowns) out += fmt::format("           and {} more, in the report\n", audit.advice.unknown.size() - kShownUnknowns);
  if (!audit.claims.empty()) out += ClaimLine(audit);
  if (!audit.probes.empty()) out += ProbeLine(audit);
  for (const std::string& note : audit.notes) out += Wrap(note, "Note       ", "           ", width);
  if (!audit.advice.next_command.empty()) out += "Next       " + audit.advice.next_command + "\n";
  return out;
}

}  // namespace assay
