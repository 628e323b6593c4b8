// What a use case says of the variables that claims ask for: traffic, model shape, candidates.
#pragma once

#include "claims/verdict.h"
#include "core/result.h"
#include "formats/usecase.h"

namespace assay {

// Lengths of the declared distributions, drawn with a fixed seed. The audit knows more (a trace's own lengths, measured quantities) and
// adds or overwrites variables.
ClaimContext ContextOf(const formats::UseCase& use_case);

// The same, with the lengths of the trace that the use case names, where it names one.
Result<ClaimContext> ContextWithTrace(const formats::UseCase& use_case);

}  // namespace assay
