// Names of accelerators and engines in a use case, against those that datasheets and profiles know.
#pragma once

#include "core/result.h"
#include "formats/usecase.h"

namespace assay::serving {

// BadInput, with what is known, for an accelerator without datasheet and for engines that no profile knows: every cell would be refused, and a
// misspelt name must not look like an answer. A known engine in another version, or a GPU with a datasheet only, is well-formed.
Status CheckPlatformNames(const formats::UseCase& usecase);

}  // namespace assay::serving
