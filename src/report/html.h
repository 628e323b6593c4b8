// The audit as one self-contained HTML page: works from disk, loads nothing, light and dark, printable.
#pragma once

#include <string>

#include "advice/audit.h"

namespace assay {

std::string AuditHtml(const AuditResult& audit);

}  // namespace assay
