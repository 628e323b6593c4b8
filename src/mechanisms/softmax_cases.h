// Conformance cases of the softmax family, as calls: the shared half of their adapters. A mechanism's folder names the operators it serves
// and passes its own id.
#pragma once

#include <string_view>

#include "mechanisms/case_adapter.h"
#include "mechanisms/case_reader.h"
#include "mechanisms/mechanism.h"
#include "mechanisms/module_math.h"

namespace assay {

// One attention over whole sequences, positions 0 .. T-1 of q and k alike: causal, in the schedule a case asks for.
struct SequenceCall {
  std::string_view mechanism;
  const module_math::Array* q = nullptr;  // [B, T, Hq, D]
  const module_math::Array* k = nullptr;  // [B, T, Hkv, D]
  const module_math::Array* v = nullptr;  // [B, T, Hkv, Dv]
  double scale = 1;
  double softcap = 0;
  int64_t window_tokens = 0;  // exactly so many keys; 0: all
  int64_t chunk_tokens = 0;   // keys of the query's own chunk only; 0: all
  std::vector<double> alibi_slopes;
  int64_t past_tokens = 0;     // outputs start here
  bool token_by_token = false; // the tokens after the past are decoded one at a time
};
// The outputs of positions past_tokens .. T-1: [B, T - past, Hq, Dv].
Result<module_math::Array> AttendSequence(const SequenceCall& call, const Attend& attend);

// A tensor [B, H, T, D] seen as [B, T, H, D], and back.
TensorView SwapTokensAndHeads(const TensorView& view);

// The function-level operators of deployed code: query [B,H,T,d], key and value [B,G,S,.], options window, chunk, softcap, sinks, key_valid,
// relative position bias; outputs `output` [B,T,H,.], `mask`, `position_bias`.
Result<CaseOutputs> RunFunctionCase(const ConformanceCase& conformance_case, const Attend& attend, std::string_view mechanism);

}  // namespace assay
