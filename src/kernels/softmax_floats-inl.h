// The softmax kernel on pages of f32 and bf16 (prefill, and decode without compression), and the merge of split keys.
#pragma once

#include "kernels/softmax-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

void RunSoftmaxF32(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept {
  RunItem<F32Unit>(args, item, LayOut(scratch, args));
}
void RunSoftmaxBf16(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept {
  RunItem<Bf16Unit>(args, item, LayOut(scratch, args));
}

void MergeSoftmaxPartials(const SoftmaxArgs& args, const SoftmaxItem& item, const float* const* partials, int64_t partial_count,
                          SoftmaxScratch scratch) noexcept {
  const RowState state = LayOut(scratch, args);
  const bool normalised = kEpilogueTraits[args.epilogue].normalised;
  ResetTotals(args, item.row_count, state);
  for (int64_t part = 0; part < partial_count; ++part) {
    for (int64_t row = 0; row < item.row_count; ++row) {
      const float* partial = partials[part] + row * (kPartialHeader + args.padded_v);
      MergeRow(normalised, partial[0], partial[1], partial + kPartialHeader, state.total_maximum[row], state.total_sum[row],
               state.total_o + row * args.padded_v, args.padded_v);
    }
  }
  FinishRows(args, item, state);
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
