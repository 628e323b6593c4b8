// The parts of sliding-window attention that its own files share.
#pragma once

#include "mechanisms/mechanism.h"

namespace assay::sliding_window {

LayerCost Cost(const CostQuery& query);
ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes);
TableKernel TimedBy(const LayerShape& shape, const ParameterSet& parameters);

}  // namespace assay::sliding_window
