// Conformance operators that stand beside attention and belong to no mechanism: rotary positions, RMS norm, cache updates, convolutions.
// They need no `attend`.
#pragma once

#include <span>

#include "mechanisms/case_adapter.h"
#include "mechanisms/mechanism.h"

namespace assay {

std::span<const CaseAdapter> PlainCases();

}  // namespace assay
