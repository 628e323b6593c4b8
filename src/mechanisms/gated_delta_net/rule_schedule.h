// Cases of the delta-rule family as calls: the shared half of rule_cases.cc and layer_cases.cc.
#pragma once

#include "mechanisms/case_reader.h"
#include "mechanisms/gated_delta_net/gated_delta_net.h"
#include "mechanisms/module_math.h"

namespace assay::gated_delta_net {

// The recurrence over whole sequences, in the schedule a case asks for: the past in one call, the rest in another or token by token, the
// state handed from call to call.
struct RuleCall {
  const module_math::Array* q = nullptr;      // [B, T, Hq, D]
  const module_math::Array* k = nullptr;      // [B, T, Hk, D]
  const module_math::Array* v = nullptr;      // [B, T, H, Dv]
  const module_math::Array* g = nullptr;      // [B, T, H] or [B, T, H, D]; nullptr: no decay
  const module_math::Array* beta = nullptr;   // [B, T, H]; nullptr: 1
  const module_math::Array* state = nullptr;  // [B, H, D, Dv]; nullptr: zeros
  double scale = 1;
  bool delta = true;
  Form form = Form::kStepwise;
  int64_t chunk_tokens = 64;
  int64_t past_tokens = 0;  // outputs start here
  bool token_by_token = false;
};
struct RuleResult {
  module_math::Array output;  // [B, T - past, max(Hq, H), Dv]
  module_math::Array state;
};
Result<RuleResult> RunSchedule(const RuleCall& call, const Attend& attend);

// x / sqrt(sum x^2 + epsilon) over the last axis: the epsilon is inside the root.
void L2NormRows(module_math::Array* x, double epsilon);

}  // namespace assay::gated_delta_net
