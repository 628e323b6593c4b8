// The parts of mla that its own files share. Nothing outside this folder includes this header; the door is the descriptor in mechanism.cc.
#pragma once

#include <vector>

#include "core/result.h"
#include "kernels/problem.h"
#include "mechanisms/case_adapter.h"
#include "mechanisms/mechanism.h"

namespace assay::mla {

// A latent problem has no V: its values are the leading channels of K, as many as O is wide. This adds V as a view of K, which is what
// the reference and the shared softmax kernel read. A problem with a V of its own is returned as it is.
Result<Problem> WithValues(const Problem& problem);

// The two forms of one layer. They are equal algebra: expanded turns every cached latent into keys and values of each head (cheap when
// many queries share the work, in prefill), absorbed turns queries and outputs instead (cheap for one query, in decode).
enum class Form { kExpanded, kAbsorbed };
// What parameter `form` asks for, or which form does less work here.
Form FormOf(const CostQuery& query);

LayerCost Cost(const CostQuery& query);
ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes);
std::vector<Projection> Projections(const LayerShape& shape, const ParameterSet& parameters);
TableKernel TimedBy(const LayerShape& shape, const ParameterSet& parameters);
// Adapters of MultiHeadLatentAttention, one a form (cases.cc).
Result<CaseOutputs> RunExpanded(const ConformanceCase& conformance_case, const Attend& attend);
Result<CaseOutputs> RunAbsorbed(const ConformanceCase& conformance_case, const Attend& attend);

Result<OwnedProblem> Example(const ExampleSpec& spec, const ParameterSet& parameters, Rng& rng);

}  // namespace assay::mla
