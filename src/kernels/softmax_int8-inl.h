// The softmax kernel on pages of int8.
#pragma once

#include "kernels/softmax-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

void RunSoftmaxI8(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept {
  RunItem<IntegerUnit<8>>(args, item, LayOut(scratch, args.head_dim, args.padded_v));
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
