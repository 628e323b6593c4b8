#include "report/html.h"

#include "report/audit_json.h"
#include "report/page.h"

namespace assay {

std::string AuditHtml(const AuditResult& audit) {
  return page::Fill({.kind = "audit", .first = "candidates", .title = audit.title, .lead = audit.advice.sentence, .json = AuditJson(audit, false),
                     .script = page::audit_script()});
}

}  // namespace assay
