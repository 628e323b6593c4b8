#include "core/tensor.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "core/check.h"

namespace assay {

TensorView TensorView::Contiguous(void* data, DType dtype, std::span<const int64_t> shape) {
  ASSAY_CHECK(shape.size() <= static_cast<size_t>(kMaxRank), "a tensor has at most six dimensions");
  TensorView view;
  view.data = data;
  view.dtype = dtype;
  view.rank = static_cast<int>(shape.size());
  int64_t stride = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    const auto i = static_cast<size_t>(axis);
    view.shape[i] = shape[i];
    view.stride[i] = stride;
    stride *= shape[i];
  }
  return view;
}

int64_t TensorView::count() const {
  int64_t product = 1;
  for (int axis = 0; axis < rank; ++axis) product *= shape[static_cast<size_t>(axis)];
  return product;
}

bool TensorView::is_contiguous() const {
  int64_t expected = 1;
  for (int axis = rank - 1; axis >= 0; --axis) {
    const auto i = static_cast<size_t>(axis);
    if (shape[i] > 1 && stride[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

int64_t TensorView::Offset(std::span<const int64_t> index) const {
  ASSAY_DCHECK(static_cast<int>(index.size()) == rank, "one index for every dimension");
  int64_t offset = 0;
  for (size_t axis = 0; axis < index.size(); ++axis) {
    ASSAY_DCHECK(index[axis] >= 0 && index[axis] < shape[axis], "index within the shape");
    offset += index[axis] * stride[axis];
  }
  return offset;
}

namespace {
// LoadElement takes an unsigned index; a negative stride reaches below `data`, so move the base by whole elements first.
struct Element {
  char* base;
  size_t index;
};
Element Locate(const TensorView& view, std::initializer_list<int64_t> index) {
  const int64_t offset = view.Offset({index.begin(), index.size()});
  if (offset >= 0) return {static_cast<char*>(view.data), static_cast<size_t>(offset)};
  ASSAY_CHECK(BitsOf(view.dtype) >= 8, "negative strides need elements of whole bytes");
  return {static_cast<char*>(view.data) + offset * (BitsOf(view.dtype) / 8), 0};
}
}  // namespace

double TensorView::At(std::initializer_list<int64_t> index) const {
  const Element element = Locate(*this, index);
  return LoadElement(element.base, dtype, element.index);
}

void TensorView::Set(std::initializer_list<int64_t> index, double value) const {
  const Element element = Locate(*this, index);
  StoreElement(element.base, dtype, element.index, value);
}

void Tensor::Free::operator()(void* pointer) const { std::free(pointer); }

Tensor::Tensor(DType dtype, std::span<const int64_t> shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) {
    ASSAY_CHECK(extent >= 0, "a tensor's extents are not negative");
    ASSAY_CHECK(extent == 0 || count <= (int64_t{1} << 46) / extent, "a tensor beyond 2^46 elements is a mistake");
    count *= extent;
  }
  // One extra cache line, so that a kernel may load a whole vector at the last element.
  const size_t bytes = (BytesOf(dtype, static_cast<size_t>(count)) + 64 + 63) / 64 * 64;
  bytes_.reset(std::aligned_alloc(64, bytes));
  ASSAY_CHECK(bytes_ != nullptr, "out of memory");
  std::memset(bytes_.get(), 0, bytes);
  view_ = TensorView::Contiguous(bytes_.get(), dtype, shape);
}

void Tensor::Poison() {
  const auto count = static_cast<size_t>(view_.count());
  const double value = IsFloat(view_.dtype) ? std::numeric_limits<double>::quiet_NaN() : -1e18;
  for (size_t i = 0; i < count; ++i) StoreElement(view_.data, view_.dtype, i, value);
}

std::string ShapeString(const TensorView& view) {
  std::string text(NameOf(view.dtype));
  text += '[';
  for (int axis = 0; axis < view.rank; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(view.shape[static_cast<size_t>(axis)]);
  }
  return text + ']';
}

}  // namespace assay
