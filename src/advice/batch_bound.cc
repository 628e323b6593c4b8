#include "advice/batch_bound.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/thread_pool.h"
#include "machine/ceilings.h"
#include "machine/fingerprint.h"

namespace assay {
namespace {

constexpr int kCeilingRounds = 5;

Quantity AtLeast(double value, std::string unit, std::string origin) {
  return {value, value, std::numeric_limits<double>::infinity(), std::move(unit), Basis::kBounded, std::move(origin)};
}

Result<std::vector<Measurement>> BoundAll(const AuditSetting& setting) {
  ASSAY_TRY(const CpuCeilings ceilings, MeasureCpuCeilings());
  std::vector<Measurement> rows;
  const auto documents = static_cast<double>(setting.traffic.unit_rate.size());
  for (const CandidatePlan& plan : setting.plans) {
    const Quantity hours = BatchHoursBound(setting, plan, ceilings);
    rows.push_back(AuditRow(setting, plan.letter, "batch_hours", "batch", hours));
    Quantity per_document = Quantity::Refused("USD", "the use case names no price; add usd_per_device_hour to [platform]");
    if (setting.usecase.platform.usd_per_device_hour) {
      const double usd_per_hour = *setting.usecase.platform.usd_per_device_hour * setting.conditions.scenario.price_factor;
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
  options.kinds = {machine::CeilingKind::kFp32, machine::CeilingKind::kBf16, machine::CeilingKind::kDramRead};
  ASSAY_TRY(const std::unique_ptr<machine::Ceilings> measured, machine::Ceilings::Make(fingerprint, pool, options));
  CpuCeilings best;
  for (int round = 0; round < kCeilingRounds; ++round) {
    const machine::CeilingSample sample = measured->Measure();
    // A NaN (the machine was too busy) compares false and is passed over.
    for (const auto kind : {machine::CeilingKind::kFp32, machine::CeilingKind::kBf16}) {
      if (sample[kind] > best.flops_per_second) best.flops_per_second = sample[kind];
    }
    if (sample[machine::CeilingKind::kDramRead] > best.bytes_per_second) best.bytes_per_second = sample[machine::CeilingKind::kDramRead];
  }
  if (best.flops_per_second <= 0 || best.bytes_per_second <= 0) {
    return EnvironmentError("this machine is too busy to measure its ceilings; run `assay doctor`, stop what else runs, and try again");
  }
  return best;
}

Quantity BatchHoursBound(const AuditSetting& setting, const CandidatePlan& plan, const CpuCeilings& ceilings) {
  const formats::ParameterCounts parameters = formats::CountParameters(setting.usecase.model);
  // Only the last token of a prompt meets the vocabulary head.
  const double body = parameters.active - parameters.head;
  const double tokens_in_a_step = std::max<double>(1, static_cast<double>(setting.usecase.engine.policy.max_sequences.value_or(16)));
  double flops = 0, bytes = 0;
  for (const serving::Request& request : setting.traffic.unit_rate) {
    const double tokens = static_cast<double>(request.prompt_tokens) + request.output_tokens;
    // Two FLOPs a weight and token; the mixer's work beside it, decode at the mean of the contexts it meets.
    const LayerCost prefill = plan.PrefillCost(request.prompt_tokens);
    const LayerCost decode = plan.DecodeCost(request.prompt_tokens + request.output_tokens / 2);
    flops += 2 * body * tokens + 2 * parameters.head * request.output_tokens + prefill.flops + decode.flops * request.output_tokens;
    // Weights are read once a step, and a step decodes at most as many sequences as the engine holds.
    bytes += (formats::WeightBytesRead(setting.usecase.model, tokens_in_a_step) / tokens_in_a_step + decode.bytes_read) * request.output_tokens;
  }
  const double hours = std::max(flops / ceilings.flops_per_second, bytes / ceilings.bytes_per_second) / 3600;
  return AtLeast(hours, "h",
                 fmt::format("at least max({:.3g} FLOP / {:.3g} FLOP/s, {:.3g} B / {:.3g} B/s) of this machine's measured ceilings; no engine was timed", flops,
                             ceilings.flops_per_second, bytes, ceilings.bytes_per_second));
}

std::vector<StudyCell> BatchCells(const AuditSetting& setting) {
  return {{.key = setting.identity + "/batch", .label = "the batch on this machine", .estimated_seconds = 1, .measure = [&setting] { return BoundAll(setting); }}};
}

}  // namespace assay
