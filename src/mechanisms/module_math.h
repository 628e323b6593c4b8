// What surrounds a mixer in a model's layer, in fp64 and as the papers write it: projections, norms, rotary positions with their scalings,
// causal convolutions. Case adapters use it; nothing here is fast or shared with a kernel.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/result.h"
#include "core/tensor.h"

namespace assay::module_math {

// A dense row-major fp64 array. Indices are bounds-checked: adapters feed it what files say.
class Array {
 public:
  Array() = default;
  explicit Array(std::vector<int64_t> shape);             // zeros
  static Array From(const TensorView& view);              // any dtype, any strides
  [[nodiscard]] Tensor ToTensor() const;                  // float64

  [[nodiscard]] int rank() const { return static_cast<int>(shape_.size()); }
  // Negative axes count from the end.
  [[nodiscard]] int64_t extent(int axis) const;
  [[nodiscard]] const std::vector<int64_t>& shape() const { return shape_; }
  [[nodiscard]] int64_t count() const { return static_cast<int64_t>(data_.size()); }
  [[nodiscard]] double* data() { return data_.data(); }
  [[nodiscard]] const double* data() const { return data_.data(); }

  template <class... Index>
  double& operator()(Index... index) {
    return data_[Offset({static_cast<int64_t>(index)...})];
  }
  template <class... Index>
  double operator()(Index... index) const {
    return data_[Offset({static_cast<int64_t>(index)...})];
  }
  // The last axis at the given leading indices, e.g. one head's channels.
  template <class... Index>
  std::span<double> Row(Index... index) {
    return {data_.data() + Offset({static_cast<int64_t>(index)..., 0}), static_cast<size_t>(extent(-1))};
  }
  template <class... Index>
  std::span<const double> Row(Index... index) const {
    return {data_.data() + Offset({static_cast<int64_t>(index)..., 0}), static_cast<size_t>(extent(-1))};
  }

  // The same values under another shape of equal count.
  [[nodiscard]] Array Reshaped(std::vector<int64_t> shape) const;
  // Part [begin, end) of one axis.
  [[nodiscard]] Array Slice(int axis, int64_t begin, int64_t end) const;
  // axes[i] is the old axis that becomes axis i.
  [[nodiscard]] Array Transposed(const std::vector<int>& axes) const;

 private:
  [[nodiscard]] size_t Offset(std::initializer_list<int64_t> index) const;
  std::vector<int64_t> shape_;
  std::vector<double> data_;
};

Array Concatenate(int axis, const std::vector<const Array*>& parts);

// y[..., n] = sum_k x[..., k] W[n, k] + bias[n]; bias may be nullptr.
Array Linear(const Array& x, const Array& weight, const Array* bias = nullptr);

double Sigmoid(double x);
double Silu(double x);
double Softplus(double x);  // log(1 + e^x), without overflow

struct RmsNormOptions {
  double epsilon = 1e-6;
  bool plus_one = false;  // the stored weight w means 1 + w
};
// x / sqrt(mean x^2 + epsilon) * weight over one row; an empty weight means 1.
void RmsNorm(std::span<double> row, std::span<const double> weight, RmsNormOptions options);
// The same over the last axis of an array; weight may be nullptr.
void RmsNorm(Array& x, const Array* weight, RmsNormOptions options);
// x / sqrt(sum x^2 + epsilon).
void L2Norm(std::span<double> row, double epsilon);

// Rotary positions (Su et al. 2021, arXiv 2104.09864): pair (a, b) turns by position * inverse_frequency[i].
struct Rope {
  enum class Pairing { kHalves, kPairs };  // (i, i + n) or (2i, 2i + 1)
  std::vector<double> inverse_frequency;   // n of them; 2n channels turn
  double attention_factor = 1;             // multiplies cos and sin
  Pairing pairing = Pairing::kHalves;
  int64_t offset = 0;                      // of the first channel that turns
};
Rope PlainRope(double theta, int64_t rotary_dim, Rope::Pairing pairing = Rope::Pairing::kHalves, int64_t offset = 0);
// Turns one head's channels in place. `position` may be negative (the inverse turn).
void Rotate(std::span<double> head, double position, const Rope& rope);

// Rotary scaling as deployed: default, linear, dynamic (NTK), yarn, llama3, longrope, proportional.
struct RopeScaling {
  std::string type = "default";
  int64_t head_dim = 0;
  double theta = 10000;
  double partial_rotary_factor = 1;
  double max_position_embeddings = 0;
  double original_max_position_embeddings = 0;  // 0: not given
  double factor = 0;                            // 0: not given
  double attention_factor = 0;                  // 0: derived
  double mscale = 0;                            // yarn; 0: not given
  double mscale_all_dim = 0;
  double beta_fast = 32;
  double beta_slow = 1;
  bool truncate = true;
  double low_freq_factor = 1;  // llama3
  double high_freq_factor = 4;
  std::vector<double> short_factor;  // longrope
  std::vector<double> long_factor;
  double longest_position = 0;  // of this call: dynamic and longrope depend on it
};
Result<Rope> ScaledRope(const RopeScaling& scaling);

// 0.1 mscale ln(factor) + 1 (Peng et al. 2023, arXiv 2309.00071, eq. 22); 1 for factors up to 1.
double YarnMscale(double factor, double mscale);

// Depthwise causal convolution: x [B,T,C], weight [C,K], bias [C] or nullptr. `past` [B,C,P], P >= K - 1 columns before x (the last
// K - 1 are used), or nullptr for zeros.
Array CausalConv(const Array& x, const Array& weight, const Array* bias, const Array* past);
// The last `columns` inputs of a convolution after x, [B,C,columns]: zeros, then past, then x.
Array ConvTail(const Array& x, const Array* past, int64_t columns);

}  // namespace assay::module_math
