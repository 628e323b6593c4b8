// Pieces of the softmax references: rows read as T, dot products, and the softmax of one row. T is double for the truth, float for the
// twin, Counted for useful work. No code is shared with the kernels.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "core/counted.h"
#include "kernels/problem.h"

namespace assay::reference {

inline double AsDouble(double x) { return x; }
inline double AsDouble(float x) { return static_cast<double>(x); }
inline double AsDouble(Counted x) { return static_cast<double>(x); }

template <class T>
T Convert(double x) {
  return T(x);
}
template <>
inline float Convert<float>(double x) {
  return static_cast<float>(x);
}

// The rows of one role and sequence, each read when first asked for: rows that nobody may see (behind a window, masked, pages given back)
// stay untouched, NaN in them too.
template <class T>
class Rows {
 public:
  Rows(const Problem& problem, Role role, int64_t sequence, int64_t tokens, int64_t heads, int64_t width)
      : source_(problem, role, sequence),
        heads_(heads),
        width_(width),
        values_(static_cast<size_t>(tokens * heads * width)),
        loaded_(static_cast<size_t>(tokens * heads), 0) {}

  const T* At(int64_t token, int64_t head) {
    const auto row = static_cast<size_t>(token * heads_ + head);
    T* values = values_.data() + row * static_cast<size_t>(width_);
    if (loaded_[row] == 0) {
      for (int64_t c = 0; c < width_; ++c) values[c] = Convert<T>(source_.At(token, head, c));
      loaded_[row] = 1;
    }
    return values;
  }

 private:
  TokenRows source_;
  int64_t heads_;
  int64_t width_;
  std::vector<T> values_;
  std::vector<char> loaded_;
};

template <class T>
T Dot(const T* a, const T* b, int64_t width) {
  T sum = Convert<T>(0);
  for (int64_t c = 0; c < width; ++c) sum += a[c] * b[c];
  return sum;
}

// o = sum_j p_j v_j over the given keys.
template <class T>
std::vector<T> WeightedSum(const std::vector<int64_t>& keys, const std::vector<T>& p, Rows<T>& v, int64_t head, int64_t width) {
  std::vector<T> o(static_cast<size_t>(width), Convert<T>(0));
  for (size_t j = 0; j < keys.size(); ++j) {
    const T* row = v.At(keys[j], head);
    for (size_t c = 0; c < o.size(); ++c) o[c] += p[j] * row[c];
  }
  return o;
}

// exp(z_j - m) and their sum, with m = max_j z_j; a sink is one more term of the sum, without a value. An empty row has sum 0.
template <class T>
struct Exponentials {
  std::vector<T> weight;
  T sum = Convert<T>(0);
  T max = Convert<T>(-std::numeric_limits<double>::infinity());
};

template <class T>
Exponentials<T> Exponentiate(const std::vector<T>& z, std::optional<T> sink) {
  using std::exp;
  Exponentials<T> row;
  if (z.empty() && !sink) return row;
  row.max = sink ? *sink : z[0];
  for (const T& score : z) {
    if (row.max < score) row.max = score;
  }
  // A row of scores -inf has no visible key either.
  if (AsDouble(row.max) == -std::numeric_limits<double>::infinity()) {
    row.weight.assign(z.size(), Convert<T>(0));
    return row;
  }
  row.weight.reserve(z.size());
  for (const T& score : z) {
    row.weight.push_back(exp(score - row.max));
    row.sum += row.weight.back();
  }
  if (sink) row.sum += exp(*sink - row.max);
  return row;
}

// Keys that query `i` of head `h` sees, ascending.
inline std::vector<int64_t> VisibleKeys(const Visibility& visibility, int64_t h, int64_t i, int64_t key_tokens) {
  std::vector<int64_t> keys;
  for (int64_t j = 0; j < key_tokens; ++j) {
    if (visibility.Allowed(h, i, j)) keys.push_back(j);
  }
  return keys;
}

// Writes one output row, and log-sum-exp and weights where the problem asks for them.
template <class T>
class Outputs {
 public:
  Outputs(const Problem& problem, int64_t sequence) : problem_(problem), sequence_(sequence), o_(problem, Role::kO, sequence) {
    if (problem.Has(Role::kLse)) lse_.emplace(problem, Role::kLse, sequence);
    weights_ = problem.Find(Role::kWeights);
  }

  void Output(int64_t h, int64_t i, const std::vector<T>& o) const {
    for (size_t c = 0; c < o.size(); ++c) o_.Set(i, h, static_cast<int64_t>(c), AsDouble(o[c]));
  }
  // The log is not useful work of a call that nobody asks it of.
  void LogSumExp(int64_t h, int64_t i, const Exponentials<T>& row) const {
    using std::log;
    if (!lse_) return;
    const bool empty = AsDouble(row.sum) == 0;
    lse_->Set(i, h, 0, empty ? -std::numeric_limits<double>::infinity() : AsDouble(row.max + log(row.sum)));
  }
  void Weights(int64_t h, int64_t i, const std::vector<int64_t>& keys, const std::vector<T>& weight, T divisor) const {
    if (weights_ == nullptr) return;
    for (int64_t j = 0; j < weights_->shape[3]; ++j) weights_->Set({sequence_, h, i, j}, 0);
    for (size_t j = 0; j < keys.size(); ++j) {
      const double p = AsDouble(divisor) == 0 ? 0 : AsDouble(weight[j]) / AsDouble(divisor);
      weights_->Set({sequence_, h, i, keys[j]}, p);
    }
  }

 private:
  const Problem& problem_;
  int64_t sequence_;
  TokenRows o_;
  std::optional<TokenRows> lse_;
  const TensorView* weights_ = nullptr;
};

// The selection of full attention: every visible key.
inline std::vector<int64_t> EveryVisibleKey(const Visibility& visibility, int64_t, int64_t h, int64_t i, int64_t key_tokens) {
  return VisibleKeys(visibility, h, i, key_tokens);
}

// Softmax attention over the keys that `select(visibility, sequence, head, query, keys)` names, ascending. For query i of head h, which reads key/value
// head g = floor(h Hkv / Hq):
//     s_ij = scale q_i . k_j                                       z_ij = cap tanh(s_ij / cap) + bias_ij
//     p_ij = exp(z_ij) / (sum_j exp(z_ij) + exp(sink_h))           o_i = sum_j p_ij v_j
// A row without keys is 0.
template <class T, class Select>
void SoftmaxOver(const Problem& problem, const Select& select) {
  using std::tanh;
  const Extents extents = ResolveExtents(problem).value();
  const T scale = Convert<T>(problem.scale);
  const T cap = Convert<T>(problem.softcap);
  const bool has_bias = problem.Has(Role::kMaskAdd) || problem.Has(Role::kAlibi);
  const TensorView* sinks = problem.Find(Role::kSink);
  const TensorView* scores = problem.Find(Role::kScores);
  for (int64_t b = 0; b < extents.sequences; ++b) {
    const int64_t queries = extents.query_tokens[static_cast<size_t>(b)];
    const int64_t S = extents.key_tokens[static_cast<size_t>(b)];
    Rows<T> q(problem, Role::kQ, b, queries, extents.query_heads, extents.head_dim);
    Rows<T> k(problem, Role::kK, b, S, extents.kv_heads, extents.head_dim);
    Rows<T> v(problem, Role::kV, b, S, extents.kv_heads, extents.v_head_dim);
    const Visibility visibility(problem, extents, b);
    const Outputs<T> outputs(problem, b);
    for (int64_t h = 0; h < extents.query_heads; ++h) {
      const int64_t g = KvHeadOf(h, extents);
      std::optional<T> sink;
      if (sinks != nullptr) sink = Convert<T>(sinks->At({h}));
      for (int64_t i = 0; i < queries; ++i) {
        const std::vector<int64_t> keys = select(visibility, b, h, i, S);
        std::vector<T> z;
        z.reserve(keys.size());
        for (const int64_t j : keys) {
          T s = scale * Dot(q.At(i, h), k.At(j, g), extents.head_dim);
          if (problem.softcap > 0) s = cap * tanh(s / cap);
          if (has_bias) s += Convert<T>(visibility.Bias(h, i, j));
          z.push_back(s);
        }
        const Exponentials<T> row = Exponentiate(z, sink);
        std::vector<T> o = WeightedSum(keys, row.weight, v, g, extents.v_head_dim);
        if (!keys.empty() && AsDouble(row.sum) > 0) {
          for (T& channel : o) channel /= row.sum;
        }
        outputs.Output(h, i, o);
        outputs.LogSumExp(h, i, row);
        outputs.Weights(h, i, keys, row.weight, row.sum);
        if (scores == nullptr) continue;
        for (int64_t j = 0; j < S; ++j) {
          scores->Set({b, h, i, j}, AsDouble(scale * Dot(q.At(i, h), k.At(j, g), extents.head_dim)));
        }
      }
    }
  }
}

}  // namespace assay::reference
