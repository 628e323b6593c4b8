// The claims of an audit. Private to advice/.
#pragma once

#include "advice/audit.h"
#include "advice/audit_cells.h"

namespace assay {

Result<std::vector<AuditClaim>> JudgeClaims(const AuditSetting& setting, const std::vector<Measurement>& rows);

}  // namespace assay
