// The recurrence kernels of the gated-delta family as kernel entries:
//     {.id = "recurrent_step", .check = CheckRecurrenceStep, .prepare = PrepareRecurrenceStep, .epilogue = recurrence::kDelta}
//     {.id = "recurrent_chunk", .check = CheckRecurrenceChunk, .prepare = PrepareRecurrenceChunk, .epilogue = recurrence::kDelta}
// Per value head: S <- Diag(e^g) S;  u = beta (v - S^T k);  S <- S + k u^T;  o = scale S^T q, with S in [D, Dv] and fp32. The decay comes
// before the error. Value head h reads key head floor(h Hk / H) and query head floor(h Hq / H).
// Roles: Q, K, V, O; LOG_DECAY per head [B,T,H] or per key channel [B,T,H,D] (absent: none); BETA (absent: 1); STATE_IN (absent: zeros)
// and STATE_OUT [B,H,D,Dv]; CU_Q and CU_K for packed batches. Inputs f32, bf16 or f16; the state f32 or bf16.
//
// Both forms are the same function; the chunked one (64 tokens) is for prefill. Bits do not depend on threads or on the batch. A later
// token never influences an earlier output, NaN included. Decays down to -inf are exact (a reset).
#pragma once

#include "kernels/kernel.h"

namespace assay {

namespace recurrence {
// Kernel::epilogue of a recurrence entry.
enum Rule : int {
  kDelta = 0,     // u = beta (v - S^T k): (gated) DeltaNet, KDA
  kAdditive = 1,  // u = beta v: linear attention, RetNet, GLA, Mamba-2
};
}  // namespace recurrence

Status CheckRecurrenceStep(const Problem& problem, const Kernel& self);
Status CheckRecurrenceChunk(const Problem& problem, const Kernel& self);
Result<std::unique_ptr<Plan>> PrepareRecurrenceStep(const Problem& problem, const Kernel& self, const KernelEnv& env);
Result<std::unique_ptr<Plan>> PrepareRecurrenceChunk(const Problem& problem, const Kernel& self, const KernelEnv& env);

}  // namespace assay
