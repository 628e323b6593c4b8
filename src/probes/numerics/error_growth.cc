#include "probes/numerics/error_growth.h"

#include <fmt/format.h>

#include <algorithm>

#include "stats/growth.h"

namespace assay::numerics {

std::optional<ErrorGrowth> MeasureGrowth(const Subject& subject) {
  const bool recurrent = subject.mechanism->traits.state == StateKind::kFixed;
  std::vector<int64_t> lengths = {64, 181, 512, 1448};
  if (!subject.quick) lengths.insert(lengths.end(), {4096, 11585});
  constexpr int kDraws = 3;
  ErrorGrowth growth;
  growth.mechanism = subject.mechanism->id;
  for (const int64_t keys : lengths) {
    double largest = 0;
    for (int draw = 0; draw < kDraws; ++draw) {
      // A recurrence accumulates over its own tokens, a cache over its keys.
      ExampleSpec spec = {.query_tokens = {recurrent ? keys : 1}, .key_tokens = {keys}, .query_heads = 2, .kv_heads = 1, .head_dim = recurrent ? 16 : 32};
      spec.log_decay = -1.0 / 512;
      Result<OwnedProblem> owned = subject.Example(spec, fmt::format("growth/{}/{}", keys, draw));
      if (!owned.ok()) return std::nullopt;
      // A step in V: a constant would hide an accumulator that stalls, since numerator and denominator stall together.
      const Problem& problem = owned->problem;
      const TensorView& values = problem.Get(problem.Has(Role::kV) ? Role::kV : Role::kK);
      for (int64_t j = 0; j < keys; ++j) {
        for (int64_t h = 0; h < values.shape[1]; ++h) SetValue(problem, 0, j, h, 0, j < keys / 2 ? 0 : 1);
      }
      const Result<Judgement> judgement = Judge(subject, problem);
      if (!judgement.ok()) return std::nullopt;
      largest = std::max(largest, judgement->row_error);
    }
    growth.lengths.push_back(static_cast<double>(keys));
    growth.row_errors.push_back(largest);
  }
  const auto fit = stats::FitGrowth(growth.lengths, growth.row_errors);
  if (!fit.ok()) return std::nullopt;
  growth.exponent = fit->exponent;
  return growth;
}

}  // namespace assay::numerics
