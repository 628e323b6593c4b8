// The softmax kernel on pages of f16 and e4m3.
#pragma once

#include "kernels/softmax-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

void RunSoftmaxF16(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept {
  RunItem<F16Unit>(args, item, LayOut(scratch, args));
}
void RunSoftmaxE4m3(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept {
  RunItem<E4m3Unit>(args, item, LayOut(scratch, args));
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
