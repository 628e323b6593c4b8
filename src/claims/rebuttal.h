// Rebuttals: a replication file that names the premise of a claim it attacks and brings measurements. It is kept beside the claim, with
// its measurements as rows of the store; it changes no verdict by itself.
#pragma once

#include <string>
#include <vector>

#include "claims/claim.h"
#include "claims/verdict.h"
#include "core/result.h"
#include "store/store.h"

namespace assay {

// Refuses a file whose claim is unknown, whose premise is none of the claim's (an omission, an unsaid value or a check), or that brings
// no measurement.
Result<Rebuttal> StoreRebuttal(Store& store, const std::string& path, const std::vector<Claim>& claims, const std::string& command);




}  // namespace assay
