#include "mechanisms/module_math.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace assay::module_math {
namespace {

int64_t CountOf(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

size_t AxisOf(int axis, int rank) {
  const int positive = axis < 0 ? axis + rank : axis;
  ASSAY_CHECK(positive >= 0 && positive < rank, "an axis within the rank");
  return static_cast<size_t>(positive);
}

// The shape as (outer, extent of axis, inner), for moving whole blocks.
struct Blocks {
  int64_t outer = 1;
  int64_t inner = 1;
};
Blocks BlocksAround(const std::vector<int64_t>& shape, size_t axis) {
  Blocks blocks;
  for (size_t i = 0; i < axis; ++i) blocks.outer *= shape[i];
  for (size_t i = axis + 1; i < shape.size(); ++i) blocks.inner *= shape[i];
  return blocks;
}

}  // namespace

Array::Array(std::vector<int64_t> shape) : shape_(std::move(shape)), data_(static_cast<size_t>(CountOf(shape_))) {}

Array Array::From(const TensorView& view) {
  Array array(std::vector<int64_t>(view.shape.begin(), view.shape.begin() + view.rank));
  std::vector<int64_t> index(static_cast<size_t>(view.rank), 0);
  for (double& value : array.data_) {
    int64_t offset = 0;
    for (size_t axis = 0; axis < index.size(); ++axis) offset += index[axis] * view.stride[axis];
    value = LoadElement(view.data, view.dtype, static_cast<size_t>(offset));
    for (size_t axis = index.size(); axis-- > 0;) {
      if (++index[axis] < view.shape[axis]) break;
      index[axis] = 0;
    }
  }
  return array;
}

Tensor Array::ToTensor() const {
  Tensor tensor(DType::kF64, shape_);
  std::copy(data_.begin(), data_.end(), tensor.data<double>());
  return tensor;
}

int64_t Array::extent(int axis) const { return shape_[AxisOf(axis, rank())]; }

size_t Array::Offset(std::initializer_list<int64_t> index) const {
  ASSAY_CHECK(index.size() == shape_.size(), "one index for every dimension");
  size_t offset = 0;
  size_t axis = 0;
  for (const int64_t i : index) {
    // Rows of width 0 have no first element, but a span of them may be asked for.
    ASSAY_CHECK(i >= 0 && (i < shape_[axis] || (i == 0 && axis + 1 == shape_.size())), "an index within the shape");
    offset = offset * static_cast<size_t>(shape_[axis++]) + static_cast<size_t>(i);
  }
  return offset;
}

Array Array::Reshaped(std::vector<int64_t> shape) const {
  ASSAY_CHECK(CountOf(shape) == count(), "a reshape keeps the number of elements");
  Array array = *this;
  array.shape_ = std::move(shape);
  return array;
}

Array Array::Slice(int axis, int64_t begin, int64_t end) const {
  const size_t at = AxisOf(axis, rank());
  ASSAY_CHECK(0 <= begin && begin <= end && end <= shape_[at], "a slice within the axis");
  std::vector<int64_t> shape = shape_;
  shape[at] = end - begin;
  Array part(std::move(shape));
  const Blocks blocks = BlocksAround(shape_, at);
  for (int64_t outer = 0; outer < blocks.outer; ++outer) {
    const double* from = data_.data() + (outer * shape_[at] + begin) * blocks.inner;
    std::copy_n(from, (end - begin) * blocks.inner, part.data_.data() + outer * (end - begin) * blocks.inner);
  }
  return part;
}

Array Array::Transposed(const std::vector<int>& axes) const {
  ASSAY_CHECK(axes.size() == shape_.size(), "a transposition names every axis");
  std::vector<int64_t> stride(shape_.size(), 1);
  for (size_t axis = shape_.size(); axis-- > 1;) stride[axis - 1] = stride[axis] * shape_[axis];
  std::vector<int64_t> shape;
  std::vector<int64_t> step;
  for (const int axis : axes) {
    shape.push_back(shape_[static_cast<size_t>(axis)]);
    step.push_back(stride[static_cast<size_t>(axis)]);
  }
  Array result(shape);
  std::vector<int64_t> index(shape.size(), 0);
  for (double& value : result.data_) {
    value = data_[static_cast<size_t>(std::inner_product(index.begin(), index.end(), step.begin(), int64_t{0}))];
    for (size_t axis = index.size(); axis-- > 0;) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
  return result;
}

Array Concatenate(int axis, const std::vector<const Array*>& parts) {
  ASSAY_CHECK(!parts.empty(), "something to concatenate");
  const size_t at = AxisOf(axis, parts[0]->rank());
  std::vector<int64_t> shape = parts[0]->shape();
  shape[at] = 0;
  for (const Array* part : parts) {
    std::vector<int64_t> rest = part->shape();
    shape[at] += rest[at];
    rest[at] = shape[at];
    ASSAY_CHECK(rest == shape, "parts agree but for the joined axis");
  }
  Array whole(shape);
  const Blocks blocks = BlocksAround(shape, at);
  double* to = whole.data();
  for (int64_t outer = 0; outer < blocks.outer; ++outer) {
    for (const Array* part : parts) {
      const int64_t block = part->shape()[at] * blocks.inner;
      to = std::copy_n(part->data() + outer * block, block, to);
    }
  }
  return whole;
}

Array Linear(const Array& x, const Array& weight, const Array* bias) {
  const int64_t k = x.extent(-1);
  ASSAY_CHECK(weight.rank() == 2 && weight.extent(1) == k, "a projection's weight is [out, in]");
  std::vector<int64_t> shape = x.shape();
  const int64_t n = shape.back() = weight.extent(0);
  Array y(std::move(shape));
  const int64_t rows = k == 0 ? 0 : x.count() / k;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t out = 0; out < n; ++out) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) sum += x.data()[row * k + i] * weight.data()[out * k + i];
      y.data()[row * n + out] = sum + (bias != nullptr ? bias->data()[out] : 0);
    }
  }
  return y;
}

double Sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
double Silu(double x) { return x * Sigmoid(x); }
double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

void RmsNorm(std::span<double> row, std::span<const double> weight, RmsNormOptions options) {
  ASSAY_CHECK(weight.empty() || weight.size() == row.size(), "one weight a channel");
  double sum = 0;
  for (const double x : row) sum += x * x;
  const double inverse = 1 / std::sqrt(sum / static_cast<double>(row.size()) + options.epsilon);
  for (size_t i = 0; i < row.size(); ++i) row[i] *= inverse * (weight.empty() ? 1 : weight[i] + (options.plus_one ? 1 : 0));
}

void RmsNorm(Array& x, const Array* weight, RmsNormOptions options) {
  const auto width = static_cast<size_t>(x.extent(-1));
  const std::span<const double> weights = weight == nullptr ? std::span<const double>{} : std::span(weight->data(), static_cast<size_t>(weight->count()));
  for (int64_t row = 0; width > 0 && row < x.count() / static_cast<int64_t>(width); ++row) {
    RmsNorm({x.data() + row * static_cast<int64_t>(width), width}, weights, options);
  }
}

void L2Norm(std::span<double> row, double epsilon) {
  double sum = 0;
  for (const double x : row) sum += x * x;
  const double inverse = 1 / std::sqrt(sum + epsilon);
  for (double& x : row) x *= inverse;
}

Rope PlainRope(double theta, int64_t rotary_dim, Rope::Pairing pairing, int64_t offset) {
  Rope rope;
  rope.pairing = pairing;
  rope.offset = offset;
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    rope.inverse_frequency.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim)));
  }
  return rope;
}

void Rotate(std::span<double> head, double position, const Rope& rope) {
  const size_t n = rope.inverse_frequency.size();
  const auto first = static_cast<size_t>(rope.offset);
  ASSAY_CHECK(first + 2 * n <= head.size(), "a head as wide as what turns");
  for (size_t i = 0; i < n; ++i) {
    const bool halves = rope.pairing == Rope::Pairing::kHalves;
    double& a = head[first + (halves ? i : 2 * i)];
    double& b = head[first + (halves ? i + n : 2 * i + 1)];
    const double angle = position * rope.inverse_frequency[i];
    const double cosine = std::cos(angle) * rope.attention_factor;
    const double sine = std::sin(angle) * rope.attention_factor;
    const double turned = a * cosine - b * sine;
    b = b * cosine + a * sine;
    a = turned;
  }
}

double YarnMscale(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1; }

namespace {

// Channel pair (as a real number) that turns `rotations` times over the original context (YaRN, eq. 17-18).
double CorrectionDim(double rotations, double dim, double theta, double context) {
  return dim * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

void ApplyYarn(const RopeScaling& scaling, double dim, double factor, Rope* rope) {
  const double context = scaling.original_max_position_embeddings > 0 ? scaling.original_max_position_embeddings : scaling.max_position_embeddings;
  double low = CorrectionDim(scaling.beta_fast, dim, scaling.theta, context);
  double high = CorrectionDim(scaling.beta_slow, dim, scaling.theta, context);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < rope->inverse_frequency.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double plain = rope->inverse_frequency[i];
    rope->inverse_frequency[i] = plain / factor * ramp + plain * (1 - ramp);
  }
  rope->attention_factor = scaling.mscale > 0 && scaling.mscale_all_dim > 0
                               ? YarnMscale(factor, scaling.mscale) / YarnMscale(factor, scaling.mscale_all_dim)
                               : YarnMscale(factor, 1);
}

void ApplyLlama3(const RopeScaling& scaling, double factor, Rope* rope) {
  const double context = scaling.original_max_position_embeddings;
  for (double& frequency : rope->inverse_frequency) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength > context / scaling.low_freq_factor) {
      frequency /= factor;
    } else if (wavelength >= context / scaling.high_freq_factor) {
      const double smooth = (context / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
      frequency = (1 - smooth) * frequency / factor + smooth * frequency;
    }
  }
}

Status ApplyLongRope(const RopeScaling& scaling, double factor, Rope* rope) {
  const bool states_both = scaling.original_max_position_embeddings > 0 && scaling.max_position_embeddings > 0;
  const double context = states_both ? scaling.original_max_position_embeddings : scaling.max_position_embeddings;
  const auto& factors = scaling.longest_position + 1 > context ? scaling.long_factor : scaling.short_factor;
  if (factors.size() != rope->inverse_frequency.size()) {
    return BadInput(fmt::format("longrope has {} factors for {} frequencies", factors.size(), rope->inverse_frequency.size()));
  }
  for (size_t i = 0; i < factors.size(); ++i) rope->inverse_frequency[i] /= factors[i];
  // Models with longrope state both lengths; their ratio decides, not `factor`.
  const double growth = states_both ? scaling.max_position_embeddings / context : factor;
  rope->attention_factor = growth <= 1 ? 1 : std::sqrt(1 + std::log(growth) / std::log(context));
  return Ok();
}

}  // namespace

Result<Rope> ScaledRope(const RopeScaling& scaling) {
  const auto dim = static_cast<int64_t>(static_cast<double>(scaling.head_dim) * scaling.partial_rotary_factor);
  if (scaling.head_dim < 2 || scaling.head_dim > 65536 || dim < 2 || dim > scaling.head_dim || !(scaling.theta > 0)) {
    return BadInput(fmt::format("rotary embedding of {} channels, {} of them turning, theta {}", scaling.head_dim, dim, scaling.theta));
  }
  const double original = scaling.original_max_position_embeddings;
  double factor = scaling.factor;
  if (factor <= 0) factor = original > 0 && scaling.max_position_embeddings > 0 ? scaling.max_position_embeddings / original : 1;
  Rope rope = PlainRope(scaling.theta, dim);
  if (scaling.type == "linear") {
    for (double& frequency : rope.inverse_frequency) frequency /= factor;
  } else if (scaling.type == "dynamic") {
    const double longest = std::max(scaling.longest_position + 1, scaling.max_position_embeddings);
    const double growth = factor * longest / scaling.max_position_embeddings - (factor - 1);
    rope = PlainRope(scaling.theta * std::pow(growth, static_cast<double>(dim) / static_cast<double>(dim - 2)), dim);
  } else if (scaling.type == "yarn") {
    ApplyYarn(scaling, static_cast<double>(dim), factor, &rope);
  } else if (scaling.type == "llama3") {
    ApplyLlama3(scaling, factor, &rope);
  } else if (scaling.type == "longrope") {
    ASSAY_RETURN_IF_ERROR(ApplyLongRope(scaling, factor, &rope));
  } else if (scaling.type == "proportional") {
    // The exponent runs over the whole head; channels beyond the rotated share keep frequency 0.
    rope = PlainRope(scaling.theta, scaling.head_dim);
    for (size_t i = static_cast<size_t>(dim / 2); i < rope.inverse_frequency.size(); ++i) rope.inverse_frequency[i] = 0;
    for (double& frequency : rope.inverse_frequency) frequency /= factor;
  } else if (scaling.type != "default") {
    return Unsupported(fmt::format("rotary scaling '{}'; known: default, linear, dynamic, yarn, llama3, longrope, proportional", scaling.type));
  }
  if (scaling.attention_factor > 0) rope.attention_factor = scaling.attention_factor;
  return rope;
}

Array CausalConv(const Array& x, const Array& weight, const Array* bias, const Array* past) {
  const int64_t batch = x.extent(0);
  const int64_t tokens = x.extent(1);
  const int64_t channels = x.extent(2);
  const int64_t taps = weight.extent(-1);
  const int64_t before = past != nullptr ? past->extent(2) : 0;
  Array y({batch, tokens, channels});
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t c = 0; c < channels; ++c) {
        double sum = bias != nullptr ? bias->data()[c] : 0;
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t at = t - (taps - 1) + tap;  // the last tap is the token itself
          if (at >= 0) sum += weight.data()[c * taps + tap] * x(b, at, c);
          else if (before + at >= 0) sum += weight.data()[c * taps + tap] * (*past)(b, c, before + at);
        }
        y(b, t, c) = sum;
      }
    }
  }
  return y;
}

Array ConvTail(const Array& x, const Array* past, int64_t columns) {
  const int64_t batch = x.extent(0);
  const int64_t tokens = x.extent(1);
  const int64_t channels = x.extent(2);
  const int64_t before = past != nullptr ? past->extent(2) : 0;
  Array tail({batch, channels, columns});
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t column = 0; column < columns; ++column) {
        const int64_t at = tokens - columns + column;
        if (at >= 0) tail(b, c, column) = x(b, at, c);
        else if (before + at >= 0) tail(b, c, column) = (*past)(b, c, before + at);
      }
    }
  }
  return tail;
}

}  // namespace assay::module_math
