// Builds softmax problems for the tests of this folder, in every storage form, with NaN wherever nobody may look.
#include <algorithm>

#include "kernels/softmax_case.h"

namespace assay::testing {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<double> Randoms(Rng& rng, int64_t count, DType dtype, double deviation) {
  std::vector<double> values(static_cast<size_t>(count));
  for (double& value : values) value = RoundTo(dtype, rng.Normal() * deviation);
  return values;
}

// A view [rows][heads][channels] into fresh NaN-filled memory with the strides the spec asks for.
TensorView Rows(SoftmaxCase& c, Role role, std::vector<int64_t> shape) {
  const SoftmaxSpec& spec = c.spec;
  const bool cached = spec.cache != DType::kF32 && (role == Role::kK || role == Role::kV);
  const DType dtype = cached ? spec.cache : spec.dtype;
  const size_t rank = shape.size();
  const int64_t channels = shape[rank - 1] + spec.stride_padding;
  const int64_t heads = shape[rank - 2];
  int64_t tokens = 1;
  for (size_t axis = 0; axis + 2 < rank; ++axis) tokens *= shape[axis];
  Tensor memory(dtype, {std::max<int64_t>(1, tokens * heads * channels + spec.misalign + spec.stride_padding)});
  memory.Poison();
  TensorView view = TensorView::Contiguous(memory.data<void>(), dtype, shape);
  int64_t stride = channels;
  view.stride[rank - 1] = spec.reversed_channels ? -1 : 1;
  for (size_t axis = rank - 1; axis-- > 0;) {
    view.stride[axis] = stride;
    stride *= shape[axis];
  }
  const int64_t start = spec.misalign + (spec.reversed_channels ? shape[rank - 1] - 1 : 0);
  view.data = memory.data<char>() + start * BitsOf(dtype) / 8;
  c.owned.tensors.push_back(std::move(memory));
  c.owned.problem.arguments.push_back({role, view});
  return view;
}

// Codes of a cache and their scales, drawn apart; the values are the products. Channel scales are shared by 64 tokens.
void DrawCache(Rng& rng, const SoftmaxSpec& spec, ScaleGranularity granularity, int64_t tokens, int64_t channels, std::vector<double>& values,
               std::vector<double>& codes, std::vector<double>& scales) {
  const double deviation = spec.cache == DType::kI8 ? 40 : spec.cache == DType::kI4 ? 2.5 : 1;
  codes = Randoms(rng, tokens * spec.kv_heads * channels, spec.cache == DType::kF32 ? spec.dtype : spec.cache, deviation);
  scales.assign(codes.size(), 1.0);
  if (granularity != ScaleGranularity::kNone) {
    const std::vector<double> drawn = Randoms(rng, tokens * spec.kv_heads * channels, DType::kF32, 0.5 / deviation);
    for (size_t i = 0; i < codes.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      const int64_t row = at / channels, channel = at % channels, token = row / spec.kv_heads, head = row % spec.kv_heads;
      int64_t from = row * channels;
      if (granularity == ScaleGranularity::kPerGroup32) from += channel / 32 * 32;
      if (granularity == ScaleGranularity::kPerPageChannel) from = (token / 64 * 64 * spec.kv_heads + head) * channels + channel;
      scales[i] = RoundTo(DType::kF32, 0.5 / deviation + std::fabs(drawn[static_cast<size_t>(from)]));
    }
  }
  values = codes;
  for (size_t i = 0; i < values.size(); ++i) values[i] *= scales[i];
}

void AddMasks(SoftmaxCase& c, Rng& rng) {
  const SoftmaxSpec& spec = c.spec;
  const int64_t most_q = *std::max_element(spec.queries.begin(), spec.queries.end());
  const int64_t most_k = *std::max_element(spec.keys.begin(), spec.keys.end());
  const auto batch = static_cast<int64_t>(spec.queries.size());
  TensorView boolean, additive;
  if (spec.mask_bool) boolean = c.owned.Add(Role::kMaskBool, DType::kBool8, {batch, spec.query_heads, most_q, most_k});
  if (spec.mask_add) additive = c.owned.Add(Role::kMaskAdd, DType::kF32, {batch, spec.query_heads, most_q, most_k});
  for (int64_t b = 0; b < batch; ++b) {
    SequenceData& s = c.sequences[static_cast<size_t>(b)];
    for (int64_t h = 0; h < spec.query_heads; ++h) {
      for (int64_t t = 0; t < s.queries; ++t) {
        for (int64_t j = 0; j < s.keys; ++j) {
          double& bias = s.bias[static_cast<size_t>((h * s.queries + t) * s.keys + j)];
          if (spec.mask_add) {
            const double added = rng.Uniform() < 0.2 ? -kInf : RoundTo(DType::kF32, rng.Normal());
            additive.Set({b, h, t, j}, added);
            bias = added;
          }
          if (spec.mask_bool) {
            const bool seen = rng.Uniform() < 0.6;
            boolean.Set({b, h, t, j}, seen ? 1 : 0);
            if (!seen) bias = -kInf;
          }
        }
      }
    }
  }
}

void AddPositions(SoftmaxCase& c, Rng& rng) {
  int64_t all_q = 0, all_k = 0;
  for (const SequenceData& s : c.sequences) all_q += s.queries, all_k += s.keys;
  const TensorView pos_q = c.owned.Add(Role::kPosQ, DType::kI64, {all_q});
  const TensorView pos_k = c.owned.Add(Role::kPosK, DType::kI64, {all_k});
  int64_t q_row = 0, k_row = 0;
  for (SequenceData& s : c.sequences) {
    for (int64_t& position : s.query_position) {
      position = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(s.keys + 1)));
      pos_q.Set({q_row++}, static_cast<double>(position));
    }
    for (int64_t& position : s.key_position) {
      position = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(s.keys + 1)));
      pos_k.Set({k_row++}, static_cast<double>(position));
    }
  }
}

}  // namespace

SoftmaxCase MakeCase(const SoftmaxSpec& spec, uint64_t seed) {
  SoftmaxCase c;
  c.spec = spec;
  Rng rng(seed);
  const auto batch = static_cast<int64_t>(spec.queries.size());
  c.scale = 1 / std::sqrt(static_cast<double>(spec.head_dim));
  int64_t all_q = 0, all_k = 0, all_pages = 0, most_pages = 1, most_q = 0, most_k = 0;
  for (int64_t b = 0; b < batch; ++b) {
    SequenceData s;
    s.queries = spec.queries[static_cast<size_t>(b)];
    s.keys = spec.keys[static_cast<size_t>(b)];
    s.q = Randoms(rng, s.queries * spec.query_heads * spec.head_dim, spec.dtype, spec.score_spread);
    DrawCache(rng, spec, spec.k_scale, s.keys, spec.head_dim, s.k, s.k_codes, s.k_scales);
    DrawCache(rng, spec, spec.v_scale, s.keys, spec.v_head_dim, s.v, s.v_codes, s.v_scales);
    s.bias.assign(static_cast<size_t>(spec.query_heads * s.queries * s.keys), 0.0);
    const int64_t alignment = spec.causal == Causal::kTopLeft ? 0 : s.keys - s.queries;
    for (int64_t t = 0; t < s.queries; ++t) s.query_position.push_back(alignment + t);
    for (int64_t j = 0; j < s.keys; ++j) s.key_position.push_back(j);
    all_q += s.queries, all_k += s.keys;
    const int64_t pages = (s.keys + spec.page_tokens - 1) / spec.page_tokens;
    all_pages += pages;
    most_pages = std::max(most_pages, pages), most_q = std::max(most_q, s.queries), most_k = std::max(most_k, s.keys);
    c.sequences.push_back(std::move(s));
  }
  Problem& p = c.owned.problem;
  p.mechanism = "test";
  p.scale = c.scale;
  p.softcap = spec.softcap;
  p.causal = spec.causal;
  p.window_left = spec.window_left;
  p.window_right = spec.window_right;

  using Storage = SoftmaxSpec::Storage;
  const bool dense = spec.storage == Storage::kDense;
  const auto shaped = [&](int64_t total, int64_t most, int64_t heads, int64_t channels) {
    return dense ? std::vector<int64_t>{batch, most, heads, channels} : std::vector<int64_t>{total, heads, channels};
  };
  const TensorView q = Rows(c, Role::kQ, shaped(all_q, most_q, spec.query_heads, spec.head_dim));
  Rows(c, Role::kO, shaped(all_q, most_q, spec.query_heads, spec.v_head_dim));
  std::vector<int64_t> k_shape = shaped(all_k, most_k, spec.kv_heads, spec.head_dim);
  if (spec.storage == Storage::kPaged) k_shape = {2 * all_pages + 1, spec.page_tokens, spec.kv_heads, spec.head_dim};
  const TensorView k = Rows(c, Role::kK, k_shape);
  k_shape.back() = spec.v_head_dim;
  const TensorView v = Rows(c, Role::kV, k_shape);
  if (spec.lse) {
    TensorView lse = dense ? c.owned.Add(Role::kLse, DType::kF32, {batch, most_q, spec.query_heads})
                           : c.owned.Add(Role::kLse, DType::kF32, {all_q, spec.query_heads});
    for (int64_t i = 0; i < lse.count(); ++i) StoreElement(lse.data, DType::kF32, static_cast<size_t>(i), kNan);
  }
  p.k_scale = spec.k_scale;
  p.v_scale = spec.v_scale;
  const auto add_scales = [&](Role role, ScaleGranularity granularity, int64_t channels) {
    if (granularity == ScaleGranularity::kNone) return TensorView{};
    std::vector<int64_t> shape(k_shape.begin(), k_shape.end() - 1);
    if (granularity == ScaleGranularity::kPerGroup32) shape.push_back((channels + 31) / 32);
    if (granularity == ScaleGranularity::kPerPageChannel) shape = {batch, (most_k + 63) / 64, spec.kv_heads, channels};
    Tensor scales(DType::kF32, shape);
    scales.Poison();
    return c.owned.Adopt(role, std::move(scales));
  };
  const TensorView k_scale = add_scales(Role::kKScale, spec.k_scale, spec.head_dim);
  const TensorView v_scale = add_scales(Role::kVScale, spec.v_scale, spec.v_head_dim);
  TensorView table;
  if (spec.storage == Storage::kPaged) {
    p.page_tokens = spec.page_tokens;
    table = c.owned.Add(Role::kPageTable, DType::kI64, {batch, most_pages});
  }
  if (spec.storage != Storage::kPacked) {
    const TensorView len = c.owned.Add(Role::kLenK, DType::kI64, {batch});
    for (int64_t b = 0; b < batch; ++b) len.Set({b}, static_cast<double>(c.sequences[static_cast<size_t>(b)].keys));
  }
  if (!dense) {
    const TensorView cu = c.owned.Add(Role::kCuQ, DType::kI64, {batch + 1});
    for (int64_t b = 0; b < batch; ++b) cu.Set({b + 1}, cu.At({b}) + static_cast<double>(spec.queries[static_cast<size_t>(b)]));
  }
  if (spec.storage == Storage::kPacked) {
    const TensorView cu = c.owned.Add(Role::kCuK, DType::kI64, {batch + 1});
    for (int64_t b = 0; b < batch; ++b) cu.Set({b + 1}, cu.At({b}) + static_cast<double>(spec.keys[static_cast<size_t>(b)]));
  }

  int64_t q_row = 0, k_row = 0, next_page = 2 * all_pages;
  for (int64_t b = 0; b < batch; ++b) {
    const SequenceData& s = c.sequences[static_cast<size_t>(b)];
    for (int64_t t = 0; t < s.queries; ++t, ++q_row) {
      for (int64_t h = 0; h < spec.query_heads; ++h) {
        for (int64_t ch = 0; ch < spec.head_dim; ++ch) {
          const double value = s.q[static_cast<size_t>((t * spec.query_heads + h) * spec.head_dim + ch)];
          dense ? q.Set({b, t, h, ch}, value) : q.Set({q_row, h, ch}, value);
        }
      }
    }
    for (int64_t j = 0; j < s.keys; ++j, ++k_row) {
      if (spec.storage == Storage::kPaged && j % spec.page_tokens == 0) {
        table.Set({b, j / spec.page_tokens}, static_cast<double>(next_page));
        next_page -= 2;  // descending and with gaps, so that no kernel can guess
      }
      const auto put = [&](const TensorView& view, int64_t h, int64_t ch, double value) {
        if (dense) return view.Set({b, j, h, ch}, value);
        if (spec.storage == Storage::kPacked) return view.Set({k_row, h, ch}, value);
        view.Set({static_cast<int64_t>(table.At({b, j / spec.page_tokens})), j % spec.page_tokens, h, ch}, value);
      };
      const auto put_scale = [&](const TensorView& view, ScaleGranularity granularity, int64_t h, int64_t ch, double value) {
        if (granularity == ScaleGranularity::kPerPageChannel) return view.Set({b, j / 64, h, ch}, value);
        if (granularity == ScaleGranularity::kPerGroup32) return put(view, h, ch / 32, value);
        if (granularity == ScaleGranularity::kNone) return;
        if (dense) return view.Set({b, j, h}, value);
        if (spec.storage == Storage::kPacked) return view.Set({k_row, h}, value);
        view.Set({static_cast<int64_t>(table.At({b, j / spec.page_tokens})), j % spec.page_tokens, h}, value);
      };
      for (int64_t h = 0; h < spec.kv_heads; ++h) {
        for (int64_t ch = 0; ch < spec.head_dim; ++ch) {
          put_scale(k_scale, spec.k_scale, h, ch, s.k_scales[static_cast<size_t>((j * spec.kv_heads + h) * spec.head_dim + ch)]);
        }
        for (int64_t ch = 0; ch < spec.v_head_dim; ++ch) {
          put_scale(v_scale, spec.v_scale, h, ch, s.v_scales[static_cast<size_t>((j * spec.kv_heads + h) * spec.v_head_dim + ch)]);
        }
        for (int64_t ch = 0; ch < spec.head_dim; ++ch) put(k, h, ch, s.k_codes[static_cast<size_t>((j * spec.kv_heads + h) * spec.head_dim + ch)]);
        for (int64_t ch = 0; ch < spec.v_head_dim; ++ch) put(v, h, ch, s.v_codes[static_cast<size_t>((j * spec.kv_heads + h) * spec.v_head_dim + ch)]);
      }
    }
  }
  const auto per_head = [&](Role role, std::vector<double>& values) {
    const TensorView view = c.owned.Add(role, DType::kF32, {spec.query_heads});
    for (int64_t h = 0; h < spec.query_heads; ++h) {
      values.push_back(RoundTo(DType::kF32, role == Role::kAlibi ? std::exp2(-1.0 - static_cast<double>(h)) : rng.Normal()));
      view.Set({h}, values.back());
    }
  };
  if (spec.sink) per_head(Role::kSink, c.sink);
  if (spec.alibi) per_head(Role::kAlibi, c.slope);
  if (spec.mask_bool || spec.mask_add) AddMasks(c, rng);
  if (spec.positions) AddPositions(c, rng);
  return c;
}

CaseErrors Compare(const SoftmaxCase& c, bool round_weights) {
  CaseErrors errors;
  const SoftmaxSpec& spec = c.spec;
  const bool dense = spec.storage == SoftmaxSpec::Storage::kDense;
  const TensorView& o = c.owned.problem.Get(Role::kO);
  const TensorView* lse = c.owned.problem.Find(Role::kLse);
  int64_t row = 0;
  for (size_t b = 0; b < c.sequences.size(); ++b) {
    const SequenceData& s = c.sequences[b];
    for (int64_t t = 0; t < s.queries; ++t, ++row) {
      for (int64_t h = 0; h < spec.query_heads; ++h) {
        const Row truth = Solve<double>(c, s, t, h);
        const Row twin = Solve<float>(c, s, t, h, round_weights);
        const double row_unit = std::max(*std::max_element(truth.magnitude.begin(), truth.magnitude.end()), std::numeric_limits<double>::min());
        for (int64_t ch = 0; ch < spec.v_head_dim; ++ch) {
          const double got = dense ? o.At({static_cast<int64_t>(b), t, h, ch}) : o.At({row, h, ch});
          const auto at = static_cast<size_t>(ch);
          const double unit = std::max(truth.magnitude[at], std::numeric_limits<double>::min());
          errors.all_finite = errors.all_finite && std::isfinite(got);
          errors.kernel = std::max(errors.kernel, std::fabs(got - truth.o[at]) / unit);
          errors.kernel_of_row = std::max(errors.kernel_of_row, std::fabs(got - truth.o[at]) / row_unit);
          errors.twin = std::max(errors.twin, std::fabs(RoundTo(spec.dtype, twin.o[at]) - truth.o[at]) / unit);
        }
        if (lse == nullptr) continue;
        const double got = dense ? lse->At({static_cast<int64_t>(b), t, h}) : lse->At({row, h});
        if (truth.lse == -kInf) {
          errors.lse_kernel = std::max(errors.lse_kernel, got == -kInf ? 0 : kInf);
          continue;
        }
        errors.lse_kernel = std::max(errors.lse_kernel, std::isfinite(got) ? std::fabs(got - truth.lse) : kInf);
        errors.lse_twin = std::max(errors.lse_twin, std::fabs(twin.lse - truth.lse));
      }
    }
  }
  return errors;
}

}  // namespace assay::testing
