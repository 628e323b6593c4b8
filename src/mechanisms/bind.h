// Bind: a call as a use case or a model file writes it ("sliding_window(1024)") as values of the mechanism's parameters.
#pragma once

#include "core/result.h"
#include "formats/stack.h"
#include "mechanisms/mechanism.h"

namespace assay {

// BadInput, naming the call, for arguments that are no numbers or that the mechanism refuses.
Result<ParameterSet> Bind(const Mechanism& mechanism, const formats::MechanismCall& call);

}  // namespace assay
