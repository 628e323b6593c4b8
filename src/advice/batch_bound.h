// Offline work on this CPU: the least hours that a batch can take, from its FLOPs and bytes and this machine's own ceilings. One-sided on
// purpose: no engine of the user's was timed, so the truth lies at or above it.
#pragma once

#include "advice/audit_cells.h"

namespace assay {

struct CpuCeilings {
  double flops_per_second = 0;  // the fastest arithmetic here: bf16, fp32, or int8 operations where a model's matrices are int8
  double int8_ops_per_second = 0;
  double bytes_per_second = 0;        // DRAM read
  double cache_bytes_per_second = 0;  // of the caches; 0: not measured, and then nothing is taken to lie there
  double cache_bytes = 0;             // all of them together
};
// Best of several measurements of all allowed processors.
Result<CpuCeilings> MeasureCpuCeilings();

// What the batch's bound reads of [assume]; the others are named in the audit's notes.
bool BatchUsesAssumption(std::string_view name);

// Hours of the whole batch for one candidate: value = low, the upper end open. Ranges of [assume] enter at the end that makes the batch
// shortest, so that it stays a bound.
Quantity BatchHoursBound(const AuditSetting& setting, const CandidatePlan& plan, const CpuCeilings& ceilings);

std::vector<StudyCell> BatchCells(const AuditSetting& setting);

}  // namespace assay
