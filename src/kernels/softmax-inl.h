// The softmax kernel: tiled online softmax (Milakov and Gimelshein, arXiv 1805.02867; FlashAttention, arXiv 2205.14135) over packed pages of
// keys and values, for prefill and decode alike. The query heads of a key/value head are folded into rows, so a page is loaded once for
// the group.
//
// Rows x 64 keys are scored into a small buffer, four pages a block; then each row takes its maximum, exponentiates, and P V is
// accumulated. Scores live in base 2 (scale and log2(e) are one factor), and the running maximum is a ceiled integer that is raised only when a
// score exceeds it by more than 8: rescaling is rare and multiplies by an exact power of two. Every 32 pages form a segment with its
// own (max, sum, O), merged in order: the same arithmetic whether one thread walks all segments (prefill) or many take one each (decode).
//
// Masks never enter the hot loops: softmax_edge-inl.h classifies page x tile as skip, full or edge, and gives edges a bias row.
#pragma once

#include "kernels/epilogue.h"
#include "kernels/kernel_table.h"
#include "kernels/softmax_decoded-inl.h"
#include "kernels/softmax_shorts-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

inline constexpr float kRescaleBeyond = 8.0f;  // log2 units: P stays below 2^8, far from overflow in fp32 and exact in bf16's range

// 2^n for integral n <= 0; 0 where it would be subnormal, NaN for NaN.
ASSAY_INLINE float ScalarPow2(float n) {
  if (n != n) return n;
  if (n < -126.0f) return 0.0f;
  const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
  float result;
  __builtin_memcpy(&result, &bits, sizeof(result));
  return result;
}

// P V over a page with non-finite values: only the keys that a row sees are touched.
template <class Unit>
void UnsafeValues(const SoftmaxArgs& args, const Block& block, int page, int rows, const RowState& state, float* o) {
  const auto* v_block = reinterpret_cast<const uint32_t*>(block.head[page] + args.v_offset);
  for (int r = 0; r < rows; ++r) {
    for (int key = 0; key < block.valid[page]; ++key) {
      const int64_t at = r * kBlockKeys + page * kSoftmaxPageTokens + key;
      if (block.edge[page] && state.bias[at] == -kInfinity) continue;
      const V weight = Set(state.scores[at]);
      [[maybe_unused]] const Columns strips = {.step = 16, .strip = kValueStrip<Unit>};
      [[maybe_unused]] const uint32_t* row = v_block + key / Unit::kElements * strips.step;
      for (int64_t column = 0; column < args.padded_v; column += kLanes) {
        V value;
        if constexpr (Unit::kDecoded) {
          value = ExactValues<Unit>(args, block.head[page], key, column);
        } else if constexpr (Unit::kPairs) {
          const VP pairs = LoadPairs(row + ColumnOffset(strips, column));
          value = key % 2 == 0 ? LowOfPair(pairs) : HighOfPair(pairs);
        } else {
          value = Load(reinterpret_cast<const float*>(row) + ColumnOffset(strips, column));
        }
        float* target = o + r * args.padded_v + column;
        Store(target, Fma(weight, value, Load(target)));
      }
    }
  }
}

// Positions of a page's keys from `key` on, for epilogues that ask.
ASSAY_INLINE V KeyPositions(const SoftmaxSequence& sequence, int64_t key) {
  if (sequence.key_position == nullptr) return Add(Set(static_cast<float>(key)), Iota());
  float positions[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    positions[i] = key + i < sequence.key_tokens ? static_cast<float>(sequence.key_position[key + i]) : 0.0f;
  }
  return Load(positions);
}

// Turns the scores of one row and page into base-2 exponents (or, unnormalised, into weights) and returns their lane maximum.
template <class Epilogue, bool kEdge>
ASSAY_INLINE V TransformPage(const SoftmaxArgs& args, const SoftmaxSequence& sequence, ScoreContext at, int64_t key_begin, float* scores,
                             const float* bias) {
  V maximum = Set(-kInfinity);
  const V minus_infinity = Set(-kInfinity);
  const V scale = Set(Epilogue::kLinear && Epilogue::kNormalised ? args.scale * kLog2E : args.scale);
  ASSAY_UNROLL
  for (int column = 0; column < kSoftmaxPageTokens; column += kLanes) {
    V x = Mul(Load(scores + column), scale);
    V added = Zero();
    if constexpr (kEdge) added = Load(bias + column);
    if constexpr (!Epilogue::kLinear) at.key_position = KeyPositions(sequence, key_begin + column);
    if constexpr (Epilogue::kNormalised) {
      if constexpr (!Epilogue::kLinear) x = Mul(Epilogue::Score(x, at), Set(kLog2E));
      if constexpr (kEdge) x = Select(Equal(added, minus_infinity), minus_infinity, Fma(added, Set(kLog2E), x));
      maximum = Max(x, maximum);  // NaN is not a maximum; it reaches the sum by itself
    } else {
      if constexpr (kEdge) x = Add(x, added);
      x = Epilogue::Weight(x, at);
      if constexpr (kEdge) x = Select(Equal(added, minus_infinity), Zero(), x);
    }
    Store(scores + column, x);
  }
  return maximum;
}

// Raises a row's running maximum if a score lies far above it; what was accumulated is multiplied by an exact power of two.
ASSAY_INLINE void RaiseMaximum(float row_maximum, int64_t row, int64_t padded_v, const RowState& state) {
  float& maximum = state.maximum[row];
  if (!(row_maximum > maximum + kRescaleBeyond)) return;
  const float raised = __builtin_ceilf(row_maximum);
  if (maximum != -kInfinity) {
    const V factor = Set(ScalarPow2(maximum - raised));
    float* o = state.o + row * padded_v;
    for (int64_t column = 0; column < padded_v; column += kLanes) Store(o + column, Mul(Load(o + column), factor));
    float* sums = state.sums + row * 16;
    Store(sums, Mul(Load(sums), factor));
  }
  maximum = raised;
}

// Scores of a block become weights, row by row; kRounded: and are rounded to bf16, as native pairs need them.
template <class Epilogue, bool kRounded>
void WeighBlock(const SoftmaxArgs& args, const SoftmaxSequence& sequence, const SoftmaxItem& item, const Block& block, int64_t first_row,
                int rows, const RowState& state) {
  constexpr Precision kPrecision = kRounded ? Precision::kFast : Precision::kPrecise;
  for (int r = 0; r < rows; ++r) {
    float* scores = state.scores + r * kBlockKeys;
    ScoreContext at = {args.parameter, args.softcap, static_cast<float>(sequence.key_tokens), 0, 0, Zero()};
    if constexpr (!Epilogue::kLinear) {
      const int64_t folded = item.row_begin + first_row + r;
      at.query_head = static_cast<float>(item.kv_head * args.group + folded % args.group);
      at.query_position = static_cast<float>(QueryPosition(sequence, folded / args.group));
    }
    V maximum = Set(-kInfinity);
    for (int page = 0; page < block.count; ++page) {
      float* page_scores = scores + page * kSoftmaxPageTokens;
      const float* bias = state.bias + r * kBlockKeys + page * kSoftmaxPageTokens;
      const V seen = block.edge[page]
                         ? TransformPage<Epilogue, true>(args, sequence, at, block.key_begin[page], page_scores, bias)
                         : TransformPage<Epilogue, false>(args, sequence, at, block.key_begin[page], page_scores, bias);
      maximum = Max(seen, maximum);
    }
    [[maybe_unused]] auto* rounded = reinterpret_cast<uint16_t*>(state.pairs) + r * kBlockKeys;
    const int64_t keys = block.count * kSoftmaxPageTokens;
    if constexpr (Epilogue::kNormalised) {
      const int64_t row = first_row + r;
      RaiseMaximum(ReduceMax(maximum), row, args.padded_v, state);
      // A row that has seen nothing yet keeps exponents of -inf, and these give 0 whatever is subtracted.
      const V base = Set(state.maximum[row] == -kInfinity ? 0.0f : state.maximum[row]);
      V sum = Load(state.sums + row * 16);
      for (int64_t key = 0; key < keys; key += kLanes) {
        const V weight = Exp2<kPrecision>(Sub(Load(scores + key), base));
        sum = Add(sum, weight);
        Store(scores + key, weight);
        if constexpr (kRounded) StoreBf16(rounded + key, weight);
      }
      Store(state.sums + row * 16, sum);
    } else if constexpr (kRounded) {
      for (int64_t key = 0; key < keys; key += kLanes) StoreBf16(rounded + key, Load(scores + key));
    }
  }
}

template <bool kRounded>
void Weigh(const SoftmaxArgs& args, const SoftmaxSequence& sequence, const SoftmaxItem& item, const Block& block, int64_t first_row,
           int rows, const RowState& state) {
  switch (args.epilogue) {
#define ASSAY_WEIGH(name, ...) \
  case epilogue::k##name: return WeighBlock<name, kRounded>(args, sequence, item, block, first_row, rows, state);
    ASSAY_EPILOGUES(ASSAY_WEIGH)
#undef ASSAY_WEIGH
    default: return;
  }
}

// One tile of rows against one block of pages.
template <class Unit, bool kShorts>
void RunTile(const SoftmaxArgs& args, const SoftmaxSequence& sequence, const SoftmaxItem& item, const Block& block, int64_t first_row,
             int rows, const RowState& state) {
  const int64_t steps = (args.head_dim + Unit::kElements - 1) / Unit::kElements;
  constexpr int64_t kQPerChannel = Unit::kPairs && kNativePairs ? 1 : Unit::kElements;
  const float* q = state.q + first_row * steps * kQPerChannel;
  for (int page = 0; page < block.count; ++page) {
    float* scores = state.scores + page * kSoftmaxPageTokens;
    if constexpr (kShorts) {
      ScoreShorts<Unit>(args, block, page, first_row, rows, state, scores);
      continue;
    } else if constexpr (Unit::kDecoded) {
      ScoreDecoded<Unit>(args, block, page, rows, q, state, scores);
      continue;
    }
#define ASSAY_SCORE(n) ScorePage<Unit, n>(q, block.head[page], steps, block.keys_ahead[page], scores)
    ASSAY_DISPATCH_ROWS(rows, ASSAY_SCORE)
#undef ASSAY_SCORE
  }
  Weigh<Unit::kPairs && kNativePairs>(args, sequence, item, block, first_row, rows, state);
  [[maybe_unused]] const void* weights = Unit::kPairs && kNativePairs ? static_cast<const void*>(state.pairs) : state.scores;
  float* o = state.o + first_row * args.padded_v;
  if constexpr (kShorts) {
    ShortValues<Unit>(args, block, rows, state, o);
  } else if constexpr (Unit::kDecoded) {
    DecodedValues<Unit>(args, block, rows, state, o);
  } else {
#define ASSAY_VALUES(n) ValueColumns<Unit, n, kStripVectors<Unit, n>>(args, block, weights, o, 0, args.padded_v)
    ASSAY_DISPATCH_ROWS(rows, ASSAY_VALUES)
#undef ASSAY_VALUES
  }
  for (int page = 0; page < block.count; ++page) {
    if (block.unsafe[page]) UnsafeValues<Unit>(args, block, page, rows, state, o);
  }
}

// Packs the item's queries so that a tile's broadcasts come from one running pointer.
template <class Unit>
void PackQueries(const SoftmaxArgs& args, const SoftmaxSequence& sequence, const SoftmaxItem& item, const RowState& state) {
  const int64_t padded = RoundUp(args.head_dim, Unit::kElements);
  const bool unit_rows = kEpilogueTraits[args.epilogue].unit_rows;
  for (int row = 0; row < item.row_count; ++row) {
    const int64_t folded = item.row_begin + row;
    const int64_t offset = folded / args.group * sequence.q.token_stride +
                           (item.kv_head * args.group + folded % args.group) * sequence.q.head_stride;
    float inverse_norm = 1.0f;
    if (unit_rows) {
      double squares = 0;
      for (int64_t c = 0; c < args.head_dim; ++c) {
        const double x = LoadAny(args, sequence.q.data, sequence.q.dtype, offset + c * sequence.q.channel_stride);
        squares += x * x;
      }
      inverse_norm = squares > 0 ? static_cast<float>(1.0 / __builtin_sqrt(squares)) : 0.0f;
    }
    const int64_t tile = row / kSoftmaxTileRows;
    const int64_t lane = row % kSoftmaxTileRows;
    // A piece at a time: whole vectors are loaded and converted, single floats only are scattered.
    constexpr int64_t kPiece = 64;
    float piece[kPiece];
    for (int64_t begin = 0; begin < padded; begin += kPiece) {
      const int64_t end = padded - begin < kPiece ? padded - begin : kPiece;
      const int64_t count = args.head_dim - begin < end ? args.head_dim - begin : end;
      LoadRow(args, sequence.q.data, sequence.q.dtype, offset + begin * sequence.q.channel_stride, sequence.q.channel_stride, count, piece);
      for (int64_t c = 0; unit_rows && c < count; ++c) piece[c] *= inverse_norm;
      for (int64_t c = count; c < end; ++c) piece[c] = 0;
      if constexpr (Unit::kPairs && kNativePairs) {
        auto* pairs = reinterpret_cast<uint16_t*>(state.q) + tile * kSoftmaxTileRows * padded;
        for (int64_t c = 0; c < end; ++c) pairs[((begin + c) / 2 * kSoftmaxTileRows + lane) * 2 + c % 2] = ScalarBf16(piece[c]);
      } else {
        float* q = state.q + tile * kSoftmaxTileRows * padded + begin * kSoftmaxTileRows + lane;
        for (int64_t c = 0; c < end; ++c) q[c * kSoftmaxTileRows] = piece[c];
      }
    }
  }
}

// Adds (maximum, sum, O) of one part of a row's keys to what was merged before. Factors are exact powers of two.
ASSAY_INLINE void MergeRow(bool normalised, float maximum, float sum, const float* o, float& total_maximum, float& total_sum,
                           float* total_o, int64_t padded_v) {
  if (!normalised) {
    for (int64_t c = 0; c < padded_v; c += kLanes) Store(total_o + c, Add(Load(total_o + c), Load(o + c)));
    return;
  }
  if (maximum == -kInfinity && sum == 0.0f) return;  // saw no key; a NaN sum has seen one
  if (total_maximum == -kInfinity && total_sum == 0.0f) {  // the first part is taken as it is
    total_maximum = maximum;
    total_sum = sum;
    for (int64_t c = 0; c < padded_v; c += kLanes) Store(total_o + c, Load(o + c));
    return;
  }
  const float raised = maximum > total_maximum ? maximum : total_maximum;
  const float total_factor = ScalarPow2(total_maximum - raised);
  const float factor = raised == maximum ? 1.0f : ScalarPow2(maximum - raised);
  total_maximum = raised;
  total_sum = total_sum * total_factor + sum * factor;
  for (int64_t c = 0; c < padded_v; c += kLanes) {
    Store(total_o + c, Fma(Load(o + c), Set(factor), Mul(Load(total_o + c), Set(total_factor))));
  }
}

// Puts sink and extra logit into the denominator, once; writes O and LSE.
ASSAY_INLINE void FinishRow(const SoftmaxArgs& args, const SoftmaxSequence& sequence, int64_t token, int64_t head, float maximum, float sum,
                            float* o) {
  const EpilogueTraits traits = kEpilogueTraits[args.epilogue];
  float inverse = 1.0f;
  if (traits.normalised) {
    float none[16] = {};
    const auto add_logit = [&](float logit) {
      if (logit == -kInfinity) return;
      const float exponent = logit * kLog2E;
      const float part_maximum = __builtin_ceilf(exponent);
      MergeRow(true, part_maximum, __builtin_exp2f(exponent - part_maximum), none, maximum, sum, none, 0);
      // MergeRow scaled the sum only: give O the same factor by way of the maximum it was summed under.
    };
    const float before = maximum;
    const bool empty = maximum == -kInfinity && sum == 0.0f;
    if (args.sink.data != nullptr) add_logit(LoadAny(args, args.sink.data, args.sink.dtype, head * args.sink.head_stride));
    add_logit(traits.extra_logit);
    const float factor = empty || maximum == before ? 1.0f : ScalarPow2(before - maximum);
    inverse = sum == 0.0f || empty ? 0.0f : factor / sum;
    if (sequence.lse.data != nullptr) {
      const double lse = sum == 0.0f ? -static_cast<double>(kInfinity)
                                     : static_cast<double>(maximum) * 0.693147180559945309417 + __builtin_log(static_cast<double>(sum));
      StoreAny(args, sequence.lse.data, sequence.lse.dtype, token * sequence.lse.token_stride + head * sequence.lse.head_stride, lse);
    }
  }
  const int64_t offset = token * sequence.o.token_stride + head * sequence.o.head_stride;
  const V factor = Set(inverse);
  for (int64_t c = 0; c < args.padded_v; c += kLanes) Store(o + c, Mul(Load(o + c), factor));
  StoreRow(args, sequence.o.data, sequence.o.dtype, offset, sequence.o.channel_stride, args.v_head_dim, o);
}

// Classifies the pages of one block for one tile, and fills the bias rows of edges.
ASSAY_INLINE Block GatherBlock(const SoftmaxArgs& args, const SoftmaxSequence& sequence, const SoftmaxItem& item, int64_t page_begin,
                               int64_t page_end, int64_t first_row, int rows, const RowState& state) {
  Block block;
  const int64_t folded = item.row_begin + first_row;
  const TilePositions tile = PositionsOf(args, sequence, folded, rows);
  for (int64_t i = page_begin; i < page_end; ++i) {
    const int64_t page = PageAt(args, sequence, item, i);
    PageClass kind = ClassifyPage(args, sequence, tile, page);
    if (kind == PageClass::kSkip) continue;
    const int slot = block.count;
    float* bias = state.bias + slot * kSoftmaxPageTokens;
    if (kind == PageClass::kEdge) kind = FillBias(args, sequence, item.kv_head, folded, rows, page, bias, kBlockKeys);
    if (kind == PageClass::kSkip) continue;
    block.head[slot] = sequence.pages[page] + item.kv_head * args.head_bytes;
    block.key_begin[slot] = page * kSoftmaxPageTokens;
    block.valid[slot] = ValidKeys(sequence, page);
    block.edge[slot] = kind == PageClass::kEdge;
    uint32_t note;
    __builtin_memcpy(&note, block.head[slot] + args.note_offset, sizeof(note));
    block.unsafe[slot] = (note & kNoteValues) != 0;
    block.nan_keys[slot] = (note & kNoteKeys) != 0;
    ++block.count;
  }
  return block;
}

template <class Unit, bool kShorts>
void RunSegment(const SoftmaxArgs& args, const SoftmaxSequence& sequence, const SoftmaxItem& item, int64_t segment, const RowState& state) {
  const int64_t rows = item.row_count;
  for (int64_t row = 0; row < rows; ++row) state.maximum[row] = -kInfinity;
  __builtin_memset(state.sums, 0, static_cast<size_t>(rows * 16) * sizeof(float));
  __builtin_memset(state.o, 0, static_cast<size_t>(rows * args.padded_v) * sizeof(float));
  const int64_t all = PageCount(args, sequence, item);
  const int64_t begin = segment * kSoftmaxSegmentPages;
  const int64_t end = begin + kSoftmaxSegmentPages < all ? begin + kSoftmaxSegmentPages : all;
  for (int64_t page = begin; page < end; page += kSoftmaxBlockPages) {
    const int64_t block_end = page + kSoftmaxBlockPages < end ? page + kSoftmaxBlockPages : end;
    for (int64_t first = 0; first < rows; first += kSoftmaxTileRows) {
      const int tile_rows = static_cast<int>(rows - first < kSoftmaxTileRows ? rows - first : kSoftmaxTileRows);
      Block block = GatherBlock(args, sequence, item, page, block_end, first, tile_rows, state);
      if (rows <= kSoftmaxTileRows) {
        if (block_end < end) block.next = sequence.pages[PageAt(args, sequence, item, block_end)] + item.kv_head * args.head_bytes;
        block.PlanAhead(args.v_offset);
      }
      if (block.count > 0) RunTile<Unit, kShorts>(args, sequence, item, block, first, tile_rows, state);
    }
  }
}

ASSAY_INLINE void ResetTotals(const SoftmaxArgs& args, int64_t rows, const RowState& state) {
  for (int64_t row = 0; row < rows; ++row) {
    state.total_maximum[row] = -kInfinity;
    state.total_sum[row] = 0;
  }
  __builtin_memset(state.total_o, 0, static_cast<size_t>(rows * args.padded_v) * sizeof(float));
}

ASSAY_INLINE void FinishRows(const SoftmaxArgs& args, const SoftmaxItem& item, const RowState& state) {
  const SoftmaxSequence& sequence = args.sequences[item.sequence];
  for (int64_t row = 0; row < item.row_count; ++row) {
    const int64_t folded = item.row_begin + row;
    FinishRow(args, sequence, folded / args.group, item.kv_head * args.group + folded % args.group, state.total_maximum[row],
              state.total_sum[row], state.total_o + row * args.padded_v);
  }
}

// kShorts: products of integers (softmax_shorts-inl.h).
template <class Unit, bool kShorts = false>
void RunItem(const SoftmaxArgs& args, const SoftmaxItem& item, RowState state) {
  const SoftmaxSequence& sequence = args.sequences[item.sequence];
  const bool normalised = kEpilogueTraits[args.epilogue].normalised;
  PackQueries<Unit>(args, sequence, item, state);
  if constexpr (kShorts) RoundItemQueries<Unit>(args, item, state);
  ResetTotals(args, item.row_count, state);
  for (int64_t segment = item.segment_begin; segment < item.segment_end; ++segment) {
    RunSegment<Unit, kShorts>(args, sequence, item, segment, state);
    if (normalised && segment == item.segment_begin) {  // what MergeRow would copy
      float* const first = state.o;
      state.o = state.total_o;
      state.total_o = first;
      for (int64_t row = 0; row < item.row_count; ++row) {
        state.total_maximum[row] = state.maximum[row];
        state.total_sum[row] = ReduceAdd(Load(state.sums + row * 16));
      }
      continue;
    }
    for (int64_t row = 0; row < item.row_count; ++row) {
      MergeRow(normalised, state.maximum[row], ReduceAdd(Load(state.sums + row * 16)), state.o + row * args.padded_v,
               state.total_maximum[row], state.total_sum[row], state.total_o + row * args.padded_v, args.padded_v);
    }
  }
  if (item.partial == nullptr) return FinishRows(args, item, state);
  for (int64_t row = 0; row < item.row_count; ++row) {
    float* partial = item.partial + row * (kPartialHeader + args.padded_v);
    partial[0] = state.total_maximum[row];
    partial[1] = state.total_sum[row];
    __builtin_memcpy(partial + kPartialHeader, state.total_o + row * args.padded_v, static_cast<size_t>(args.padded_v) * sizeof(float));
  }
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
