// Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245) with the options deployed models use. For query i of head h, which reads
// key/value head g = floor(h Hkv / Hq):
//     s_ij = scale q_i . k_j                     z_ij = cap tanh(s_ij / cap) + bias_ij
//     p_ij = exp(z_ij) / (sum_j exp(z_ij) + exp(sink_h))          o_i = sum_j p_ij v_j
// over the visible keys j (causality, windows, masks: kernels/problem.h, Visibility). A row without any visible key is 0.
#pragma once

#include "mechanisms/softmax_reference.h"

namespace assay::gqa {

template <class T>
void Reference(const Problem& problem) {
  using std::tanh;
  const Extents extents = ResolveExtents(problem).value();
  const T scale = reference::Convert<T>(problem.scale);
  const T cap = reference::Convert<T>(problem.softcap);
  const bool has_bias = problem.Has(Role::kMaskAdd) || problem.Has(Role::kAlibi);
  const TensorView* sinks = problem.Find(Role::kSink);
  const TensorView* scores = problem.Find(Role::kScores);

  for (int64_t b = 0; b < extents.sequences; ++b) {
    const int64_t T_q = extents.query_tokens[static_cast<size_t>(b)];
    const int64_t S = extents.key_tokens[static_cast<size_t>(b)];
    reference::Rows<T> q(problem, Role::kQ, b, T_q, extents.query_heads, extents.head_dim);
    reference::Rows<T> k(problem, Role::kK, b, S, extents.kv_heads, extents.head_dim);
    reference::Rows<T> v(problem, Role::kV, b, S, extents.kv_heads, extents.v_head_dim);
    const Visibility visibility(problem, extents, b);
    const reference::Outputs<T> outputs(problem, b);

    for (int64_t h = 0; h < extents.query_heads; ++h) {
      const int64_t g = KvHeadOf(h, extents);
      std::optional<T> sink;
      if (sinks != nullptr) sink = reference::Convert<T>(sinks->At({h}));
      for (int64_t i = 0; i < T_q; ++i) {
        const std::vector<int64_t> keys = reference::VisibleKeys(visibility, h, i, S);
        std::vector<T> z;
        z.reserve(keys.size());
        for (const int64_t j : keys) {
          T s = scale * reference::Dot(q.At(i, h), k.At(j, g), extents.head_dim);
          if (problem.softcap > 0) s = cap * tanh(s / cap);
          if (has_bias) s += reference::Convert<T>(visibility.Bias(h, i, j));
          z.push_back(s);
        }
        const reference::Exponentials<T> row = reference::Exponentiate(z, sink);
        std::vector<T> o = reference::WeightedSum(keys, row.weight, v, g, extents.v_head_dim);
        if (!keys.empty() && reference::AsDouble(row.sum) > 0) {
          for (T& channel : o) channel /= row.sum;
        }
        outputs.Output(h, i, o);
        outputs.LogSumExp(h, i, row);
        outputs.Weights(h, i, keys, row.weight, row.sum);
        if (scores != nullptr) {
          for (int64_t j = 0; j < S; ++j) {
            scores->Set({b, h, i, j}, reference::AsDouble(scale * reference::Dot(q.At(i, h), k.At(j, g), extents.head_dim)));
          }
        }
      }
    }
  }
}

}  // namespace assay::gqa
