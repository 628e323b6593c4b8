// Dense matmul as a plan: O = A W^T with A [rows, depth] in f32, bf16 or f16, O [rows, columns] in the same choice, and weights W
// [columns, depth], as linear layers store them, in f32, bf16, i8 with a scale a column, or GGUF blocks (core/block_format.h). Pack lays the weights out (once a model); Run does
// the work. Sums are fp32, one chain an element: bits depend on a row and a column only. With native bf16 products (AVX-512) A and W are both
// bf16; where A is not, bf16 weights are widened. Blocks stay integers while they are multiplied, with A in fp32 and a scale a group; q5_0 and
// q6_k take 8 bits an element then.
#pragma once

#include <optional>

#include "core/block_format.h"
#include "core/tensor.h"
#include "kernels/kernel.h"
#include "kernels/kernel_table.h"

namespace assay {

struct MatmulProblem {
  TensorView a;
  TensorView w;
  TensorView w_scale;  // [columns] in f32, for i8 weights only; rank 0: none
  // W is blocks of this format: u8 [columns, bytes of a row], bytes adjacent.
  std::optional<BlockFormat> w_blocks = std::nullopt;
  TensorView o;
};

Result<std::unique_ptr<Plan>> PrepareMatmul(const MatmulProblem& problem, const KernelEnv& env);
// On a given backend's table: tests run emulated backends through it.
Result<std::unique_ptr<Plan>> PrepareMatmulOn(const KernelTable& table, const MatmulProblem& problem, ThreadPool* pool);

}  // namespace assay
