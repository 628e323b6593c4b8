// How a kernel's error grows with the number of keys.
#pragma once

#include <optional>

#include "probes/numerics/numerics.h"
#include "probes/numerics/probe.h"

namespace assay::numerics {

// Absent where the kernel does not serve such calls or is exact at some length.
std::optional<ErrorGrowth> MeasureGrowth(const Subject& subject);

}  // namespace assay::numerics
