// Sliding-window attention (Beltagy et al. 2020, arXiv 2004.05150) with the first tokens kept (StreamingLLM, Xiao et al. 2023, arXiv 2309.17453):
// the query at position p sees the W keys at p - W + 1 .. p, itself included, and the keys at positions 0 .. m - 1:
//     o_i = sum_{j in (p_i - W, p_i] or j < m} softmax_j(scale q_i . k_j) v_j.
// Problem::window_left is W - 1: keys beyond the query's own. m is the parameter sink_tokens.
#pragma once

#include "mechanisms/softmax_reference.h"

namespace assay::sliding_window {

template <class T>
void Reference(const Problem& problem) {
  const int64_t W = problem.window_left + 1;
  const auto m = static_cast<int64_t>(problem.Parameter("sink_tokens", 0));
  // Causality and masks bind the first tokens too; only the window does not.
  Problem unwindowed = problem;
  unwindowed.window_left = -1;
  reference::SoftmaxOver<T>(unwindowed, [&](const Visibility& visibility, int64_t, int64_t h, int64_t i, int64_t S) {
    const int64_t p = visibility.QueryPosition(i);
    std::vector<int64_t> keys;
    for (int64_t j = 0; j < S; ++j) {
      const int64_t position = visibility.KeyPosition(j);
      if (visibility.Allowed(h, i, j) && (position > p - W || position < m)) keys.push_back(j);
    }
    return keys;
  });
}

}  // namespace assay::sliding_window
