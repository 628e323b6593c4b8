// T10 and T12: what softmax must not notice, and what must enter its denominator once.
#include <fmt/format.h>

#include <cmath>

#include "probes/numerics/probe.h"

namespace assay::numerics {
namespace {

// Adding one vector to every key changes no weight. The answer is judged on the shifted keys as stored, so that rounding them is not
// held against the kernel; what must survive is the arithmetic on large common scores.
Outcome CommonKeyOffset(const Subject& subject) {
  if (!subject.mechanism->traits.shift_invariant) return Outcome::NotApplicable("its weights are not a softmax: a common offset changes them");
  Outcome outcome;
  for (const double offset : {3.0, 300.0, 30000.0}) {
    const Result<OwnedProblem> owned = subject.Example({.query_tokens = {subject.Rows(3)}, .key_tokens = {90}, .storage = ExampleSpec::Storage::kDense}, "T10");
    if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
    const Problem& problem = owned->problem;
    const TensorView& k = problem.Get(Role::kK);
    // Where values are channels of K, only the others may be shifted.
    const TensorView& o = problem.Get(Role::kO);
    const int64_t first = problem.Has(Role::kV) ? 0 : o.shape[3];
    for (int64_t j = 0; j < k.shape[1]; ++j) {
      for (int64_t h = 0; h < k.shape[2]; ++h) {
        for (int64_t c = first; c < k.shape[3]; ++c) k.Set({0, j, h, c}, k.At({0, j, h, c}) + offset);
      }
    }
    outcome.Expect(subject, problem, fmt::format("3 queries, 90 keys, {} added to every channel of every key", offset));
  }
  if (outcome.served == 0) return Outcome::NotApplicable(outcome.unserved);
  return outcome;
}

Outcome SinkOnce(const Subject& subject) {
  Outcome outcome;
  for (const int splits : {0, 1, 2, 3, 7}) {
    for (const double sink : {-3.0, 4.0, 60.0}) {
      Result<OwnedProblem> owned = subject.Example({.query_tokens = {subject.Rows(2)}, .key_tokens = {333}, .storage = ExampleSpec::Storage::kDense}, "T12");
      if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
      Problem& problem = owned->problem;
      const int64_t heads = problem.Get(Role::kQ).shape[2];
      if (!problem.Has(Role::kSink)) owned->Add(Role::kSink, DType::kF32, {heads});
      for (int64_t h = 0; h < heads; ++h) problem.Get(Role::kSink).Set({h}, sink + 0.25 * static_cast<double>(h));
      problem.splits = splits;
      if (const Status status = subject.Serves(problem); !status.ok()) {
        outcome.unserved = status.error().message;
        continue;
      }
      outcome.Expect(subject, problem, fmt::format("2 queries, 333 keys, sink logits from {}, splits = {}", sink, splits));
    }
  }
  if (outcome.served == 0) return Outcome::NotApplicable(outcome.unserved);
  return outcome;
}

constexpr Probe kProbes[] = {
    {"T10", "a vector added to every key changes no weight", "ggml-org/llama.cpp#7805: scores beyond fp16 become NaN", CommonKeyOffset},
    {"T12", "a sink enters the denominator once, for any split", "ROCm/rocm-libraries#12227: a sink counted twice or never", SinkOnce},
};

}  // namespace

std::span<const Probe> SoftmaxProbes() { return kProbes; }

}  // namespace assay::numerics
