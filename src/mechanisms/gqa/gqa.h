// The parts of grouped-query attention that its own files share.
#pragma once

#include "mechanisms/mechanism.h"

namespace assay::gqa {

LayerCost Cost(const CostQuery& query);
ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes);
std::vector<Projection> Projections(const LayerShape& shape, const ParameterSet& parameters);
TableKernel TimedBy(const LayerShape& shape, const ParameterSet& parameters);

}  // namespace assay::gqa
