// The gated delta rule (Yang, Kautz, Hatamizadeh 2024, arXiv 2412.06464), twice, by different algebra:
//
//   stepwise (eq. 10)   S_t = (I - beta_t k_t k_t^T) Diag(e^{g_t}) S_{t-1} + beta_t k_t v_t^T,      o_t = s S_t^T q_t
//   chunked  (sec. 3.3) the same recurrence solved for a chunk of tokens at once
//
// g_t is one number a head, or one a channel (Kimi delta attention, arXiv 2510.26692). The decay comes before the error: the error
// v - S^T k reads the decayed state. T = double is the truth, T = Counted counts useful work, T = float is the twin that says what error
// single precision cannot avoid.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/counted.h"
#include "kernels/problem.h"
#include "mechanisms/gated_delta_net/gated_delta_net.h"

namespace assay::gated_delta_net {

template <class T>
struct Matrix {
  int64_t rows;
  int64_t columns;
  std::vector<T> data;
  Matrix(int64_t r, int64_t c) : rows(r), columns(c), data(static_cast<size_t>(r * c), T(0)) {}
  T& operator()(int64_t i, int64_t j) { return data[static_cast<size_t>(i * columns + j)]; }
  const T& operator()(int64_t i, int64_t j) const { return data[static_cast<size_t>(i * columns + j)]; }
};

// What one state sees: one sequence, one value head, and every query head that reads it.
template <class T>
struct HeadInputs {
  Matrix<T> k, v;
  Matrix<T> g;                // [tokens, 1] or [tokens, D]; no rows: no decay
  std::vector<T> beta;        // empty: 1
  std::vector<Matrix<T>> q;   // a reader
  bool delta = true;          // false: S <- Diag(e^g) S + beta k v^T, gated linear attention
  T scale = T(1);

  [[nodiscard]] int64_t tokens() const { return k.rows; }
  [[nodiscard]] bool decays() const { return g.rows > 0; }
};

template <class T>
T BetaAt(const HeadInputs<T>& in, int64_t t) {
  return in.beta.empty() ? T(1) : in.beta[static_cast<size_t>(t)];
}

// Token by token. `state` is S_0 on entry and S_T on return; outputs[r] is [tokens, Dv] of reader r.
template <class T>
void Stepwise(const HeadInputs<T>& in, Matrix<T>& state, std::vector<Matrix<T>>& outputs) {
  using std::exp;
  const int64_t key_dim = state.rows;
  const int64_t value_dim = state.columns;
  for (int64_t t = 0; t < in.tokens(); ++t) {
    // S <- Diag(e^g) S
    if (in.decays()) {
      T decay = exp(in.g(t, 0));
      for (int64_t c = 0; c < key_dim; ++c) {
        if (c > 0 && in.g.columns > 1) decay = exp(in.g(t, c));
        for (int64_t j = 0; j < value_dim; ++j) state(c, j) *= decay;
      }
    }
    // u = beta (v - S^T k), or beta v where nothing is erased; S <- S + k u^T
    for (int64_t j = 0; j < value_dim; ++j) {
      T u = in.v(t, j);
      if (in.delta) {
        T read = T(0);
        for (int64_t c = 0; c < key_dim; ++c) read += state(c, j) * in.k(t, c);
        u = u - read;
      }
      if (!in.beta.empty()) u *= BetaAt(in, t);
      for (int64_t c = 0; c < key_dim; ++c) state(c, j) += in.k(t, c) * u;
    }
    // o = s S^T q, after the update
    for (size_t r = 0; r < in.q.size(); ++r) {
      for (int64_t j = 0; j < value_dim; ++j) {
        T read = T(0);
        for (int64_t c = 0; c < key_dim; ++c) read += state(c, j) * in.q[r](t, c);
        outputs[r](t, j) = in.scale * read;
      }
    }
  }
}

// e^{g_{j+1} + .. + g_i} for every channel, as ONE exponential of a sum: a product or a ratio of exponentials overflows under strong decay
// (one factor of e^{-120} and its inverse suffice in fp32).
template <class T>
void DecayBetween(const HeadInputs<T>& in, int64_t after, int64_t upto, int64_t key_dim, std::vector<T>& decay) {
  using std::exp;
  decay.assign(static_cast<size_t>(key_dim), T(1));
  if (!in.decays()) return;
  for (int64_t c = 0; c < key_dim; ++c) {
    if (c > 0 && in.g.columns == 1) {
      decay[static_cast<size_t>(c)] = decay[0];
      continue;
    }
    T sum = T(0);
    for (int64_t l = after + 1; l <= upto; ++l) sum += in.g(l, c);
    decay[static_cast<size_t>(c)] = exp(sum);
  }
}

// A chunk of C tokens at once. With u_i the row that token i really writes, unrolling the recurrence from the chunk's first state S_0 gives
//   u_i = beta_i (v_i - S_0^T (e^{G_i} k_i) - sum_{j<i} A_ij u_j),   A_ij = sum_c k_ic k_jc e^{G_ic - G_jc}
//   o_i = s (S_0^T (e^{G_i} q_i) + sum_{j<=i} B_ij u_j),             B_ij = sum_c q_ic k_jc e^{G_ic - G_jc}
//   S_C = Diag(e^{G_C}) S_0 + sum_j (e^{G_C - G_j} k_j) u_j^T
// with G the cumulative log decay: a unit lower triangular solve (the paper's WY or UT transform) and matrix products.
template <class T>
void ChunkStep(const HeadInputs<T>& in, int64_t begin, int64_t end, Matrix<T>& state, std::vector<Matrix<T>>& outputs) {
  const int64_t key_dim = state.rows;
  const int64_t value_dim = state.columns;
  Matrix<T> u(end - begin, value_dim);
  std::vector<T> decay;

  // x^T Diag(decay) y, and what a row x reads from the chunk's first state.
  const auto dot = [&](const Matrix<T>& x, int64_t i, int64_t j) {
    T sum = T(0);
    for (int64_t c = 0; c < key_dim; ++c) sum += x(i, c) * decay[static_cast<size_t>(c)] * in.k(j, c);
    return sum;
  };
  const auto read_first_state = [&](const Matrix<T>& x, int64_t i, int64_t j) {
    T sum = T(0);
    for (int64_t c = 0; c < key_dim; ++c) sum += state(c, j) * (decay[static_cast<size_t>(c)] * x(i, c));
    return sum;
  };

  for (int64_t i = begin; i < end; ++i) {
    for (int64_t j = 0; j < value_dim; ++j) u(i - begin, j) = in.v(i, j);
    if (in.delta) {
      DecayBetween(in, begin - 1, i, key_dim, decay);
      for (int64_t j = 0; j < value_dim; ++j) u(i - begin, j) -= read_first_state(in.k, i, j);
      for (int64_t l = begin; l < i; ++l) {
        DecayBetween(in, l, i, key_dim, decay);
        const T a = dot(in.k, i, l);
        for (int64_t j = 0; j < value_dim; ++j) u(i - begin, j) -= a * u(l - begin, j);
      }
    }
    for (int64_t j = 0; j < value_dim; ++j) u(i - begin, j) *= BetaAt(in, i);
  }

  for (size_t r = 0; r < in.q.size(); ++r) {
    for (int64_t i = begin; i < end; ++i) {
      DecayBetween(in, begin - 1, i, key_dim, decay);
      for (int64_t j = 0; j < value_dim; ++j) outputs[r](i, j) = read_first_state(in.q[r], i, j);
      for (int64_t l = begin; l <= i; ++l) {
        DecayBetween(in, l, i, key_dim, decay);
        const T b = dot(in.q[r], i, l);
        for (int64_t j = 0; j < value_dim; ++j) outputs[r](i, j) += b * u(l - begin, j);
      }
      for (int64_t j = 0; j < value_dim; ++j) outputs[r](i, j) *= in.scale;
    }
  }

  DecayBetween(in, begin - 1, end - 1, key_dim, decay);
  for (int64_t c = 0; c < key_dim; ++c) {
    for (int64_t j = 0; j < value_dim; ++j) state(c, j) *= decay[static_cast<size_t>(c)];
  }
  for (int64_t l = begin; l < end; ++l) {
    DecayBetween(in, l, end - 1, key_dim, decay);
    for (int64_t c = 0; c < key_dim; ++c) {
      const T k = decay[static_cast<size_t>(c)] * in.k(l, c);
      for (int64_t j = 0; j < value_dim; ++j) state(c, j) += k * u(l - begin, j);
    }
  }
}

template <class T>
void Chunked(const HeadInputs<T>& in, int64_t chunk, Matrix<T>& state, std::vector<Matrix<T>>& outputs) {
  for (int64_t begin = 0; begin < in.tokens(); begin += chunk) {
    ChunkStep(in, begin, begin + chunk < in.tokens() ? begin + chunk : in.tokens(), state, outputs);
  }
}

// --- From the roles of a Problem to heads, and back ---

template <class T>
Matrix<T> GatherRows(const Problem& problem, Role role, int64_t sequence, int64_t head, int64_t tokens, int64_t width) {
  const TokenRows rows(problem, role, sequence);
  Matrix<T> matrix(tokens, width);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < width; ++c) matrix(t, c) = T(rows.At(t, head, c));
  }
  return matrix;
}

template <class T>
HeadInputs<T> GatherHead(const Problem& problem, const Shape& shape, int64_t sequence, int64_t head) {
  const int64_t tokens = shape.tokens[static_cast<size_t>(sequence)];
  HeadInputs<T> in{.k = GatherRows<T>(problem, Role::kK, sequence, shape.KeyHeadOf(head), tokens, shape.key_dim),
                   .v = GatherRows<T>(problem, Role::kV, sequence, head, tokens, shape.value_dim),
                   .g = Matrix<T>(0, 1),
                   .beta = {},
                   .q = {},
                   .delta = problem.Parameter("delta", 1) != 0,
                   .scale = T(problem.scale)};
  if (problem.Has(Role::kLogDecay)) {
    in.g = GatherRows<T>(problem, Role::kLogDecay, sequence, head, tokens, shape.channel_decay ? shape.key_dim : 1);
  }
  if (problem.Has(Role::kBeta)) in.beta = GatherRows<T>(problem, Role::kBeta, sequence, head, tokens, 1).data;
  for (int64_t output = 0; output < shape.output_heads; ++output) {
    if (shape.StateOf(output) != head) continue;
    in.q.push_back(GatherRows<T>(problem, Role::kQ, sequence, shape.QueryHeadOf(output), tokens, shape.key_dim));
  }
  return in;
}

// `problem.chunk` selects the form: 0 or 1 stepwise, C > 1 chunks of C tokens.
template <class T>
void Reference(const Problem& problem, const Shape& shape) {
  const TensorView* state_in = problem.Find(Role::kStateIn);
  const TensorView* state_out = problem.Find(Role::kStateOut);
  for (int64_t b = 0; b < shape.sequences; ++b) {
    const TokenRows output_rows(problem, Role::kO, b);
    for (int64_t h = 0; h < shape.state_heads; ++h) {
      const HeadInputs<T> in = GatherHead<T>(problem, shape, b, h);
      Matrix<T> state(shape.key_dim, shape.value_dim);
      for (int64_t c = 0; state_in != nullptr && c < shape.key_dim; ++c) {
        for (int64_t j = 0; j < shape.value_dim; ++j) state(c, j) = T(state_in->At({b, h, c, j}));
      }
      std::vector<Matrix<T>> outputs(in.q.size(), Matrix<T>(in.tokens(), shape.value_dim));
      if (problem.chunk > 1) {
        Chunked(in, static_cast<int64_t>(problem.chunk), state, outputs);
      } else {
        Stepwise(in, state, outputs);
      }
      size_t reader = 0;
      for (int64_t output = 0; output < shape.output_heads; ++output) {
        if (shape.StateOf(output) != h) continue;
        for (int64_t t = 0; t < in.tokens(); ++t) {
          for (int64_t j = 0; j < shape.value_dim; ++j) output_rows.Set(t, output, j, static_cast<double>(outputs[reader](t, j)));
        }
        ++reader;
      }
      for (int64_t c = 0; state_out != nullptr && c < shape.key_dim; ++c) {
        for (int64_t j = 0; j < shape.value_dim; ++j) state_out->Set({b, h, c, j}, static_cast<double>(state(c, j)));
      }
    }
  }
}

}  // namespace assay::gated_delta_net
