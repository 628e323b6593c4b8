// Arithmetic and serving cells. The cells measured on this machine are in machine_cells.cc.
#include "advice/audit_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/json_number.h"
#include "stats/descriptive.h"

namespace assay {
namespace {

constexpr int64_t kLongestContext = 4'194'304;  // beyond it nobody serves today; a break-even past it is "never"

std::vector<Measurement> TrafficRows(const AuditSetting& setting) {
  const serving::TrafficShape shape = ShapeOf(setting.traffic);
  std::vector<Measurement> rows;
  const auto add = [&](std::string scope, std::string metric, double value, std::string unit) {
    rows.push_back(AuditRow(setting, std::move(scope), std::move(metric), "traffic", Quantity::Exact(value, std::move(unit), setting.traffic.origin)));
  };
  if (setting.traffic.requests_per_second > 0) add("traffic", "request_rate_per_second", setting.traffic.requests_per_second, "1/s");
  add("traffic", "request_count", static_cast<double>(setting.traffic.unit_rate.size()), "requests");
  add("traffic.p50", "prompt_tokens", shape.prompt_p50, "tokens");
  add("traffic.p95", "prompt_tokens", shape.prompt_p95, "tokens");
  add("traffic.p99", "prompt_tokens", shape.prompt_p99, "tokens");
  add("traffic.p50", "output_tokens", shape.output_p50, "tokens");
  add("traffic.p95", "output_tokens", shape.output_p95, "tokens");
  add("traffic.p50", "context_tokens", shape.context_p50, "tokens");
  add("traffic.p95", "context_tokens", shape.context_p95, "tokens");
  add("traffic.p99", "context_tokens", shape.context_p99, "tokens");
  add("traffic.p50", "decode_context_tokens", shape.decode_context_p50, "tokens");
  add("traffic.p95", "decode_context_tokens", shape.decode_context_p95, "tokens");
  add("traffic.mean", "decode_context_tokens", shape.decode_context_mean, "tokens");
  return rows;
}

Quantity BreakEvenQuantity(std::optional<int64_t> tokens, std::string_view what) {
  if (!tokens) return Quantity::Refused("tokens", fmt::format("never: {} no fewer bytes than the baseline at any context to {} tokens", what, kLongestContext));
  return Quantity::Exact(static_cast<double>(*tokens), "tokens", fmt::format("smallest context from which the candidate {} fewer bytes than the baseline", what));
}

std::vector<Measurement> CandidateArithmetic(const AuditSetting& setting, const CandidatePlan& plan) {
  const serving::TrafficShape shape = ShapeOf(setting.traffic);
  const CandidatePlan& baseline = setting.plans[0];
  const auto context = static_cast<int64_t>(std::llround(shape.decode_context_mean));
  std::vector<Measurement> rows;
  const auto add = [&](std::string metric, Quantity quantity) {
    rows.push_back(AuditRow(setting, plan.letter, std::move(metric), "arithmetic", std::move(quantity)));
  };
  const double at_p95 = plan.ResidentBytesAt(shape.context_p95);
  const double growth = plan.ResidentBytesAt(shape.context_p95 + 1) - at_p95;
  add("kv_bytes_per_token", Quantity::Exact(growth, "B", fmt::format("one more token at {:.0f} tokens, all layers, scales included", shape.context_p95)));
  add("kv_bytes_per_sequence", Quantity::Exact(at_p95, "B", fmt::format("cache and states of one sequence at the p95 context, {:.0f} tokens", shape.context_p95)));
  add("state_bytes_per_sequence", Quantity::Exact(plan.StateBytes(), "B", "states and convolution tails, all layers"));
  add("kv_ratio", Quantity::Exact(at_p95 / baseline.ResidentBytesAt(shape.context_p95), "ratio", "cache bytes over the baseline's at the p95 context"));
  const LayerCost decode = plan.DecodeCost(context);
  add("useful_flops_per_token", Quantity::Exact(decode.flops, "FLOP", fmt::format("mixers of all layers, one token at the mean decode context, {} tokens", context)));
  add("bytes_read_per_token", Quantity::Exact(decode.bytes_read, "B", fmt::format("mixers of all layers, one token at {} tokens of context", context)));
  add("arithmetic_intensity", Quantity::Exact(decode.flops / std::max(decode.bytes_read + decode.bytes_written, 1.0), "FLOP/B", "useful work over cache and state traffic of a decoded token"));
  if (plan.letter != baseline.letter) {
    add("break_even_memory_tokens", BreakEvenQuantity(BreakEvenMemoryTokens(plan, baseline, kLongestContext), "keeps"));
    add("break_even_traffic_tokens", BreakEvenQuantity(BreakEvenTrafficTokens(plan, baseline, kLongestContext), "moves"));
    const double per_token = baseline.ResidentBytesAt(1) - baseline.ResidentBytesAt(0);
    if (plan.StateBytes() > 0 && per_token > 0) {
      add("state_equivalent_tokens", Quantity::Exact(plan.StateBytes() / per_token, "tokens", "its states take the bytes of so many tokens of the baseline's cache"));
    }
  }
  return rows;
}

// 101 quantiles of ascending values: enough for a picture, whatever the sample size.
nlohmann::json Quantiles(const std::vector<double>& ascending) {
  nlohmann::json out = nlohmann::json::array();
  for (int i = 0; i <= 100 && !ascending.empty(); ++i) out.push_back(JsonNumber(stats::QuantileSorted(ascending, i / 100.0)));
  return out;
}

std::string CurvesJson(const ServingFacts& facts) {
  nlohmann::json load = nlohmann::json::array();
  const size_t stride = std::max<size_t>(1, facts.load.size() / 2000);
  for (size_t i = 0; i < facts.load.size(); i += stride) load.push_back({std::round(facts.load[i].context_tokens), facts.load[i].concurrency});
  return nlohmann::json{{"ttft_ms", Quantiles(facts.ttft_ms)}, {"tpot_ms", Quantiles(facts.tpot_ms)}, {"load", std::move(load)}}.dump();
}

struct ServingField {
  const char* metric;
  Quantity ServingFacts::*field;
};
constexpr ServingField kServingFields[] = {
    {"max_rate_per_second", &ServingFacts::max_rate}, {"ttft_ms_p50", &ServingFacts::ttft_ms_p50}, {"ttft_ms_p95", &ServingFacts::ttft_ms_p95},
    {"ttft_ms_p99", &ServingFacts::ttft_ms_p99},      {"tpot_ms_p50", &ServingFacts::tpot_ms_p50}, {"tpot_ms_p95", &ServingFacts::tpot_ms_p95},
    {"tpot_ms_p99", &ServingFacts::tpot_ms_p99},      {"e2e_ms_p95", &ServingFacts::e2e_ms_p95},        {"kv_memory_peak_bytes", &ServingFacts::kv_peak_bytes},
    {"preemption_count", &ServingFacts::preemptions}, {"batch_size_mean", &ServingFacts::batch_mean}, {"step_time_ms", &ServingFacts::decode_step_ms},
    {"outside_coverage_share", &ServingFacts::outside_share},
};

Result<std::vector<Measurement>> ServeCandidate(const AuditSetting& setting, const CandidatePlan& plan) {
  const ServingFacts facts = EvaluateServing({.usecase = &setting.usecase, .plan = &plan, .traffic = &setting.traffic, .assume = setting.conditions.assume});
  std::vector<Measurement> rows;
  for (const ServingField& field : kServingFields) rows.push_back(AuditRow(setting, plan.letter, field.metric, "serving", facts.*field.field));
  for (Measurement& row : rows) {
    row.subject.implementation = plan.candidate->implementation.engine + " " + plan.candidate->implementation.version;
    if (plan.candidate->implementation_is_own) row.flags = "mixed";
    if (IsExtrapolated(facts.outside_share)) row.flags += row.flags.empty() ? "extrapolated" : ",extrapolated";
    row.cell_key = CellKey(row.subject, row.factors, row.machine);
  }
  if (!facts.max_rate.refused()) {
    ASSAY_TRY(rows[0].samples_artifact, setting.store->PutArtifact(CurvesJson(facts), "application/json"));
  }
  if (plan.letter == setting.plans[0].letter) {
    rows.push_back(AuditRow(setting, "step", "attention_share_decode", "serving", facts.attention_share_decode));
    rows.push_back(AuditRow(setting, "step", "attention_share_prefill", "serving", facts.attention_share_prefill));
    Quantity bound = facts.attention_share_decode;
    bound.origin = "if attention took no time, TPOT would fall by its share of a decode step (Amdahl); " + bound.origin;
    rows.push_back(AuditRow(setting, "step", "amdahl_bound", "serving", bound));
  }
  return rows;
}

}  // namespace

Measurement AuditRow(const AuditSetting& setting, std::string scope, std::string metric, std::string probe, Quantity quantity) {
  Measurement row;
  row.factors = {{"scope", std::move(scope)}, {"audit", setting.identity}};
  row.metric = std::move(metric);
  row.probe = std::move(probe);
  row.quantity = std::move(quantity);
  row.seed = setting.seed;
  row.command = setting.command;
  row.cell_key = CellKey(row.subject, row.factors, "");
  return row;
}

std::vector<StudyCell> ArithmeticCells(const AuditSetting& setting) {
  std::vector<StudyCell> cells;
  cells.push_back({.key = setting.identity + "/traffic", .label = "traffic", .estimated_seconds = 0.1,
                   .measure = [&setting]() -> Result<std::vector<Measurement>> { return TrafficRows(setting); }});
  for (const CandidatePlan& plan : setting.plans) {
    cells.push_back({.key = setting.identity + "/arithmetic/" + plan.letter, .label = "arithmetic of " + plan.candidate->id, .estimated_seconds = 0.1,
                     .measure = [&setting, &plan]() -> Result<std::vector<Measurement>> { return CandidateArithmetic(setting, plan); }});
  }
  return cells;
}

std::vector<StudyCell> ServingCells(const AuditSetting& setting) {
  std::vector<StudyCell> cells;
  for (const CandidatePlan& plan : setting.plans) {
    cells.push_back({.key = setting.identity + "/serving/" + plan.letter, .label = "serving with " + plan.candidate->id, .estimated_seconds = 3,
                     .measure = [&setting, &plan] { return ServeCandidate(setting, plan); }});
  }
  return cells;
}

ServingFacts ServingFactsFromRows(const std::vector<Measurement>& rows, std::string_view letter) {
  ServingFacts facts;
  for (const ServingField& field : kServingFields) (facts.*field.field) = Quantity::Refused("", "not evaluated");
  for (const Measurement& row : rows) {
    if (row.probe != "serving" || ScopeOf(row) != letter) continue;
    for (const ServingField& field : kServingFields) {
      if (row.metric == field.metric) (facts.*field.field) = row.quantity;
    }
  }
  return facts;
}

}  // namespace assay
