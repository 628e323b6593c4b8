// Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245): query head h reads key/value head floor(h Hkv / Hq), and every visible
// key (causality, windows, masks: kernels/problem.h, Visibility) takes part in one softmax,
//     o_i = sum_j softmax_j(scale q_i . k_j) v_j,
// with the options deployed models use: a cap on scores, additive biases, a learned sink in the denominator (softmax_reference.h).
#pragma once

#include "mechanisms/softmax_reference.h"

namespace assay::gqa {

template <class T>
void Reference(const Problem& problem) {
  reference::SoftmaxOver<T>(problem, reference::EveryVisibleKey);
}

}  // namespace assay::gqa
