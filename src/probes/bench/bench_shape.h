// The shapes of the bench: what each row computes, its inputs drawn from a seed, and the error of an answer against fp64.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/dtype.h"
#include "core/random.h"
#include "kernels/kernel.h"
#include "kernels/problem.h"

namespace assay::bench {

// A shape of the bench. Softmax rows: queries x keys per sequence; recurrences: `queries` tokens; matmul: `queries` rows x `keys` columns,
// summed over `head_dim`.
struct Shape {
  std::string_view name;
  enum class Family { kPrefill, kDecode, kRecurrentChunk, kRecurrentStep, kMatmul } family;
  int64_t sequences, queries, keys, query_heads, kv_heads, head_dim, v_head_dim;
  DType dtype;
  Causal causal;
  DType cache = DType::kF32;  // of K and V where not kF32; else `dtype`
  ScaleGranularity k_scale = ScaleGranularity::kNone;
  ScaleGranularity v_scale = ScaleGranularity::kNone;
  IntegerProducts products = IntegerProducts::kExact;

  [[nodiscard]] DType kv_dtype() const { return cache == DType::kF32 ? dtype : cache; }
};

std::span<const Shape> AllShapes();
bool IsRecurrent(const Shape& shape);
std::string_view FamilyName(const Shape& shape);  // "prefill", "decode", "recurrence", "matmul"
std::string ShapeText(const Shape& shape);        // for a reader
double CacheBytes(const Shape& shape, int64_t width, ScaleGranularity granularity);  // of one token and head, scales included

OwnedProblem MakeProblem(const Shape& shape, Rng& rng);
// Largest error of the answer that stands in `problem`, against fp64, on rows that the generator picks: over sum_j p_j |v_j| (recurrences:
// over the largest output; matmul: over the sum of magnitudes).
double ErrorOf(const Shape& shape, const Problem& problem, Rng& rng);

}  // namespace assay::bench
