// The tiled softmax kernel as a kernel entry: a mechanism's folder lists
//     {.id = "tile", .check = CheckSoftmaxTile, .prepare = PrepareSoftmaxTile, .epilogue = epilogue::kIdentity}
// and gets prefill and decode, f32 and bf16, grouped heads, causality, windows, positions, boolean and additive masks, ALiBi, sinks,
// softcap, LSE, ragged, paged and quantised storage. Numbers: products and sums in fp32; Q, K and V all bf16 run the bf16 kernel. K and
// V both in i8, i4 or e4m3 (with scales), or in f16 where few rows read them, stay as they are and are decoded in registers
// (softmax_decoded-inl.h); everything else is widened to f32 when it is packed. On AVX-512 BF16 the weights are rounded to bf16 before P V (the plan's target
// says `p16`); sums of P and of P V are fp32 everywhere.
//
// Promised and tested: a row's bits depend on its query, its visible keys and their places only, not on threads, splits, other
// sequences, or whether it was computed by prefill or decode. An empty row gives 0 and LSE -inf (with a sink: 0 and the sink). What lies
// behind a mask or beyond a length never reaches the output, NaN included.
#pragma once

#include "kernels/epilogue.h"
#include "kernels/kernel.h"

namespace assay {

Status CheckSoftmaxTile(const Problem& problem, const Kernel& self);
Result<std::unique_ptr<Plan>> PrepareSoftmaxTile(const Problem& problem, const Kernel& self, const KernelEnv& env);

}  // namespace assay
