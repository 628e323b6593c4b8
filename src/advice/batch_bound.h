// Offline work on this CPU: the least hours that a batch can take, from its FLOPs and bytes and this machine's own ceilings. One-sided on
// purpose: no engine of the user's was timed, so the truth lies at or above it.
#pragma once

#include "advice/audit_cells.h"

namespace assay {

struct CpuCeilings {
  double flops_per_second = 0;  // the faster of bf16 and fp32 here
  double bytes_per_second = 0;  // DRAM read
};
// Best of several measurements of all allowed processors.
Result<CpuCeilings> MeasureCpuCeilings();

// Hours of the whole batch, and what it costs a document, for one candidate. value = low; the upper end is open.
Quantity BatchHoursBound(const AuditSetting& setting, const CandidatePlan& plan, const CpuCeilings& ceilings);

std::vector<StudyCell> BatchCells(const AuditSetting& setting);

}  // namespace assay
