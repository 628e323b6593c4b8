// The softmax kernel on pages of int8.
#pragma once

#include "kernels/softmax-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

void RunSoftmaxI8(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept {
  const RowState state = LayOut(scratch, args);
  args.short_products ? RunItem<IntegerUnit<8>, true>(args, item, state) : RunItem<IntegerUnit<8>>(args, item, state);
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
