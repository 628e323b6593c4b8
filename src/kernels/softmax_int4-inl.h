// The softmax kernel on pages of int4.
#pragma once

#include "kernels/softmax-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

void RunSoftmaxI4(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept {
  RunItem<IntegerUnit<4>>(args, item, LayOut(scratch, args.head_dim, args.padded_v));
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
