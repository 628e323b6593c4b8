// The softmax kernel on pages of int4.
#pragma once

#include "kernels/softmax-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

void RunSoftmaxI4(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept {
  const RowState state = LayOut(scratch, args);
  args.short_products ? RunItem<IntegerUnit<4>, true>(args, item, state) : RunItem<IntegerUnit<4>>(args, item, state);
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
