// What the drivers of kernels share: tensors as plain pointers with strides, and element access for the rare dtypes.
#pragma once

#include "core/tensor.h"
#include "kernels/softmax_args.h"

namespace assay {

enum class RowShape { kChannels, kPerHeadScalar };

// The rows of one sequence in a token-wise tensor: dense [B,T,H,(D)], or packed [total,H,(D)] from `first_token` on.
RowAccess RowsOf(const TensorView& view, RowShape shape, int64_t first_token, int64_t sequence);

// Element `index`, of any sign, of an array of DType `dtype`.
double LoadSigned(const void* data, int dtype, int64_t index);
void StoreSigned(void* data, int dtype, int64_t index, double value);

}  // namespace assay
