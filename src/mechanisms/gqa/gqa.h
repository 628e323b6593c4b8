// The parts of grouped-query attention that its own files share.
#pragma once

#include "mechanisms/case_adapter.h"
#include "mechanisms/mechanism.h"

namespace assay::gqa {

LayerCost Cost(const CostQuery& query);
ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes);
std::vector<Projection> Projections(const LayerShape& shape, const ParameterSet& parameters);
TableKernel TimedBy(const LayerShape& shape, const ParameterSet& parameters);

// Adapters of conformance operators (cases_onnx.cc, cases_modules.cc).
Result<CaseOutputs> RunAttention(const ConformanceCase& conformance_case, const Attend& attend);
Result<CaseOutputs> RunFlexAttention(const ConformanceCase& conformance_case, const Attend& attend);
Result<CaseOutputs> RunQkNorm(const ConformanceCase& conformance_case, const Attend& attend);
Result<CaseOutputs> RunGatedOutput(const ConformanceCase& conformance_case, const Attend& attend);
Result<CaseOutputs> RunSeparateGate(const ConformanceCase& conformance_case, const Attend& attend);
Result<CaseOutputs> RunRopeOrNope(const ConformanceCase& conformance_case, const Attend& attend);
Result<CaseOutputs> RunDifferential(const ConformanceCase& conformance_case, const Attend& attend);
Result<CaseOutputs> RunAlibi(const ConformanceCase& conformance_case, const Attend& attend);

}  // namespace assay::gqa
