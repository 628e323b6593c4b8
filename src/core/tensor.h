// TensorView: a typed, strided window on memory that someone else owns. Tensor: one that owns its bytes.
// Strides count elements and may be 0 (broadcast) or negative (reversed), as in the kernel ABI.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "core/dtype.h"

namespace assay {

constexpr int kMaxRank = 6;

struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{};
  std::array<int64_t, kMaxRank> stride{};  // in elements

  // A row-major view over `data`.
  static TensorView Contiguous(void* data, DType dtype, std::span<const int64_t> shape);

  [[nodiscard]] int64_t count() const;  // product of the shape; 1 for a scalar
  [[nodiscard]] bool is_contiguous() const;
  [[nodiscard]] int64_t Offset(std::span<const int64_t> index) const;
  // Element access in any dtype, for references, generators and tests (not for kernels).
  [[nodiscard]] double At(std::initializer_list<int64_t> index) const;
  void Set(std::initializer_list<int64_t> index, double value) const;
  template <class T>
  [[nodiscard]] T* as() const {
    return static_cast<T*>(data);
  }
};

// Owns 64-byte aligned memory. Move-only, so that a copy of gigabytes is never an accident.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, std::initializer_list<int64_t> shape)
      : Tensor(dtype, std::span<const int64_t>(shape.begin(), shape.size())) {}
  Tensor(DType dtype, std::span<const int64_t> shape);  // zero-filled

  [[nodiscard]] const TensorView& view() const { return view_; }
  [[nodiscard]] bool empty() const { return bytes_ == nullptr; }
  // Fills floats with NaN and integers with their extreme value: memory that must not be read stands out when it is.
  void Poison();
  template <class T>
  [[nodiscard]] T* data() const {
    return static_cast<T*>(view_.data);
  }

 private:
  struct Free {
    void operator()(void* pointer) const;
  };
  std::unique_ptr<void, Free> bytes_;
  TensorView view_;
};

std::string ShapeString(const TensorView& view);  // "bf16[2, 8, 128]"

}  // namespace assay
