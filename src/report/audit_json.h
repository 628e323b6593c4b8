// An audit as JSON: the answer of `assay audit --json`, the artifact the store keeps, and the data the HTML report draws
// (docs/schemas/audit.schema.json).
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

#include "advice/audit.h"

namespace assay {

// Pretty-printed with two spaces if `indent`; one line otherwise.
std::string AuditJson(const AuditResult& audit, bool indent);

// {id, title, x_label, y_label, x_log, y_log, curves: [{scope, label, basis, points: [[x, y, low, high]]}], refused}
nlohmann::json FigureJson(const Figure& figure);

}  // namespace assay
