// The parts of sigmoid attention that its own files share.
#pragma once

#include "mechanisms/mechanism.h"

namespace assay::sigmoid_attention {

LayerCost Cost(const CostQuery& query);
ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes);

}  // namespace assay::sigmoid_attention
