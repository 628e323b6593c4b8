// Test support: a softmax problem from plain arrays of doubles, its fp64 solution written out as the formula says, and the twin (the same
// sums in float), whose error calibrates the tolerance. Shares no code with the kernels.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "core/random.h"
#include "kernels/problem.h"
#include "kernels/test_tables.h"

namespace assay::testing {

struct SoftmaxSpec {
  std::vector<int64_t> queries = {1};
  std::vector<int64_t> keys = {1};
  int64_t query_heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 32;
  int64_t v_head_dim = 32;
  DType dtype = DType::kF32;
  DType cache = DType::kF32;  // of K and V, where it is not kF32: a cheaper cache than `dtype`
  ScaleGranularity k_scale = ScaleGranularity::kNone;
  ScaleGranularity v_scale = ScaleGranularity::kNone;
  Causal causal = Causal::kBottomRight;
  int64_t window_left = -1;
  int64_t window_right = -1;
  double softcap = 0;
  double score_spread = 1.5;  // standard deviation of the scaled scores
  bool sink = false;
  bool alibi = false;
  bool mask_bool = false;
  bool mask_add = false;
  bool positions = false;
  bool lse = true;
  enum class Storage { kPacked, kDense, kPaged } storage = Storage::kPacked;
  int page_tokens = 16;
  int64_t stride_padding = 0;  // extra elements between rows
  int64_t misalign = 0;        // elements by which K and V start late
  bool reversed_channels = false;
};

// One sequence in doubles, every value representable in the problem's type.
struct SequenceData {
  int64_t queries, keys;
  std::vector<double> q, k, v;                  // [token][head][channel]
  std::vector<double> k_codes, v_codes;         // what the tensors hold of k and v; the same without scales
  std::vector<double> k_scales, v_scales;       // one an element
  std::vector<double> bias;                     // [head][query][key], mask_add with -inf, and mask_bool as -inf
  std::vector<int64_t> query_position, key_position;
};

struct SoftmaxCase {
  SoftmaxSpec spec;
  double scale = 0;
  std::vector<double> sink, slope;
  std::vector<SequenceData> sequences;
  OwnedProblem owned;
  Tensor poisoned_o, poisoned_lse;
};

struct Row {
  std::vector<double> o;
  std::vector<double> magnitude;  // sum_j p_j |v_j|
  double lse = -kInf;
};

inline double RoundTo(DType dtype, double value) {
  unsigned char bits[8];
  StoreElement(bits, dtype, 0, value);
  return LoadElement(bits, dtype, 0);
}

inline bool Visible(const SoftmaxSpec& spec, const SequenceData& s, int64_t query, int64_t key) {
  const int64_t distance = s.key_position[static_cast<size_t>(key)] - s.query_position[static_cast<size_t>(query)];
  if (spec.causal != Causal::kNone && distance > 0) return false;
  if (spec.window_left >= 0 && distance < -spec.window_left) return false;
  if (spec.window_right >= 0 && distance > spec.window_right) return false;
  return true;
}

// T = double is the truth, T = float the twin. `round_weights` rounds P to bf16 before P V, as native bf16 products do.
template <class T>
Row Solve(const SoftmaxCase& c, const SequenceData& s, int64_t query, int64_t head, bool round_weights = false) {
  const SoftmaxSpec& spec = c.spec;
  const int64_t kv_head = head * spec.kv_heads / spec.query_heads;
  std::vector<T> score(static_cast<size_t>(s.keys));
  T maximum = spec.sink ? static_cast<T>(c.sink[static_cast<size_t>(head)]) : -std::numeric_limits<T>::infinity();
  for (int64_t j = 0; j < s.keys; ++j) {
    const auto at = static_cast<size_t>(j);
    const double bias = s.bias[static_cast<size_t>((head * s.queries + query) * s.keys + j)];
    score[at] = -std::numeric_limits<T>::infinity();
    if (bias == -kInf || !Visible(spec, s, query, j)) continue;
    T dot = 0;
    for (int64_t ch = 0; ch < spec.head_dim; ++ch) {
      dot += static_cast<T>(s.q[static_cast<size_t>((query * spec.query_heads + head) * spec.head_dim + ch)]) *
             static_cast<T>(s.k[static_cast<size_t>((j * spec.kv_heads + kv_head) * spec.head_dim + ch)]);
    }
    T z = dot * static_cast<T>(c.scale);
    if (spec.softcap > 0) z = static_cast<T>(spec.softcap) * std::tanh(z / static_cast<T>(spec.softcap));
    z += static_cast<T>(bias);
    if (spec.alibi) {
      z += static_cast<T>(c.slope[static_cast<size_t>(head)]) *
           static_cast<T>(s.key_position[at] - s.query_position[static_cast<size_t>(query)]);
    }
    score[at] = z;
    if (z > maximum) maximum = z;
  }
  Row row;
  row.o.assign(static_cast<size_t>(spec.v_head_dim), 0);
  row.magnitude.assign(static_cast<size_t>(spec.v_head_dim), 0);
  if (maximum == -std::numeric_limits<T>::infinity()) return row;
  T sum = spec.sink ? std::exp(static_cast<T>(c.sink[static_cast<size_t>(head)]) - maximum) : T{0};
  std::vector<T> o(static_cast<size_t>(spec.v_head_dim), T{0});
  for (int64_t j = 0; j < s.keys; ++j) {
    T p = std::exp(score[static_cast<size_t>(j)] - maximum);
    if (p == 0) continue;
    sum += p;
    if (round_weights) p = static_cast<T>(RoundTo(DType::kBf16, static_cast<double>(p)));
    for (size_t ch = 0; ch < o.size(); ++ch) {
      const auto v = static_cast<T>(s.v[static_cast<size_t>((j * spec.kv_heads + kv_head) * spec.v_head_dim) + ch]);
      o[ch] += p * v;
      row.magnitude[ch] += static_cast<double>(p) * std::fabs(static_cast<double>(v));
    }
  }
  for (size_t ch = 0; ch < o.size(); ++ch) {
    row.o[ch] = static_cast<double>(o[ch] / sum);
    row.magnitude[ch] /= static_cast<double>(sum);
  }
  row.lse = static_cast<double>(maximum + std::log(sum));
  return row;
}

SoftmaxCase MakeCase(const SoftmaxSpec& spec, uint64_t seed);

// Largest |kernel - truth| / sum_j p_j |v_j| over all rows and channels, and the same for the twin; LSE errors are absolute.
struct CaseErrors {
  double kernel = 0;
  double twin = 0;
  double kernel_of_row = 0;  // over the largest sum_j p_j |v_j| of the row's channels
  double lse_kernel = 0;
  double lse_twin = 0;
  bool all_finite = true;
};
CaseErrors Compare(const SoftmaxCase& c, bool round_weights);

}  // namespace assay::testing
