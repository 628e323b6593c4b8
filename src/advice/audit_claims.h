// The claims of an audit. Private to advice/.
#pragma once

#include "advice/audit.h"
#include "advice/audit_cells.h"
#include "claims/verdict.h"

namespace assay {

// What claims are asked under: as `assay claims check` knows the use case (claims/usecase_context.h), with the lengths and the rate of this
// audit's conditions where --set changed them, and what the audit measured or simulated of the baseline.
Result<ClaimContext> ClaimContextOf(const AuditSetting& setting, const std::vector<Measurement>& rows);

Result<std::vector<AuditClaim>> JudgeClaims(const AuditSetting& setting, const std::vector<Measurement>& rows, std::vector<std::string>* notes);

}  // namespace assay
