#include "kernels/driver.h"

namespace assay {

RowAccess RowsOf(const TensorView& view, RowShape shape, int64_t first_token, int64_t sequence) {
  const int channel_axis = shape == RowShape::kPerHeadScalar ? view.rank : view.rank - 1;
  const bool packed = channel_axis == 2;
  const auto stride = [&](int axis) { return view.stride[static_cast<size_t>(axis)]; };
  RowAccess rows;
  rows.dtype = static_cast<int>(view.dtype);
  rows.token_stride = stride(packed ? 0 : 1);
  rows.head_stride = stride(packed ? 1 : 2);
  rows.channel_stride = shape == RowShape::kPerHeadScalar ? 0 : stride(channel_axis);
  const int64_t offset = packed ? first_token * stride(0) : sequence * stride(0);
  rows.data = static_cast<char*>(view.data) + offset * (BitsOf(view.dtype) / 8);
  return rows;
}

double LoadSigned(const void* data, int dtype, int64_t index) {
  const auto type = static_cast<DType>(dtype);
  if (index >= 0) return LoadElement(data, type, static_cast<size_t>(index));
  return LoadElement(static_cast<const char*>(data) + index * (BitsOf(type) / 8), type, 0);
}

void StoreSigned(void* data, int dtype, int64_t index, double value) {
  const auto type = static_cast<DType>(dtype);
  if (index >= 0) return StoreElement(data, type, static_cast<size_t>(index), value);
  StoreElement(static_cast<char*>(data) + index * (BitsOf(type) / 8), type, 0, value);
}

}  // namespace assay
