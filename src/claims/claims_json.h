// Claims, verdicts and predictions as JSON, for `--json` and for the report.
#pragma once

#include <string>

#include "claims/claim.h"
#include "claims/ledger.h"
#include "claims/verdict.h"
#include "nlohmann/json_fwd.hpp"

namespace assay {

nlohmann::ordered_json ToJson(const Claim& claim);
nlohmann::ordered_json ToJson(const Verdict& verdict);
nlohmann::ordered_json ToJson(const ClaimVerdict& verdict);
nlohmann::ordered_json ToJson(const Prediction& prediction, std::string_view today);
nlohmann::ordered_json ToJson(const LedgerScore& score);

}  // namespace assay
