// Claims of the library, judged at their origin and for the use case under audit.
#include "advice/audit_claims.h"

#include <fmt/format.h>

#include <algorithm>

#include "claims/usecase_context.h"
#include "claims/verdict.h"

namespace assay {
Result<ClaimContext> ClaimContextOf(const AuditSetting& setting, const std::vector<Measurement>& rows) {
  ASSAY_TRY(ClaimContext context, ContextOf(setting.usecase, setting.traffic));
  const auto set = [&](const char* name, double value) {
    const auto& known = ContextVariableNames();
    if (std::find(known.begin(), known.end(), name) != known.end()) context.variables[name] = value;
  };
  for (const Measurement& row : rows) {
    if (row.quantity.refused() || ScopeOf(row) != setting.plans[0].letter) continue;
    if (row.metric == "batch_size_mean") set("concurrency", row.quantity.value);
    if (row.metric == "kv_bytes_per_token") set("kv_bytes_per_token", row.quantity.value);
  }
  return context;
}

Result<std::vector<AuditClaim>> JudgeClaims(const AuditSetting& setting, const std::vector<Measurement>& rows, std::vector<std::string>* notes) {
  ASSAY_TRY(const std::vector<Claim> claims, ShippedClaims());
  ASSAY_TRY(const ClaimContext context, ClaimContextOf(setting, rows));
  std::vector<AuditClaim> judged;
  for (const Claim& claim : claims) {
    if (const Status frozen = CheckFrozen(claim); !frozen.ok()) {
      notes->push_back(frozen.error().message);
      continue;
    }
    ASSAY_TRY(const ClaimVerdict verdict, CheckClaim(claim, &context));
    AuditClaim out{.id = claim.id, .mechanism = claim.mechanism, .statement = claim.statement, .source_url = claim.source_url, .date = claim.date,
                   .at_origin = verdict.at_origin.Label(), .at_origin_why = verdict.at_origin.reason, .for_you = "", .for_you_why = "",
                   .basis = std::string(NameOf(verdict.at_origin.basis)), .unsaid = {}, .evidence_against = {},
                   .expired = verdict.expired ? claim.baseline_superseded : ""};
    if (verdict.for_you) {
      out.for_you = verdict.for_you->Label();
      out.for_you_why = verdict.for_you->reason;
      out.bears_on_use_case = verdict.for_you->value != VerdictValue::kOutsideYourDomain;
    }
    for (const Unsaid unsaid : claim.unsaid) out.unsaid.emplace_back(NameOf(unsaid));
    for (const Evidence& evidence : claim.evidence) {
      if (evidence.against) out.evidence_against.push_back(fmt::format("{} ({}, {})", evidence.summary, evidence.date, evidence.url));
    }
    judged.push_back(std::move(out));
  }
  return judged;
}

}  // namespace assay
