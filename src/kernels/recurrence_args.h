// What the recurrence driver (recurrence_kernel.cc) hands to a backend's recurrence kernel (recurrence-inl.h). No standard header beyond
// stdint.h, because backends include it (simd.h says why).
#pragma once

#include <stdint.h>

#include "kernels/softmax_args.h"

namespace assay {

inline constexpr int kRecurrenceChunk = 64;

// A state [H, D, Dv] of one sequence, in elements.
struct StateAccess {
  void* data = nullptr;  // nullptr: zeros in, or not wanted out
  int dtype = 0;
  int64_t head_stride = 0;
  int64_t row_stride = 0;
  int64_t column_stride = 0;
};

struct RecurrenceSequence {
  RowAccess q, k, v, o;
  RowAccess log_decay;  // data nullptr: no decay; channel_stride used if per_channel
  RowAccess beta;       // data nullptr: 1
  StateAccess state_in, state_out;
  int64_t tokens = 0;
};

struct RecurrenceArgs {
  const RecurrenceSequence* sequences = nullptr;
  int64_t heads = 0;  // of values, states, decays and betas
  int64_t query_heads = 0;
  int64_t key_heads = 0;
  int64_t head_dim = 0;
  int64_t v_head_dim = 0;
  bool per_channel = false;  // decay has one value a key channel
  bool delta = true;         // subtract what the state already answers for k
  float scale = 1;
  double (*load)(const void* data, int dtype, int64_t index) = nullptr;
  void (*store)(void* data, int dtype, int64_t index, double value) = nullptr;
};

struct RecurrenceItem {
  int32_t sequence = 0;
  int32_t head = 0;
  int64_t column_begin = 0;  // of the state; the stepwise kernel works on strips of kRecurrenceStripColumns
};

inline constexpr int64_t kRecurrenceStripColumns = 64;

using RecurrenceRun = void (*)(const RecurrenceArgs& args, const RecurrenceItem& item, float* scratch) noexcept;

int64_t RecurrenceScratchFloats(int64_t head_dim, int64_t v_head_dim);

}  // namespace assay
