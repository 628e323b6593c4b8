#include "advice/audit.h"

namespace assay {

std::string_view ScopeOf(const Measurement& row) {
  for (const Factor& factor : row.factors) {
    if (factor.name == "scope") return factor.value;
  }
  return "";
}

std::string IdOf(const Measurement& row) { return std::string(ScopeOf(row)) + "." + row.metric; }

const Measurement* AuditResult::Find(std::string_view scope, std::string_view metric) const {
  for (const Measurement& row : rows) {
    if (row.metric == metric && ScopeOf(row) == scope) return &row;
  }
  return nullptr;
}

}  // namespace assay
