// The evidence card: the one-page disclosure of one candidate on one use case. It is the audit cut down to that candidate, so the card and the
// report cannot disagree; written as JSON (audit_json.h) and as HTML (html.h).
#pragma once

#include <string_view>

#include "advice/audit.h"

namespace assay {

// `letter` must be one of the audit's candidates.
AuditResult EvidenceCard(const AuditResult& audit, std::string_view letter);

}  // namespace assay
