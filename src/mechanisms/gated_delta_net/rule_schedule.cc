#include "mechanisms/gated_delta_net/rule_schedule.h"

#include <algorithm>

namespace assay::gated_delta_net {

using module_math::Array;

Result<RuleResult> RunSchedule(const RuleCall& call, const Attend& attend) {
  const int64_t batch = call.v->extent(0);
  const int64_t tokens = call.v->extent(1);
  const int64_t states = call.v->extent(2);
  const int64_t value_dim = call.v->extent(3);
  const int64_t outputs = std::max(call.q->extent(2), states);
  RuleResult result;
  result.output = Array({batch, tokens - call.past_tokens, outputs, value_dim});
  result.state = call.state != nullptr ? *call.state : Array({batch, states, call.q->extent(3), value_dim});
  bool has_state = call.state != nullptr;

  int64_t begin = 0;
  while (begin < tokens) {
    int64_t end = tokens;
    if (begin < call.past_tokens) end = call.past_tokens;
    else if (call.token_by_token) end = begin + 1;
    OwnedProblem owned;
    Problem& problem = owned.problem;
    problem.mechanism = "gated_delta_net";
    problem.phase = end - begin == 1 ? Phase::kDecode : Phase::kPrefill;
    problem.causal = Causal::kBottomRight;
    problem.scale = call.scale;
    problem.chunk = call.form == Form::kChunked ? static_cast<int>(call.chunk_tokens) : 1;
    if (!call.delta) problem.parameters.push_back({"delta", 0});
    owned.Adopt(Role::kQ, call.q->Slice(1, begin, end).ToTensor());
    owned.Adopt(Role::kK, call.k->Slice(1, begin, end).ToTensor());
    owned.Adopt(Role::kV, call.v->Slice(1, begin, end).ToTensor());
    if (call.g != nullptr) owned.Adopt(Role::kLogDecay, call.g->Slice(1, begin, end).ToTensor());
    if (call.beta != nullptr) owned.Adopt(Role::kBeta, call.beta->Slice(1, begin, end).ToTensor());
    if (has_state) owned.Adopt(Role::kStateIn, result.state.ToTensor());
    const TensorView o = owned.Add(Role::kO, DType::kF64, {batch, end - begin, outputs, value_dim});
    const TensorView state = owned.Add(Role::kStateOut, DType::kF64, {batch, states, call.q->extent(3), value_dim});
    ASSAY_RETURN_IF_ERROR(attend(problem));
    result.state = Array::From(state);
    has_state = true;
    const Array part = Array::From(o);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t t = std::max(begin, call.past_tokens); t < end; ++t) {
        for (int64_t h = 0; h < outputs; ++h) {
          const auto from = part.Row(b, t - begin, h);
          std::copy(from.begin(), from.end(), result.output.Row(b, t - call.past_tokens, h).begin());
        }
      }
    }
    begin = end;
  }
  return result;
}

void L2NormRows(Array* x, double epsilon) {
  const int64_t width = x->extent(-1);
  for (int64_t row = 0; width > 0 && row < x->count() / width; ++row) {
    module_math::L2Norm({x->data() + row * width, static_cast<size_t>(width)}, epsilon);
  }
}

}  // namespace assay::gated_delta_net
