// The table of one backend, and the entry points it lists. Each family of kernels is a translation unit of its own
// (cmake/AssayKernels.cmake); this is the one that joins them.
#pragma once

#include "kernels/epilogue.h"
#include "kernels/kernel_table.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

// softmax_floats-inl.h
void RunSoftmaxF32(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept;
void RunSoftmaxBf16(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept;
void MergeSoftmaxPartials(const SoftmaxArgs& args, const SoftmaxItem& item, const float* const* partials, int64_t partial_count,
                          SoftmaxScratch scratch) noexcept;
// softmax_halves-inl.h
void RunSoftmaxF16(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept;
void RunSoftmaxE4m3(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept;
// softmax_int8-inl.h
void RunSoftmaxI8(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept;
// softmax_int4-inl.h
void RunSoftmaxI4(const SoftmaxArgs& args, const SoftmaxItem& item, SoftmaxScratch scratch) noexcept;
// recurrence-inl.h
void RunRecurrenceSteps(const RecurrenceArgs& args, const RecurrenceItem& item, float* scratch) noexcept;
void RunRecurrenceChunks(const RecurrenceArgs& args, const RecurrenceItem& item, float* scratch) noexcept;
// matmul-inl.h
void RunMatmulItem(const MatmulArgs& args, const MatmulItem& item, float* scratch) noexcept;

extern const KernelTable kTable;
constinit const KernelTable kTable = {
    .name = kName,
    .lanes = kLanes,
    .native_pairs = kNativePairs,
    .epilogue_traits = kEpilogueTraits,
    .softmax_run = {RunSoftmaxF32, RunSoftmaxBf16, RunSoftmaxF16, RunSoftmaxE4m3, RunSoftmaxI8, RunSoftmaxI4},  // by PageElement
    .softmax_merge = MergeSoftmaxPartials,
    .recurrence_steps = RunRecurrenceSteps,
    .recurrence_chunks = RunRecurrenceChunks,
    .matmul_run = RunMatmulItem,
};

}  // namespace assay::ASSAY_SIMD_NAMESPACE
