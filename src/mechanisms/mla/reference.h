// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1). A token leaves one latent c (width r) and one rotary key k_R
// (width dR, shared by all heads) in the cache. Head h, with up-projections W_UK,h [dn, r] and W_UV,h [dv, r], attends in either form:
//   expanded   k_h = [W_UK,h c ; k_R],  v_h = W_UV,h c,      o_h = sum_j softmax_j(s q_h . k_hj) v_hj
//   absorbed   q'_h = [W_UK,h^T q_nope ; q_R],               o_h = W_UV,h sum_j softmax_j(s q'_h . [c_j ; k_Rj]) c_j
// (eq. 9-19 and the remark on absorption below eq. 19). Both are softmax attention; in the absorbed form all heads share one key head and
// the values are the first r channels of the keys.
#pragma once

#include "mechanisms/softmax_reference.h"

namespace assay::mla {

// The attention itself. `problem` has a V (WithValues), either head layout.
template <class T>
void AttendRows(const Problem& problem) {
  const Extents extents = ResolveExtents(problem).value();
  const T scale = reference::Convert<T>(problem.scale);
  const bool has_bias = problem.Has(Role::kMaskAdd);
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
      for (int64_t i = 0; i < T_q; ++i) {
        const std::vector<int64_t> keys = reference::VisibleKeys(visibility, h, i, S);
        std::vector<T> z;
        z.reserve(keys.size());
        for (const int64_t j : keys) {
          T s = scale * reference::Dot(q.At(i, h), k.At(j, g), extents.head_dim);
          if (has_bias) s += reference::Convert<T>(visibility.Bias(h, i, j));
          z.push_back(s);
        }
        const reference::Exponentials<T> row = reference::Exponentiate<T>(z, std::nullopt);
        std::vector<T> o = reference::WeightedSum(keys, row.weight, v, g, extents.v_head_dim);
        if (!keys.empty() && reference::AsDouble(row.sum) > 0) {
          for (T& channel : o) channel /= row.sum;
        }
        outputs.Output(h, i, o);
        outputs.LogSumExp(h, i, row);
        outputs.Weights(h, i, keys, row.weight, row.sum);
      }
    }
  }
}

// y = W x and x = W^T y for one head's up-projection W [n, r], row-major: the steps between the two forms.
template <class T>
void UpProject(const T* weight, const T* latent, int64_t n, int64_t r, T* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = reference::Dot(weight + i * r, latent, r);
}
template <class T>
void Absorb(const T* weight, const T* query, int64_t n, int64_t r, T* out) {
  for (int64_t c = 0; c < r; ++c) {
    T sum = reference::Convert<T>(0);
    for (int64_t i = 0; i < n; ++i) sum += weight[i * r + c] * query[i];
    out[c] = sum;
  }
}

}  // namespace assay::mla
