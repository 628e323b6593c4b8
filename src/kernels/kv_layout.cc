#include "kernels/kv_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/softmax_args.h"

namespace assay {
namespace {

constexpr int64_t kNoteBytes = 64;
constexpr int64_t kGroupChannels = 32;
constexpr int64_t kStrip = 16;  // columns

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Elements in a 32-bit unit.
int64_t UnitElements(DType dtype) { return 32 / BitsOf(dtype); }

// Element `summed` of the summed-over axis in column `column`; n elements a unit, `summed_units` units a column.
size_t UnitIndex(int64_t n, int64_t summed_units, int64_t summed, int64_t column) {
  return static_cast<size_t>(((column / kStrip * summed_units + summed / n) * kStrip + column % kStrip) * n + summed % n);
}
int64_t KeyUnits(const KvLayout& layout) { return (layout.head_dim + UnitElements(layout.format.dtype) - 1) / UnitElements(layout.format.dtype); }
int64_t ValueUnits(const KvLayout& layout) { return kKvPageTokens / UnitElements(layout.format.dtype); }

bool IsQuantised(DType dtype) { return BitsOf(dtype) <= 8; }

int64_t ScaleBytes(ScaleGranularity granularity, int64_t channels) {
  switch (granularity) {
    case ScaleGranularity::kNone: return 0;
    case ScaleGranularity::kPerToken: return kKvPageTokens * 4;
    case ScaleGranularity::kPerPageChannel: return RoundUp(channels * 4, 64);
    case ScaleGranularity::kPerGroup32: return (channels + kGroupChannels - 1) / kGroupChannels * kKvPageTokens * 4;
  }
  ASSAY_CHECK(false, "unknown scale granularity");
}

// Scale bytes that one token adds, for the cost of a cache; a page's channel scales are shared by its 64 tokens.
double ScaleBytesPerToken(ScaleGranularity granularity, int64_t channels) {
  switch (granularity) {
    case ScaleGranularity::kNone: return 0;
    case ScaleGranularity::kPerToken: return 4;
    case ScaleGranularity::kPerPageChannel: return static_cast<double>(channels) * 4 / kKvPageTokens;
    case ScaleGranularity::kPerGroup32: return static_cast<double>((channels + kGroupChannels - 1) / kGroupChannels) * 4;
  }
  ASSAY_CHECK(false, "unknown scale granularity");
}

// The largest magnitude a quantised value maps to. Symmetric, so -128 and -8 stay unused.
double LargestCode(DType dtype) {
  switch (dtype) {
    case DType::kI8: return 127;
    case DType::kI4: return 7;
    case DType::kE4m3: return 448;
    default: return 0;
  }
}

// One block of one head: where its elements and scales are.
struct Block {
  std::byte* data;
  float* scales;
  DType dtype;
  ScaleGranularity granularity;
  bool is_key;
  int64_t channels;
  int64_t summed_units;  // units of the summed-over axis

  [[nodiscard]] size_t Element(int64_t token, int64_t channel) const {
    return UnitIndex(UnitElements(dtype), summed_units, is_key ? channel : token, is_key ? token : channel);
  }
  [[nodiscard]] float& Scale(int64_t token, int64_t channel) const {
    switch (granularity) {
      case ScaleGranularity::kPerPageChannel: return scales[channel];
      case ScaleGranularity::kPerGroup32: return scales[channel / kGroupChannels * kKvPageTokens + token];
      default: return scales[token];
    }
  }
  [[nodiscard]] double Get(int64_t token, int64_t channel) const {
    const double raw = LoadElement(data, dtype, Element(token, channel));
    return granularity == ScaleGranularity::kNone ? raw : raw * static_cast<double>(Scale(token, channel));
  }
  void PutRaw(int64_t token, int64_t channel, double value) const { StoreElement(data, dtype, Element(token, channel), value); }
  void PutScaled(int64_t token, int64_t channel, double value) const {
    const auto scale = static_cast<double>(Scale(token, channel));
    // A scale that is not finite marks the value as NaN or infinite; the code only has to be non-zero.
    PutRaw(token, channel, scale == 0 ? 0 : std::isfinite(scale) ? value / scale : 1);
  }
};

Block KeyBlock(const KvLayout& layout, const KvPage& page, int64_t head) {
  return {page.K(layout, head),   reinterpret_cast<float*>(page.KScale(layout, head)), layout.format.dtype, layout.format.k_scale, true,
          layout.head_dim,        KeyUnits(layout)};
}
Block ValueBlock(const KvLayout& layout, const KvPage& page, int64_t head) {
  return {page.V(layout, head),   reinterpret_cast<float*>(page.VScale(layout, head)), layout.format.dtype, layout.format.v_scale, false,
          layout.v_head_dim,      ValueUnits(layout)};
}

// NaN beats infinity beats numbers, so that a group's scale shows what its values held.
double Magnitude(double running, double value) {
  if (std::isnan(running) || std::isnan(value)) return std::numeric_limits<double>::quiet_NaN();
  return std::max(running, std::fabs(value));
}

// Quantises tokens [first, first + rows) of a block from `value(row, channel)`.
template <class Value>
void Quantise(const Block& block, int64_t first, int64_t rows, const Value& value) {
  const double largest = LargestCode(block.dtype);
  if (block.granularity == ScaleGranularity::kPerPageChannel) {
    for (int64_t c = 0; c < block.channels; ++c) {
      double magnitude = 0;
      for (int64_t r = 0; r < rows; ++r) magnitude = Magnitude(magnitude, value(r, c));
      const double needed = magnitude / largest;
      float& scale = block.scales[c];
      // A page fills token by token: when a larger value arrives, the codes already there are rounded once more to the new scale.
      if (!(needed <= static_cast<double>(scale))) {
        double old[kKvPageTokens];
        for (int64_t t = 0; t < first; ++t) old[t] = block.Get(t, c);
        scale = static_cast<float>(needed);
        for (int64_t t = 0; t < first; ++t) block.PutScaled(t, c, old[t]);
      }
      for (int64_t r = 0; r < rows; ++r) block.PutScaled(first + r, c, value(r, c));
    }
    return;
  }
  const int64_t group = block.granularity == ScaleGranularity::kPerGroup32 ? kGroupChannels : block.channels;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t begin = 0; begin < block.channels; begin += group) {
      const int64_t end = std::min(begin + group, block.channels);
      double magnitude = 0;
      for (int64_t c = begin; c < end; ++c) magnitude = Magnitude(magnitude, value(r, c));
      block.Scale(first + r, begin) = static_cast<float>(magnitude / largest);
      for (int64_t c = begin; c < end; ++c) block.PutScaled(first + r, c, value(r, c));
    }
  }
}

// Copies 32-bit or 16-bit values bit by bit where source and cache agree in type.
template <class T>
void CopyRows(const Block& block, int64_t first, int64_t rows, const T* source, int64_t token_stride, int64_t channel_stride) {
  constexpr int64_t n = 4 / static_cast<int64_t>(sizeof(T));
  auto* target = reinterpret_cast<T*>(block.data);
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = source + r * token_stride;
    T* to = target + block.Element(first + r, 0);
    if (block.is_key) {
      // Units of one token lie a strip's width apart.
      int64_t c = 0;
      for (; c + n <= block.channels; c += n, to += kStrip * n) {
        for (int64_t i = 0; i < n; ++i) to[i] = row[(c + i) * channel_stride];
      }
      for (int64_t i = 0; c + i < block.channels; ++i) to[i] = row[(c + i) * channel_stride];
    } else {
      const int64_t strip = block.summed_units * kStrip * n;
      for (int64_t c = 0; c < block.channels; c += kStrip, to += strip) {
        const int64_t columns = std::min(kStrip, block.channels - c);
        for (int64_t i = 0; i < columns; ++i) to[i * n] = row[(c + i) * channel_stride];
      }
    }
  }
}

double ReadSigned(const TensorView& view, int64_t offset) {
  if (offset >= 0) return LoadElement(view.data, view.dtype, static_cast<size_t>(offset));
  return LoadElement(static_cast<const char*>(view.data) + offset * (BitsOf(view.dtype) / 8), view.dtype, 0);
}

// Writes tokens [first, first + rows) of one head, whose source rows start at token `source_token` of `view` [tokens, heads, channels].
void WriteRows(const Block& block, int64_t first, int64_t rows, const TensorView& view, int64_t source_token, int64_t head) {
  const int64_t base = source_token * view.stride[0] + head * view.stride[1];
  if (view.dtype == block.dtype && block.granularity == ScaleGranularity::kNone && BitsOf(view.dtype) == 32) {
    return CopyRows(block, first, rows, static_cast<const uint32_t*>(view.data) + base, view.stride[0], view.stride[2]);
  }
  if (view.dtype == block.dtype && block.granularity == ScaleGranularity::kNone && BitsOf(view.dtype) == 16) {
    return CopyRows(block, first, rows, static_cast<const uint16_t*>(view.data) + base, view.stride[0], view.stride[2]);
  }
  const auto value = [&](int64_t r, int64_t c) { return ReadSigned(view, base + r * view.stride[0] + c * view.stride[2]); };
  if (block.granularity != ScaleGranularity::kNone) return Quantise(block, first, rows, value);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < block.channels; ++c) block.PutRaw(first + r, c, value(r, c));
  }
}

// Are all exponents of a value block's tokens below the all-ones pattern?
template <class T>
bool AllFiniteRaw(const Block& block, int64_t first, int64_t rows, T exponent_mask) {
  constexpr int64_t n = 4 / static_cast<int64_t>(sizeof(T));
  const auto* data = reinterpret_cast<const T*>(block.data);
  unsigned special = 0;
  for (int64_t t = first; t < first + rows; ++t) {
    const T* row = data + block.Element(t, 0);
    for (int64_t c = 0; c < block.channels; c += kStrip, row += block.summed_units * kStrip * n) {
      for (int64_t i = 0; i < kStrip; ++i) special |= (row[i * n] & exponent_mask) == exponent_mask ? 1u : 0u;  // padding is 0
    }
  }
  return special == 0;
}

bool HasFp8Nan(const Block& block, int64_t first, int64_t rows) {
  const auto* codes = reinterpret_cast<const uint8_t*>(block.data);
  for (int64_t t = first; t < first + rows; ++t) {
    for (int64_t c = 0; c < block.channels; ++c) {
      if ((codes[block.Element(t, c)] & 0x7f) == 0x7f) return true;
    }
  }
  return false;
}

bool AllFinite(const Block& block, int64_t first, int64_t rows) {
  switch (block.dtype) {
    case DType::kF32: return AllFiniteRaw<uint32_t>(block, first, rows, 0x7f800000u);
    case DType::kBf16: return AllFiniteRaw<uint16_t>(block, first, rows, 0x7f80u);
    case DType::kF16: return AllFiniteRaw<uint16_t>(block, first, rows, 0x7c00u);
    default: break;
  }
  // Integers are finite; their scales need not be. An e4m3 code of 0x7f is NaN whatever its sign.
  const int64_t group = block.granularity == ScaleGranularity::kPerPageChannel ? 1
                        : block.granularity == ScaleGranularity::kPerGroup32   ? kGroupChannels
                                                                               : block.channels;
  for (int64_t t = first; block.granularity != ScaleGranularity::kNone && t < first + rows; ++t) {
    for (int64_t c = 0; c < block.channels; c += group) {
      if (!std::isfinite(block.Scale(t, c))) return false;
    }
  }
  return block.dtype != DType::kE4m3 || !HasFp8Nan(block, first, rows);
}

Status CheckScale(DType dtype, ScaleGranularity granularity, std::string_view which) {
  const bool integer = dtype == DType::kI8 || dtype == DType::kI4;
  if (integer && granularity == ScaleGranularity::kNone) {
    return BadInput(fmt::format("a {} cache of {} needs a scale granularity (per token, per page channel or per group of 32)", NameOf(dtype), which));
  }
  if (!IsQuantised(dtype) && granularity != ScaleGranularity::kNone) {
    return BadInput(fmt::format("a {} cache of {} takes no scales; use none, or i8, i4 or e4m3", NameOf(dtype), which));
  }
  return Ok();
}

}  // namespace

Result<KvLayout> KvLayout::Make(KvFormat format, int64_t kv_heads, int64_t head_dim, int64_t v_head_dim) {
  switch (format.dtype) {
    case DType::kF32:
    case DType::kBf16:
    case DType::kF16:
    case DType::kI8:
    case DType::kI4:
    case DType::kE4m3: break;
    default: return Unsupported(fmt::format("a cache of {}; there are f32, bf16, f16, i8, i4 and e4m3", NameOf(format.dtype)));
  }
  ASSAY_RETURN_IF_ERROR(CheckScale(format.dtype, format.k_scale, "keys"));
  ASSAY_RETURN_IF_ERROR(CheckScale(format.dtype, format.v_scale, "values"));
  constexpr int64_t kWidest = 1 << 16;
  if (kv_heads < 1 || head_dim < 1 || v_head_dim < 1 || kv_heads > kWidest || head_dim > kWidest || v_head_dim > kWidest) {
    return BadInput(fmt::format("a cache of {} heads with keys of {} and values of {} channels; each must be in [1, {}]", kv_heads, head_dim,
                                v_head_dim, kWidest));
  }
  KvLayout layout;
  layout.format = format;
  layout.kv_heads = kv_heads;
  layout.head_dim = head_dim;
  layout.v_head_dim = v_head_dim;
  layout.padded_v = RoundUp(v_head_dim, 16);
  const int64_t n = UnitElements(format.dtype);
  layout.k_block_bytes = (head_dim + n - 1) / n * kKvPageTokens * 4;
  layout.v_block_bytes = kKvPageTokens / n * layout.padded_v * 4;
  layout.k_scale_bytes = ScaleBytes(format.k_scale, head_dim);
  layout.v_scale_bytes = ScaleBytes(format.v_scale, v_head_dim);
  layout.head_bytes = layout.note_offset() + kNoteBytes;
  layout.page_bytes = kv_heads * layout.head_bytes;
  return layout;
}

double KvLayout::bytes_per_token() const {
  const double element = BitsOf(format.dtype) / 8.0;
  return static_cast<double>(kv_heads) * (static_cast<double>(head_dim + v_head_dim) * element +
                                          ScaleBytesPerToken(format.k_scale, head_dim) + ScaleBytesPerToken(format.v_scale, v_head_dim));
}

size_t KeyIndex(const KvLayout& layout, int64_t token, int64_t channel) {
  return UnitIndex(UnitElements(layout.format.dtype), KeyUnits(layout), channel, token);
}
size_t ValueIndex(const KvLayout& layout, int64_t token, int64_t channel) {
  return UnitIndex(UnitElements(layout.format.dtype), ValueUnits(layout), token, channel);
}

void WriteKvTokens(const KvLayout& layout, const KvPage& page, int64_t first, int64_t rows, const KvSource& source, int64_t head) {
  const Block keys = KeyBlock(layout, page, head);
  const Block values = ValueBlock(layout, page, head);
  WriteRows(keys, first, rows, source.k, source.token, head);
  WriteRows(values, first, rows, source.v, source.token, head);
  NoteKvTokens(layout, page, first, rows, head);
}

void CopyKvCodes(const KvLayout& layout, const KvPage& page, int64_t first, int64_t rows, const KvSource& source, int64_t head) {
  const auto copy = [&](const Block& block, const TensorView& view) {
    ASSAY_CHECK(view.dtype == block.dtype, "codes are of the cache's own type");
    const int64_t base = source.token * view.stride[0] + head * view.stride[1];
    switch (BitsOf(block.dtype)) {
      case 8: return CopyRows(block, first, rows, static_cast<const uint8_t*>(view.data) + base, view.stride[0], view.stride[2]);
      case 16: return CopyRows(block, first, rows, static_cast<const uint16_t*>(view.data) + base, view.stride[0], view.stride[2]);
      case 32: return CopyRows(block, first, rows, static_cast<const uint32_t*>(view.data) + base, view.stride[0], view.stride[2]);
      default: ASSAY_CHECK(false, "codes that are whole bytes");
    }
  };
  copy(KeyBlock(layout, page, head), source.k);
  copy(ValueBlock(layout, page, head), source.v);
}

float& KeyScale(const KvLayout& layout, const KvPage& page, int64_t head, int64_t token, int64_t channel) {
  return KeyBlock(layout, page, head).Scale(token, channel);
}
float& ValueScale(const KvLayout& layout, const KvPage& page, int64_t head, int64_t token, int64_t channel) {
  return ValueBlock(layout, page, head).Scale(token, channel);
}

void NoteKvTokens(const KvLayout& layout, const KvPage& page, int64_t first, int64_t rows, int64_t head) {
  uint32_t note;
  std::byte* at = page.K(layout, head) + layout.note_offset();
  std::memcpy(&note, at, sizeof(note));
  if (!AllFinite(ValueBlock(layout, page, head), first, rows)) note |= kNoteValues;
  if (layout.format.dtype == DType::kE4m3 && HasFp8Nan(KeyBlock(layout, page, head), first, rows)) note |= kNoteKeys;
  std::memcpy(at, &note, sizeof(note));
}

Result<KvCache> KvCache::Make(const KvLayout& layout, int64_t sequences, int64_t max_pages) {
  constexpr int64_t kMostBytes = int64_t{1} << 46;
  if (sequences < 0 || max_pages < 0 || (max_pages > 0 && layout.page_bytes > kMostBytes / max_pages)) {
    return BadInput(fmt::format("a cache of {} sequences and {} pages of {} bytes", sequences, max_pages, layout.page_bytes));
  }
  KvCache cache;
  cache.layout_ = layout;
  cache.memory_ = Tensor(DType::kU8, {max_pages * layout.page_bytes});
  cache.tokens_.assign(static_cast<size_t>(sequences), 0);
  cache.pages_.resize(static_cast<size_t>(sequences));
  for (int64_t page = max_pages; page-- > 0;) cache.free_.push_back(cache.memory_.data<std::byte>() + page * layout.page_bytes);
  return cache;
}

Status KvCache::Append(int64_t sequence, const TensorView& k, const TensorView& v) {
  ASSAY_CHECK(sequence >= 0 && sequence < static_cast<int64_t>(tokens_.size()), "a sequence the cache does not have");
  if (k.rank != 3 || v.rank != 3 || k.shape[0] != v.shape[0] || k.shape[1] != layout_.kv_heads || v.shape[1] != layout_.kv_heads ||
      k.shape[2] != layout_.head_dim || v.shape[2] != layout_.v_head_dim) {
    return BadInput(fmt::format("append of K {} and V {} to a cache of {} heads, {} and {} channels; both are [tokens, heads, channels]",
                                ShapeString(k), ShapeString(v), layout_.kv_heads, layout_.head_dim, layout_.v_head_dim));
  }
  const auto s = static_cast<size_t>(sequence);
  const int64_t rows = k.shape[0];
  const int64_t need = (tokens_[s] + rows + kKvPageTokens - 1) / kKvPageTokens - static_cast<int64_t>(pages_[s].size());
  if (need > static_cast<int64_t>(free_.size())) {
    return Unsupported(fmt::format("the cache is full: {} more pages needed, {} free", need, free_.size()));
  }
  for (int64_t page = 0; page < need; ++page) {
    pages_[s].push_back({free_.back()});
    std::memset(free_.back(), 0, static_cast<size_t>(layout_.page_bytes));
    free_.pop_back();
  }
  for (int64_t done = 0; done < rows;) {
    const int64_t slot = tokens_[s] % kKvPageTokens;
    const int64_t count = std::min(rows - done, kKvPageTokens - slot);
    const KvPage page = pages_[s][static_cast<size_t>(tokens_[s] / kKvPageTokens)];
    for (int64_t head = 0; head < layout_.kv_heads; ++head) WriteKvTokens(layout_, page, slot, count, {k, v, done}, head);
    tokens_[s] += count;
    done += count;
  }
  return Ok();
}

void KvCache::Truncate(int64_t sequence, int64_t tokens) {
  const auto s = static_cast<size_t>(sequence);
  ASSAY_CHECK(tokens >= 0 && tokens <= tokens_[s], "truncation to more tokens than there are");
  const auto keep = static_cast<size_t>((tokens + kKvPageTokens - 1) / kKvPageTokens);
  while (pages_[s].size() > keep) {
    free_.push_back(pages_[s].back().data);
    pages_[s].pop_back();
  }
  tokens_[s] = tokens;
  if (tokens % kKvPageTokens == 0) return;
  // Padding stays zero: kernels read whole pages.
  for (int64_t head = 0; head < layout_.kv_heads; ++head) {
    const Block keys = KeyBlock(layout_, pages_[s].back(), head);
    const Block values = ValueBlock(layout_, pages_[s].back(), head);
    for (const Block& block : {keys, values}) {
      for (int64_t t = tokens % kKvPageTokens; t < kKvPageTokens; ++t) {
        for (int64_t c = 0; c < block.channels; ++c) block.PutRaw(t, c, 0);
      }
    }
  }
}

double KvCache::K(int64_t sequence, int64_t token, int64_t head, int64_t channel) const {
  const KvPage page = pages(sequence)[static_cast<size_t>(token / kKvPageTokens)];
  return KeyBlock(layout_, page, head).Get(token % kKvPageTokens, channel);
}

double KvCache::V(int64_t sequence, int64_t token, int64_t head, int64_t channel) const {
  const KvPage page = pages(sequence)[static_cast<size_t>(token / kKvPageTokens)];
  return ValueBlock(layout_, page, head).Get(token % kKvPageTokens, channel);
}

}  // namespace assay
