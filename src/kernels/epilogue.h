// Epilogues: how a scaled score becomes a weight. The one file to touch for a mechanism whose only novelty is its score function:
// write a struct and add a line to ASSAY_EPILOGUES; every backend, dtype, mask, window, ragged batch and split then works.
//
// A struct says of which of two kinds it is:
//   Normalised    weights are exp(Score) over their sum. `Score(z, at)` maps the scaled scores z (natural units) of kLanes neighbouring
//                 keys to what is exponentiated. Additive masks and ALiBi are added afterwards, masked keys are dropped by the caller.
//                 A constant extra logit in the denominator (softmax-off-by-one: 0) is `static constexpr float kExtraLogit`.
//   Unnormalised  weights are `Weight(z, at)` as they are: no maximum, no sum, no LSE; parts add. Biases are in z already.
// `at` gives what a score may depend on: at.parameter[i] (the names in the list, from Problem::parameters, else the default there),
// at.keys (keys of the sequence), at.query_head, at.query_position (floats) and at.key_position (a vector).
// The operations are those of simd.h (Exp, Tanh, Softplus, Sqrt, Max, Select, ...). Examples of what fits in a struct of some lines:
//   relu              Max(Zero(), z)                      squared relu     the same, multiplied by itself
//   sigmoid           1 / (1 + Exp(-z))                   softplus         Softplus(z)
//   distance decay    z - rate (query - key position)     softmax1         kExtraLogit = 0 and Score returns z
// With kUnitRows the kernel divides every query and key by its Euclidean norm while packing them (cosine attention).
#pragma once

// ASSAY_EPILOGUES(X): X(struct name, {parameter name, default}...), at most four parameters. The position is the enumerator's value.
#define ASSAY_EPILOGUES(X) \
  X(Identity)              \
  X(Softcap)               \
  X(Sigmoid, {"bias_tokens", 4096})

namespace assay::epilogue {
#define ASSAY_EPILOGUE_ENUMERATOR(name, ...) k##name,
enum Id : int { ASSAY_EPILOGUES(ASSAY_EPILOGUE_ENUMERATOR) kCount };
#undef ASSAY_EPILOGUE_ENUMERATOR
inline constexpr int kMaxParameters = 4;
}  // namespace assay::epilogue

// The structs exist only inside a backend's translation unit (simd.h).
#ifdef ASSAY_SIMD_NAMESPACE
#include "kernels/simd.h"
#include "kernels/softmax_args.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

struct ScoreContext {
  const float* parameter;  // kMaxParameters
  float softcap;           // Problem::softcap
  float keys;
  float query_head;
  float query_position;
  V key_position;
};

struct Normalised {
  static constexpr bool kNormalised = true;
  static constexpr bool kLinear = false;  // Score is the identity: the kernel may fold scale and log2(e) into one factor
  static constexpr bool kUnitRows = false;
  static constexpr float kExtraLogit = -kInfinity;  // none
};
struct Unnormalised {
  static constexpr bool kNormalised = false;
  static constexpr bool kLinear = false;
  static constexpr bool kUnitRows = false;
  static constexpr float kExtraLogit = -kInfinity;
};

struct Identity : Normalised {
  static constexpr bool kLinear = true;
  static ASSAY_INLINE V Score(V z, const ScoreContext&) { return z; }
};

// Gemma 2 (arXiv 2408.00118, section 2): c tanh(z / c), before any mask. The kernel picks it by itself when Problem::softcap > 0.
struct Softcap : Normalised {
  static ASSAY_INLINE V Score(V z, const ScoreContext& at) {
    return Mul(Set(at.softcap), Tanh(Div(z, Set(at.softcap))));
  }
};

// Ramapuram et al. 2024 (arXiv 2409.04431): sigma(z - log n) = 1 / (1 + n exp(-z)).
struct Sigmoid : Unnormalised {
  static ASSAY_INLINE V Weight(V z, const ScoreContext& at) {
    return Div(Set(1.0f), Fma(Set(at.parameter[0]), Exp(Sub(Zero(), z)), Set(1.0f)));
  }
};

inline constexpr EpilogueTraits kEpilogueTraits[] = {
#define ASSAY_TRAITS(name, ...) {name::kNormalised, name::kUnitRows, name::kExtraLogit},
    ASSAY_EPILOGUES(ASSAY_TRAITS)
#undef ASSAY_TRAITS
};

}  // namespace assay::ASSAY_SIMD_NAMESPACE
#endif
