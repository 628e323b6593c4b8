// An audit as JSON: the answer of `assay audit --json`, the artifact the store keeps, and the data the HTML report draws
// (docs/schemas/audit.schema.json).
#pragma once

#include <string>

#include "advice/audit.h"

namespace assay {

// Pretty-printed with two spaces if `indent`; one line otherwise.
std::string AuditJson(const AuditResult& audit, bool indent);

}  // namespace assay
