// The kernels of one backend and its table; included by backend_*.cc after they chose the backend.
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/matmul-inl.h"
#include "kernels/recurrence-inl.h"
#include "kernels/softmax-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

extern const KernelTable kTable;
constinit const KernelTable kTable = {
    .name = kName,
    .lanes = kLanes,
    .native_pairs = kNativePairs,
    .epilogue_traits = kEpilogueTraits,
    .softmax_run = RunSoftmaxItem,
    .softmax_merge = MergeSoftmaxPartials,
    .recurrence_steps = RunRecurrenceSteps,
    .recurrence_chunks = RunRecurrenceChunks,
    .matmul_run = RunMatmulItem,
};

}  // namespace assay::ASSAY_SIMD_NAMESPACE
