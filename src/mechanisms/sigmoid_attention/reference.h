// Sigmoid attention (Ramapuram et al. 2024, arXiv 2409.04431, eq. 3): every visible key is weighed by itself,
//     p_ij = sigma(scale q_i . k_j + bias_ij + b),   b = -log n,          o_i = sum_j p_ij v_j,
// and nothing is normalised. n is the parameter bias_tokens: the length the bias was trained for, not the length of this call, or a token's
// output would depend on how the text was cut into calls.
#pragma once

#include "mechanisms/softmax_reference.h"

namespace assay::sigmoid_attention {

inline constexpr double kDefaultBiasTokens = 4096;

template <class T>
void Reference(const Problem& problem) {
  using std::exp;
  const Extents extents = ResolveExtents(problem).value();
  const T scale = reference::Convert<T>(problem.scale);
  const T b_n = reference::Convert<T>(-std::log(problem.Parameter("bias_tokens", kDefaultBiasTokens)));
  const T one = reference::Convert<T>(1);
  const bool has_bias = problem.Has(Role::kMaskAdd) || problem.Has(Role::kAlibi);
  for (int64_t b = 0; b < extents.sequences; ++b) {
    const int64_t queries = extents.query_tokens[static_cast<size_t>(b)];
    const int64_t S = extents.key_tokens[static_cast<size_t>(b)];
    reference::Rows<T> q(problem, Role::kQ, b, queries, extents.query_heads, extents.head_dim);
    reference::Rows<T> k(problem, Role::kK, b, S, extents.kv_heads, extents.head_dim);
    reference::Rows<T> v(problem, Role::kV, b, S, extents.kv_heads, extents.v_head_dim);
    const Visibility visibility(problem, extents, b);
    const reference::Outputs<T> outputs(problem, b);
    for (int64_t h = 0; h < extents.query_heads; ++h) {
      const int64_t g = KvHeadOf(h, extents);
      for (int64_t i = 0; i < queries; ++i) {
        const std::vector<int64_t> keys = reference::VisibleKeys(visibility, h, i, S);
        std::vector<T> p;
        p.reserve(keys.size());
        for (const int64_t j : keys) {
          T z = scale * reference::Dot(q.At(i, h), k.At(j, g), extents.head_dim) + b_n;
          if (has_bias) z += reference::Convert<T>(visibility.Bias(h, i, j));
          p.push_back(one / (one + exp(-z)));
        }
        outputs.Output(h, i, reference::WeightedSum(keys, p, v, g, extents.v_head_dim));
        outputs.Weights(h, i, keys, p, one);
      }
    }
  }
}

}  // namespace assay::sigmoid_attention
