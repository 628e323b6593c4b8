// What a use case says of the variables that claims ask for: traffic, model shape, candidates.
#pragma once

#include <cstdint>

#include "claims/verdict.h"
#include "core/result.h"
#include "formats/usecase.h"
#include "serving/traffic.h"

namespace assay {

// Of the requests that an audit replays: claims are judged on the percentiles that its report shows. What is measured or simulated there the
// audit adds. Errors are of candidates that no mechanism here accepts.
Result<ClaimContext> ContextOf(const formats::UseCase& use_case, const serving::Traffic& traffic);

// The same, with the requests that an audit of the file draws, or reads from its trace, under this seed.
Result<ClaimContext> ContextOf(const formats::UseCase& use_case, uint64_t seed);

}  // namespace assay
