// What mechanisms with queries, keys and values share around the truth: which roles a problem may carry, contradictions in shapes, random
// examples in every storage form, and the parts of their costs. The rows that references read are in softmax_reference.h.
#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "core/result.h"
#include "kernels/problem.h"
#include "mechanisms/mechanism.h"

namespace assay {

// The roles of plain softmax attention; a mechanism that reads more or fewer passes its own list.
inline constexpr Role kSoftmaxRoles[] = {Role::kQ,      Role::kK,      Role::kV,    Role::kO,         Role::kLse,   Role::kWeights,
                                         Role::kScores, Role::kKScale, Role::kVScale, Role::kCuQ,     Role::kCuK,   Role::kLenK,
                                         Role::kPageTable, Role::kPosQ, Role::kPosK, Role::kMaskBool, Role::kMaskAdd, Role::kSink,
                                         Role::kAlibi};

// Shapes agree, every role is one of `roles` (an argument nobody reads is refused, never ignored), O is there, options are in range.
Status CheckSoftmaxProblem(const Problem& problem, std::span<const Role> roles);

// Every parameter the problem carries is declared by the mechanism and in range.
Status CheckParameters(const Problem& problem, const Mechanism& mechanism);

// Random queries, keys and values of any storage form, with O (NaN until written) and LSE if asked for. Scores have standard deviation
// spec.logit_std at scale 1 / sqrt(head_dim). Pages are shuffled; unused cache memory holds NaN.
Result<OwnedProblem> MakeSoftmaxExample(std::string_view mechanism, const ExampleSpec& spec, Rng& rng);

// Pairs (query, key) that a causal call of `new_tokens` queries behind `context_tokens` keys computes, each query seeing at most
// `window_tokens` keys (0: all).
double VisiblePairs(int64_t new_tokens, int64_t context_tokens, int64_t window_tokens);

// The dense projections of plain attention: q, k, v and o. No parameter changes them; a descriptor names this function as it is.
std::vector<Projection> SoftmaxProjections(const LayerShape& shape, const ParameterSet& parameters);

inline int64_t ValueWidth(const LayerShape& shape) { return shape.v_head_dim > 0 ? shape.v_head_dim : shape.head_dim; }

// Bytes of an activation element: queries, outputs and new rows travel as bf16 or fp16, whatever the cache holds.
inline constexpr double kActivationBytes = 2;

// The sizes of a call, as formulas multiply them.
struct CallSizes {
  double heads, d, dv, tokens, sequences;
};
CallSizes SizesOf(const CostQuery& query);

// What a token's keys and values take in the cache, scales included; `bytes` says how wide the cache is.
double KvBytesPerToken(const LayerShape& shape, const CostQuery& bytes);

// The traffic of a call that reads `cached_keys` keys and values of each sequence from the cache: those, the queries and the new rows in;
// the outputs and the new rows out. No work yet. `shape` is the query's, or the layer's own where it keeps other heads.
LayerCost SoftmaxTraffic(const LayerShape& shape, const CostQuery& query, double cached_keys);

}  // namespace assay
