#include "advice/batch_bound.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>

#include "core/thread_pool.h"
#include "machine/ceilings.h"
#include "machine/fingerprint.h"
#include "serving/assumptions.h"

namespace assay {
namespace {

constexpr int kCeilingRounds = 5;

Quantity AtLeast(double value, std::string unit, std::string origin) {
  return {value, value, std::numeric_limits<double>::infinity(), std::move(unit), Basis::kBounded, std::move(origin)};
}

// Ranges of [assume] at their low ends: with them a lower bound stays one.
double Least(const formats::Interval& range) { return range.low; }
double LeastOr(const serving::Assumptions& assumed, std::string_view name, double otherwise) {
  const formats::Interval* range = assumed.Find(name);
  return range != nullptr ? Least(*range) : otherwise;
}

serving::Assumptions AssumedIn(const AuditSetting& setting) { return serving::Assumptions(setting.usecase, setting.conditions.assume); }

// Of the names that were asked for, those that were assumed.
std::string TextOf(const serving::Assumptions& assumed) {
  std::string text;
  const std::set<std::string, std::less<>> asked = assumed.asked();
  for (const std::string& name : asked) {
    const formats::Interval* range = assumed.Find(name);
    if (range != nullptr) text += fmt::format("{}{} {:g}", text.empty() ? "; assumed, at the end that is least: " : ", ", name, range->low);
  }
  return text;
}

// What the batch's length depends on besides kernels.
struct Overheads {
  double prompt_factor, output_factor, step_us, sequence_us, request_us;
};
Overheads LeastOverheads(const serving::Assumptions& assumed, double layers) {
  return {.prompt_factor = LeastOr(assumed, "prompt_length_factor", 1), .output_factor = LeastOr(assumed, "output_length_factor", 1),
          .step_us = serving::HostUsPerStep(assumed, Least).value_or(0) + layers * serving::LayerOverheadUs(assumed, Least).value_or(0),
          .sequence_us = LeastOr(assumed, "sampling_us_per_sequence", 0), .request_us = LeastOr(assumed, "host_us_per_request", 0)};
}
double LeastPriceFactor(const serving::Assumptions& assumed) { return LeastOr(assumed, "price_factor", 1); }

Result<std::vector<Measurement>> BoundAll(const AuditSetting& setting) {
  ASSAY_TRY(const CpuCeilings ceilings, MeasureCpuCeilings());
  std::vector<Measurement> rows;
  const auto documents = static_cast<double>(setting.traffic.unit_rate.size());
  for (const CandidatePlan& plan : setting.plans) {
    const Quantity hours = BatchHoursBound(setting, plan, ceilings);
    rows.push_back(AuditRow(setting, plan.letter, "batch_hours", "batch", hours));
    Quantity per_document = Quantity::Refused("USD", "the use case names no price; add usd_per_device_hour to [platform]");
    if (setting.usecase.platform.usd_per_device_hour) {
      const double usd_per_hour = *setting.usecase.platform.usd_per_device_hour * setting.conditions.scenario.price_factor * LeastPriceFactor(AssumedIn(setting));
      per_document = Scale(hours, usd_per_hour / documents);
      per_document.unit = "USD";
      per_document.origin = fmt::format("{:.4g} USD an hour x hours / {:.0f} documents; {}", usd_per_hour, documents, hours.origin);
    }
    rows.push_back(AuditRow(setting, plan.letter, "cost_usd_per_document", "batch", per_document));
  }
  for (Measurement& row : rows) {
    row.machine = setting.machine_id;
    row.cell_key = CellKey(row.subject, row.factors, row.machine);
  }
  return rows;
}

}  // namespace

Result<CpuCeilings> MeasureCpuCeilings() {
  const machine::Fingerprint fingerprint = machine::TakeFingerprint();
  ThreadPool pool(static_cast<int>(AllowedCpus().size()));
  machine::CeilingOptions options;
  options.kinds = {machine::CeilingKind::kFp32, machine::CeilingKind::kBf16, machine::CeilingKind::kInt8, machine::CeilingKind::kL2Read, machine::CeilingKind::kL3Read, machine::CeilingKind::kDramRead};
  ASSAY_TRY(const std::unique_ptr<machine::Ceilings> measured, machine::Ceilings::Make(fingerprint, pool, options));
  CpuCeilings best;
  for (int round = 0; round < kCeilingRounds; ++round) {
    const machine::CeilingSample sample = measured->Measure();
    // A NaN (the machine was too busy) compares false and is passed over.
    for (const auto kind : {machine::CeilingKind::kFp32, machine::CeilingKind::kBf16}) {
      if (sample[kind] > best.flops_per_second) best.flops_per_second = sample[kind];
    }
    if (sample[machine::CeilingKind::kInt8] > best.int8_ops_per_second) best.int8_ops_per_second = sample[machine::CeilingKind::kInt8];
    for (const auto kind : {machine::CeilingKind::kL2Read, machine::CeilingKind::kL3Read}) {
      if (sample[kind] > best.cache_bytes_per_second) best.cache_bytes_per_second = sample[kind];
    }
    if (sample[machine::CeilingKind::kDramRead] > best.bytes_per_second) best.bytes_per_second = sample[machine::CeilingKind::kDramRead];
  }
  best.cache_bytes = static_cast<double>(fingerprint.CacheBytes(3)) * fingerprint.CacheInstances(3) + static_cast<double>(fingerprint.CacheBytes(2)) * fingerprint.CacheInstances(2);
  if (best.flops_per_second <= 0 || best.bytes_per_second <= 0) {
    return EnvironmentError("this machine is too busy to measure its ceilings; run `assay doctor`, stop what else runs, and try again");
  }
  return best;
}

bool BatchUsesAssumption(std::string_view name) {
  const serving::Assumptions none;
  LeastOverheads(none, 1);
  LeastPriceFactor(none);
  return none.asked().contains(name);
}

Quantity BatchHoursBound(const AuditSetting& setting, const CandidatePlan& plan, const CpuCeilings& ceilings) {
  const formats::ModelSpec& model = setting.usecase.model;
  const formats::ParameterCounts parameters = formats::CountParameters(model);
  const serving::Assumptions assumed = AssumedIn(setting);
  const Overheads least = LeastOverheads(assumed, static_cast<double>(model.layers));
  // Only the last token of a prompt meets the vocabulary head.
  const double body = parameters.active - parameters.head;
  const auto documents = static_cast<double>(setting.traffic.unit_rate.size());
  // As many as the engine holds at once; not told, all of them may share a step.
  const double sequences = std::clamp(static_cast<double>(setting.usecase.engine.policy.max_sequences.value_or(setting.traffic.unit_rate.size())), 1.0, std::max(1.0, documents));
  double dense_flops = 0, mixer_flops = 0, cache_bytes = 0, output_tokens = 0;
  for (const serving::Request& request : setting.traffic.unit_rate) {
    const double prompt = std::max(1.0, std::floor(request.prompt_tokens * least.prompt_factor)), output = std::max(1.0, std::floor(request.output_tokens * least.output_factor));
    // Two FLOPs a weight and token; the mixer's work beside it, decode at the mean of the contexts it meets. The last token is not fed back.
    const LayerCost prefill = plan.PrefillCost(static_cast<int64_t>(prompt));
    const LayerCost decode = plan.DecodeCost(static_cast<int64_t>(prompt + output / 2));
    dense_flops += 2 * body * (prompt + output - 1) + 2 * parameters.head * output;
    mixer_flops += prefill.flops + decode.flops * (output - 1);
    cache_bytes += decode.bytes_read * (output - 1);
    output_tokens += output;
  }
  // A step gives each sequence at most one token, and reads the weights once; what the caches of this machine hold is not read from memory.
  const double steps = output_tokens / sequences;
  const double weights = formats::WeightBytesRead(model, sequences);
  const double held = ceilings.cache_bytes_per_second > 0 ? std::min(weights, ceilings.cache_bytes) : 0;
  const double memory_bytes = (weights - held) * steps + (weights + cache_bytes / steps <= ceilings.cache_bytes ? 0 : cache_bytes);
  const double memory_s = memory_bytes / ceilings.bytes_per_second + (held > 0 ? held * steps / ceilings.cache_bytes_per_second : 0);
  // Integer matrices and integer keys may run on integer arithmetic, which is no slower than the rest.
  const double int8_rate = std::max(ceilings.flops_per_second, ceilings.int8_ops_per_second);
  const double dense_rate = model.weight_bits <= 8 ? int8_rate : ceilings.flops_per_second;
  const double mixer_rate = BitsOf(plan.candidate->kv.dtype) <= 8 ? int8_rate : ceilings.flops_per_second;
  const double flop_s = dense_flops / dense_rate + mixer_flops / mixer_rate;
  const double host_s = 1e-6 * (steps * least.step_us + least.sequence_us * output_tokens + least.request_us * documents);
  const std::string assumptions = TextOf(assumed);
  Quantity hours = AtLeast((std::max(flop_s, memory_s) + host_s) / 3600, "h",
                           fmt::format("at least max({:.3g} FLOP in {:.3g} s, {:.3g} B of memory and caches in {:.3g} s) at this machine's measured ceilings, {:.0f} sequences a step{}; no "
                                       "engine was timed", dense_flops + mixer_flops, flop_s, memory_bytes + held * steps, memory_s, sequences, assumptions));
  if (!assumptions.empty()) hours.basis = Weaker(hours.basis, Basis::kAssumed);
  return hours;
}

std::vector<StudyCell> BatchCells(const AuditSetting& setting) {
  return {{.key = setting.identity + "/batch", .label = "the batch on this machine", .estimated_seconds = 1, .measure = [&setting] { return BoundAll(setting); }}};
}

}  // namespace assay
