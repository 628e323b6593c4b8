// The pictures of an audit, from stored rows and artifacts. Private to advice/.
#pragma once

#include "advice/audit.h"
#include "advice/audit_cells.h"

namespace assay {

std::vector<Figure> MakeFigures(const AuditSetting& setting, const std::vector<Measurement>& rows);
CrossoverMap MakeCrossover(const AuditSetting& setting, const std::vector<Measurement>& rows);
std::vector<AuditProbe> MakeProbes(const AuditSetting& setting, const std::vector<Measurement>& rows);

}  // namespace assay
