// The recurrence of the gated-delta family, stepwise and chunked (Yang, Kautz, Hatamizadeh, arXiv 2412.06464; the chunked form with its
// triangular solve: Yang et al., arXiv 2406.06484, section 3):
//     S <- Diag(e^g) S      u = beta (v - S^T k)      S <- S + k u^T      o = scale S^T q
// The decay comes before the error. Without the delta rule u = beta v: linear attention, RetNet, GLA, Mamba-2.
//
// Chunks of 64 tokens, with G_i the sum of g up to token i in the chunk and R_ij = e^(G_i - G_j) for j <= i:
//     u_i = beta_i (v_i - e^(G_i) S^T k_i) - sum_(j<i) beta_i R_ij (k_i.k_j) u_j
//     o_i = scale (e^(G_i) S^T q_i + sum_(j<=i) R_ij (q_i.k_j) u_j)
//     S  <- e^(G_n) S + sum_j R_nj k_j u_j^T
// Every factor is one exponential of a sum of decays that is formed directly, never a quotient of two: e^(-G_j) alone overflows for
// decays that real models have. Nothing after token i enters row i, not even times 0, so a NaN cannot travel backwards.
#pragma once

#include "kernels/access-inl.h"
#include "kernels/recurrence_args.h"
#include "kernels/tile-inl.h"

namespace assay::ASSAY_SIMD_NAMESPACE {

// e^-104 is below the smallest float, so a stronger decay is the same complete reset; and -inf - -inf never occurs.
inline constexpr float kStrongestDecay = -104.0f;
inline constexpr int64_t kTileRows = kSoftmaxTileRows;
inline constexpr int64_t kChunkTiles = (kRecurrenceChunk + kTileRows - 1) / kTileRows;
inline constexpr int64_t kChunkRows = kChunkTiles * kTileRows;

ASSAY_INLINE int64_t PadColumns(int64_t n) { return (n + 15) / 16 * 16; }

ASSAY_INLINE int64_t HeadOffset(const RowAccess& rows, int64_t token, int64_t head) {
  return token * rows.token_stride + head * rows.head_stride;
}

// The log decays of one token, clamped; one value, or one a channel.
ASSAY_INLINE void LoadDecay(const RecurrenceArgs& args, const RecurrenceSequence& sequence, int64_t token, int64_t head, float* out) {
  const RowAccess& rows = sequence.log_decay;
  const int64_t count = args.per_channel ? args.head_dim : 1;
  if (rows.data == nullptr) {
    for (int64_t c = 0; c < count; ++c) out[c] = 0;
    return;
  }
  LoadRow(args, rows.data, rows.dtype, HeadOffset(rows, token, head), rows.channel_stride, count, out);
  for (int64_t c = 0; c < count; ++c) out[c] = out[c] < kStrongestDecay ? kStrongestDecay : out[c];
}

ASSAY_INLINE float LoadBeta(const RecurrenceArgs& args, const RecurrenceSequence& sequence, int64_t token, int64_t head) {
  const RowAccess& rows = sequence.beta;
  return rows.data == nullptr ? 1.0f : LoadAny(args, rows.data, rows.dtype, HeadOffset(rows, token, head));
}

ASSAY_INLINE void ExpInPlace(float* values, int64_t count) {
  int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) Store(values + c, Exp(Load(values + c)));
  if (c < count) StorePartial(values + c, Exp(LoadPartial(values + c, static_cast<int>(count - c))), static_cast<int>(count - c));
}

// Columns [begin, begin + count) of a state, row by row, padded with zeros to `stride`.
ASSAY_INLINE void LoadState(const RecurrenceArgs& args, const StateAccess& state, int64_t head, int64_t begin, int64_t count, float* out,
                            int64_t stride) {
  for (int64_t row = 0; row < args.head_dim; ++row, out += stride) {
    for (int64_t c = 0; c < stride; ++c) out[c] = 0;
    if (state.data == nullptr) continue;
    const int64_t offset = head * state.head_stride + row * state.row_stride + begin * state.column_stride;
    LoadRow(args, state.data, state.dtype, offset, state.column_stride, count, out);
  }
}
ASSAY_INLINE void StoreState(const RecurrenceArgs& args, const StateAccess& state, int64_t head, int64_t begin, int64_t count,
                             const float* rows, int64_t stride) {
  if (state.data == nullptr) return;
  for (int64_t row = 0; row < args.head_dim; ++row, rows += stride) {
    const int64_t offset = head * state.head_stride + row * state.row_stride + begin * state.column_stride;
    StoreRow(args, state.data, state.dtype, offset, state.column_stride, count, rows);
  }
}

// ---- stepwise -----------------------------------------------------------------------------------------------------------------

// One token on kVectors vectors of columns: read the state at `from`, leave it at `to` (which may be the same memory).
// `k`, `k_decayed` = e^g k, `decay` = e^g and `q` = scale q have one value a row.
template <int kVectors>
ASSAY_INLINE void StepColumns(const RecurrenceArgs& args, const float* k, const float* k_decayed, const float* decay, const float* q,
                              float beta, const float* from, int64_t from_stride, float* to, int64_t to_stride, const float* value,
                              float* out) {
  V answer[kVectors], output[kVectors];
  ASSAY_UNROLL
  for (int v = 0; v < kVectors; ++v) answer[v] = output[v] = Zero();
  if (args.delta) {
    for (int64_t row = 0; row < args.head_dim; ++row) {
      const V weight = Set(k_decayed[row]);
      ASSAY_UNROLL
      for (int v = 0; v < kVectors; ++v) answer[v] = Fma(weight, Load(from + row * from_stride + v * kLanes), answer[v]);
    }
  }
  ASSAY_UNROLL
  for (int v = 0; v < kVectors; ++v) answer[v] = Mul(Set(beta), Sub(Load(value + v * kLanes), answer[v]));
  for (int64_t row = 0; row < args.head_dim; ++row) {
    const V a = Set(decay[row]);
    const V key = Set(k[row]);
    const V query = Set(q[row]);
    ASSAY_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const V state = Fma(key, answer[v], Mul(a, Load(from + row * from_stride + v * kLanes)));
      Store(to + row * to_stride + v * kLanes, state);
      output[v] = Fma(query, state, output[v]);
    }
  }
  ASSAY_UNROLL
  for (int v = 0; v < kVectors; ++v) Store(out + v * kLanes, output[v]);
}

// All tokens of a sequence on one strip of columns; strips are independent, because S^T k and S^T q are taken column by column.
void RunRecurrenceSteps(const RecurrenceArgs& args, const RecurrenceItem& item, float* scratch) noexcept {
  const RecurrenceSequence& sequence = args.sequences[item.sequence];
  const int64_t head = item.head;
  const int64_t columns = args.v_head_dim - item.column_begin < kRecurrenceStripColumns ? args.v_head_dim - item.column_begin
                                                                                          : kRecurrenceStripColumns;
  constexpr int kVectors = 4;
  constexpr int64_t kStep = kVectors * kLanes;
  const int64_t padded_dim = PadColumns(args.head_dim);
  float* state = scratch;
  float* k = state + args.head_dim * kRecurrenceStripColumns;
  float* k_decayed = k + padded_dim;
  float* decay = k_decayed + padded_dim;
  float* q = decay + padded_dim;
  float* value = q + padded_dim;
  float* out = value + kRecurrenceStripColumns;
  for (int64_t c = 0; c < kRecurrenceStripColumns; ++c) value[c] = 0;

  // The first token may read the caller's state in place, and the last may write it: a decode step then moves it once each way.
  const bool whole = columns == kRecurrenceStripColumns && sequence.tokens > 0;
  const auto in_place = [&](const StateAccess& access) {
    return whole && access.data != nullptr && access.dtype == kDTypeF32 && access.column_stride == 1;
  };
  const auto place = [&](const StateAccess& access) {
    return static_cast<float*>(access.data) + head * access.head_stride + item.column_begin;
  };
  const bool reads_in_place = in_place(sequence.state_in);
  const bool writes_in_place = in_place(sequence.state_out);
  if (!reads_in_place) LoadState(args, sequence.state_in, head, item.column_begin, columns, state, kRecurrenceStripColumns);

  const int64_t key_head = head * args.key_heads / args.heads;
  const int64_t query_head = head * args.query_heads / args.heads;
  for (int64_t token = 0; token < sequence.tokens; ++token) {
    LoadRow(args, sequence.k.data, sequence.k.dtype, HeadOffset(sequence.k, token, key_head), sequence.k.channel_stride, args.head_dim, k);
    LoadRow(args, sequence.q.data, sequence.q.dtype, HeadOffset(sequence.q, token, query_head), sequence.q.channel_stride, args.head_dim, q);
    LoadRow(args, sequence.v.data, sequence.v.dtype, HeadOffset(sequence.v, token, head) + item.column_begin * sequence.v.channel_stride,
            sequence.v.channel_stride, columns, value);
    LoadDecay(args, sequence, token, head, decay);
    ExpInPlace(decay, args.per_channel ? args.head_dim : 1);
    for (int64_t row = 0; row < args.head_dim; ++row) {
      if (!args.per_channel) decay[row] = decay[0];
      k_decayed[row] = k[row] * decay[row];
      q[row] *= args.scale;
    }
    const bool first = token == 0 && reads_in_place;
    const bool last = token + 1 == sequence.tokens && writes_in_place;
    const float beta = LoadBeta(args, sequence, token, head);
    for (int64_t c = 0; c < columns; c += kStep) {
      StepColumns<kVectors>(args, k, k_decayed, decay, q, beta, first ? place(sequence.state_in) + c : state + c,
                            first ? sequence.state_in.row_stride : kRecurrenceStripColumns, last ? place(sequence.state_out) + c : state + c,
                            last ? sequence.state_out.row_stride : kRecurrenceStripColumns, value + c, out + c);
    }
    StoreRow(args, sequence.o.data, sequence.o.dtype, HeadOffset(sequence.o, token, head) + item.column_begin * sequence.o.channel_stride,
             sequence.o.channel_stride, columns, out);
  }
  if (!writes_in_place) StoreState(args, sequence.state_out, head, item.column_begin, columns, state, kRecurrenceStripColumns);
}

// ---- chunked ------------------------------------------------------------------------------------------------------------------

// Working memory of one chunk. Packs hold rows in tiles of six, [tile][channel][6], as the tile's A operand.
struct ChunkState {
  float* state;       // [D][padded_v]
  float* keys;        // [channel][64]
  float* scaled_keys;  // [channel][64]
  float* key_pack;
  float* query_pack;
  float* coupling;   // [rows][64]: -beta_i R_ij (k_i.k_j), strictly lower
  float* readout;    // [rows][64]: scale R_ij (q_i.k_j), lower
  float* updates;    // [rows][padded_v]: u
  float* outputs;    // [rows][padded_v]
  float* row;        // [max(D, 64)] temporaries
  float* decay;      // [64] or [64][padded D]: g of each token
  float* rest;       // [padded D], sums of g
  float* beta;       // [64]
  float* row_decay;  // [64]: e^(G_i), or 1 where the packs carry it
  float* end_decay;  // [padded D]: e^(G_n)
  int64_t padded_v;
  int64_t padded_dim;
};

ASSAY_INLINE ChunkState LayOutChunk(const RecurrenceArgs& args, float* scratch) {
  ChunkState s;
  const auto take = [&scratch](int64_t floats) {
    float* taken = scratch;
    scratch += (floats + 15) / 16 * 16;
    return taken;
  };
  s.padded_v = PadColumns(args.v_head_dim);
  s.padded_dim = PadColumns(args.head_dim);
  s.state = take((s.padded_dim + kTileRows) * s.padded_v);
  s.keys = take((s.padded_dim + kTileRows) * kRecurrenceChunk);
  s.scaled_keys = take((s.padded_dim + kTileRows) * kRecurrenceChunk);
  s.key_pack = take(kChunkRows * s.padded_dim);
  s.query_pack = take(kChunkRows * s.padded_dim);
  s.coupling = take(kChunkRows * kRecurrenceChunk);
  s.readout = take(kChunkRows * kRecurrenceChunk);
  s.updates = take(kChunkRows * s.padded_v);
  s.outputs = take(kChunkRows * s.padded_v);
  s.row = take(s.padded_dim + kRecurrenceChunk);
  s.decay = take(kRecurrenceChunk * s.padded_dim);
  s.rest = take(s.padded_dim);
  s.beta = take(kRecurrenceChunk);
  s.row_decay = take(kRecurrenceChunk + 16);
  s.end_decay = take(s.padded_dim);
  return s;
}

ASSAY_INLINE void PutInPack(float* pack, int64_t padded_dim, int64_t token, const float* row, int64_t count) {
  float* to = pack + token / kTileRows * kTileRows * padded_dim + token % kTileRows;
  for (int64_t c = 0; c < count; ++c) to[c * kTileRows] = row[c];
}

ASSAY_INLINE void Fill(float* to, int64_t count, float value) {
  for (int64_t i = 0; i < count; ++i) to[i] = value;
}

// Loads k, q, g and beta of `tokens` tokens; unused rows are zero.
ASSAY_INLINE void LoadChunk(const RecurrenceArgs& args, const RecurrenceSequence& sequence, int64_t head, int64_t first, int64_t tokens,
                            const ChunkState& s) {
  const int64_t key_head = head * args.key_heads / args.heads;
  const int64_t query_head = head * args.query_heads / args.heads;
  if (tokens < kRecurrenceChunk) {
    Fill(s.keys, args.head_dim * kRecurrenceChunk, 0);
    Fill(s.key_pack, kChunkRows * s.padded_dim, 0);
    Fill(s.query_pack, kChunkRows * s.padded_dim, 0);
  }
  const int64_t decays = args.per_channel ? s.padded_dim : 1;
  for (int64_t t = 0; t < tokens; ++t) {
    LoadRow(args, sequence.k.data, sequence.k.dtype, HeadOffset(sequence.k, first + t, key_head), sequence.k.channel_stride, args.head_dim,
            s.row);
    PutInPack(s.key_pack, s.padded_dim, t, s.row, args.head_dim);
    for (int64_t c = 0; c < args.head_dim; ++c) s.keys[c * kRecurrenceChunk + t] = s.row[c];
    LoadRow(args, sequence.q.data, sequence.q.dtype, HeadOffset(sequence.q, first + t, query_head), sequence.q.channel_stride,
            args.head_dim, s.row);
    for (int64_t c = 0; c < args.head_dim; ++c) s.row[c] *= args.scale;
    PutInPack(s.query_pack, s.padded_dim, t, s.row, args.head_dim);
    LoadDecay(args, sequence, first + t, head, s.decay + t * decays);
    s.beta[t] = LoadBeta(args, sequence, first + t, head);
  }
}

// Products of a tile of rows with all keys before its end.
ASSAY_INLINE void KeyProducts(const ChunkState& s, const float* pack, const float* keys, int64_t head_dim, int64_t tile, int rows,
                              float* out) {
  const float* a = pack + tile * kTileRows * s.padded_dim;
  const int64_t needed = tile * kTileRows + rows;
  const int64_t columns = (needed + kLanes - 1) / kLanes * kLanes;
  float* target = out + tile * kTileRows * kRecurrenceChunk;
  Fill(target, rows * kRecurrenceChunk, 0);
  const auto* b = reinterpret_cast<const uint32_t*>(keys);
#define ASSAY_PRODUCT(n) \
  MultiplyColumns<F32Unit, n, 1, kTileRows>(a, b, kRecurrenceChunk, head_dim, target, kRecurrenceChunk, columns)
  ASSAY_DISPATCH_ROWS(rows, ASSAY_PRODUCT)
#undef ASSAY_PRODUCT
}

// Decay per head: products first, then one factor an entry. Sums of decays in double: their differences must keep what a long strong
// decay before them would round away.
ASSAY_INLINE void CoupleByHead(const RecurrenceArgs& args, int64_t tokens, const ChunkState& s) {
  double sum[kRecurrenceChunk];
  double running = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    running += static_cast<double>(s.decay[t]);
    sum[t] = running;
    s.row_decay[t] = static_cast<float>(running);
  }
  ExpInPlace(s.row_decay, tokens);
  for (int64_t tile = 0; tile * kTileRows < tokens; ++tile) {
    const int rows = static_cast<int>(tokens - tile * kTileRows < kTileRows ? tokens - tile * kTileRows : kTileRows);
    if (args.delta) KeyProducts(s, s.key_pack, s.keys, args.head_dim, tile, rows, s.coupling);
    KeyProducts(s, s.query_pack, s.keys, args.head_dim, tile, rows, s.readout);
    for (int64_t i = tile * kTileRows; i < tile * kTileRows + rows; ++i) {
      for (int64_t j = 0; j <= i; ++j) s.row[j] = static_cast<float>(sum[i] - sum[j]);
      ExpInPlace(s.row, i + 1);
      for (int64_t j = 0; j <= i; ++j) {
        s.readout[i * kRecurrenceChunk + j] *= s.row[j];
        if (args.delta) s.coupling[i * kRecurrenceChunk + j] *= -s.beta[i] * s.row[j];
      }
    }
  }
  for (int64_t t = 0; t < tokens; ++t) s.row[t] = static_cast<float>(sum[tokens - 1] - sum[t]);
  ExpInPlace(s.row, tokens);
  for (int64_t c = 0; c < args.head_dim; ++c) {
    for (int64_t t = 0; t < tokens; ++t) s.scaled_keys[c * kRecurrenceChunk + t] = s.keys[c * kRecurrenceChunk + t] * s.row[t];
    for (int64_t t = tokens; t < kRecurrenceChunk; ++t) s.scaled_keys[c * kRecurrenceChunk + t] = 0;
  }
  Fill(s.end_decay, args.head_dim, s.row_decay[tokens - 1]);
}

// Entries of row i against keys [begin, i], decay per channel: the exponent of each channel is summed from i downwards.
ASSAY_INLINE void DirectRow(const RecurrenceArgs& args, int64_t i, int64_t begin, const ChunkState& s) {
  const float* k_row = s.key_pack + i / kTileRows * kTileRows * s.padded_dim + i % kTileRows;
  const float* q_row = s.query_pack + i / kTileRows * kTileRows * s.padded_dim + i % kTileRows;
  Fill(s.rest, s.padded_dim, 0);
  for (int64_t j = i; j >= begin; --j) {
    if (j < i) {
      for (int64_t c = 0; c < args.head_dim; ++c) s.rest[c] += s.decay[(j + 1) * s.padded_dim + c];
    }
    for (int64_t c = 0; c < args.head_dim; ++c) s.row[c] = s.rest[c];
    ExpInPlace(s.row, args.head_dim);
    float coupling = 0;
    float readout = 0;
    for (int64_t c = 0; c < args.head_dim; ++c) {
      const float key = s.keys[c * kRecurrenceChunk + j] * s.row[c];
      coupling += k_row[c * kTileRows] * key;
      readout += q_row[c * kTileRows] * key;
    }
    s.coupling[i * kRecurrenceChunk + j] = -s.beta[i] * coupling;
    s.readout[i * kRecurrenceChunk + j] = readout;
  }
}

// Multiplies row t of a pack, channel by channel, by e^rest.
ASSAY_INLINE void ScalePackRow(const ChunkState& s, float* pack, int64_t t, const float* factor, int64_t count) {
  float* to = pack + t / kTileRows * kTileRows * s.padded_dim + t % kTileRows;
  for (int64_t c = 0; c < count; ++c) to[c * kTileRows] *= factor[c];
}

// Decay per channel: the factor sits inside the sum over channels. Tiles of rows meet the keys before them through the point where the
// tile begins: e^(G_i - G_ref) and e^(G_ref - G_j) are both at most 1, so nothing overflows, and what underflows is below e^-87 of its
// neighbours. Inside a tile every pair has its own exponential.
ASSAY_INLINE void CoupleByChannel(const RecurrenceArgs& args, int64_t tokens, const ChunkState& s) {
  const int64_t dim = args.head_dim;
  for (int64_t tile = 0; tile * kTileRows < tokens; ++tile) {
    const int64_t first = tile * kTileRows;
    const int rows = static_cast<int>(tokens - first < kTileRows ? tokens - first : kTileRows);
    Fill(s.coupling + first * kRecurrenceChunk, rows * kRecurrenceChunk, 0);
    Fill(s.readout + first * kRecurrenceChunk, rows * kRecurrenceChunk, 0);
    for (int64_t i = first; i < first + rows; ++i) DirectRow(args, i, first, s);
    if (first == 0) continue;
    // e^(G_ref - G_j) k_j, ref the last token before the tile.
    Fill(s.rest, s.padded_dim, 0);
    for (int64_t j = first - 1; j >= 0; --j) {
      for (int64_t c = 0; c < dim; ++c) s.row[c] = s.rest[c];
      ExpInPlace(s.row, dim);
      for (int64_t c = 0; c < dim; ++c) s.scaled_keys[c * kRecurrenceChunk + j] = s.keys[c * kRecurrenceChunk + j] * s.row[c];
      for (int64_t c = 0; c < dim; ++c) s.rest[c] += s.decay[j * s.padded_dim + c];
    }
    for (int64_t i = first; i < first + rows; ++i) {
      for (int64_t c = 0; c < dim; ++c) s.rest[c] = (i == first ? 0.0f : s.rest[c]) + s.decay[i * s.padded_dim + c];
      for (int64_t c = 0; c < dim; ++c) s.row[c] = s.rest[c];
      ExpInPlace(s.row, dim);
      const float* k_row = s.key_pack + tile * kTileRows * s.padded_dim + i % kTileRows;
      const float* q_row = s.query_pack + tile * kTileRows * s.padded_dim + i % kTileRows;
      for (int64_t j = 0; j < first; ++j) {
        s.coupling[i * kRecurrenceChunk + j] = 0;
        s.readout[i * kRecurrenceChunk + j] = 0;
      }
      for (int64_t c = 0; c < dim; ++c) {
        const V k_factor = Set(-s.beta[i] * k_row[c * kTileRows] * s.row[c]);
        const V q_factor = Set(q_row[c * kTileRows] * s.row[c]);
        const float* keys = s.scaled_keys + c * kRecurrenceChunk;
        int64_t j = 0;
        for (; j + kLanes <= first; j += kLanes) {
          float* coupling = s.coupling + i * kRecurrenceChunk + j;
          float* readout = s.readout + i * kRecurrenceChunk + j;
          Store(coupling, Fma(k_factor, Load(keys + j), Load(coupling)));
          Store(readout, Fma(q_factor, Load(keys + j), Load(readout)));
        }
        for (; j < first; ++j) {
          s.coupling[i * kRecurrenceChunk + j] += -s.beta[i] * k_row[c * kTileRows] * s.row[c] * keys[j];
          s.readout[i * kRecurrenceChunk + j] += q_row[c * kTileRows] * s.row[c] * keys[j];
        }
      }
    }
  }
  // From here on the packs carry e^(G_i), and the keys e^(G_n - G_j).
  Fill(s.rest, s.padded_dim, 0);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < dim; ++c) s.rest[c] += s.decay[t * s.padded_dim + c];
    for (int64_t c = 0; c < dim; ++c) s.row[c] = s.rest[c];
    ExpInPlace(s.row, dim);
    ScalePackRow(s, s.key_pack, t, s.row, dim);
    ScalePackRow(s, s.query_pack, t, s.row, dim);
    s.row_decay[t] = 1;
  }
  for (int64_t c = 0; c < dim; ++c) s.end_decay[c] = s.row[c];
  Fill(s.rest, s.padded_dim, 0);
  for (int64_t c = 0; c < dim; ++c) {
    for (int64_t t = tokens; t < kRecurrenceChunk; ++t) s.scaled_keys[c * kRecurrenceChunk + t] = 0;
  }
  for (int64_t j = tokens - 1; j >= 0; --j) {
    for (int64_t c = 0; c < dim; ++c) s.row[c] = s.rest[c];
    ExpInPlace(s.row, dim);
    for (int64_t c = 0; c < dim; ++c) s.scaled_keys[c * kRecurrenceChunk + j] = s.keys[c * kRecurrenceChunk + j] * s.row[c];
    for (int64_t c = 0; c < dim; ++c) s.rest[c] += s.decay[j * s.padded_dim + c];
  }
}

// out = pack S for one tile of rows, each row times its decay.
ASSAY_INLINE void StateProducts(const RecurrenceArgs& args, const ChunkState& s, const float* pack, int64_t tile, int rows, float* out) {
  const float* a = pack + tile * kTileRows * s.padded_dim;
  float* target = out + tile * kTileRows * s.padded_v;
  Fill(target, rows * s.padded_v, 0);
  const auto* b = reinterpret_cast<const uint32_t*>(s.state);
#define ASSAY_PRODUCT(n) \
  MultiplyColumns<F32Unit, n, 1, kTileRows>(a, b, s.padded_v, args.head_dim, target, s.padded_v, s.padded_v)
  ASSAY_DISPATCH_ROWS(rows, ASSAY_PRODUCT)
#undef ASSAY_PRODUCT
  for (int r = 0; r < rows; ++r) {
    const V factor = Set(s.row_decay[tile * kTileRows + r]);
    for (int64_t c = 0; c < s.padded_v; c += kLanes) Store(target + r * s.padded_v + c, Mul(factor, Load(target + r * s.padded_v + c)));
  }
}

// out rows of a tile += matrix rows [64 apart] times the updates of all tokens before the tile, then of those inside it up to
// `last(r)`: row by row, so that a later token's NaN cannot enter through a factor of 0.
ASSAY_INLINE void AddUpdates(const ChunkState& s, const float* matrix, int64_t tile, int rows, float* out, bool include_self) {
  const int64_t first = tile * kTileRows;
  float* target = out + first * s.padded_v;
  const float* a = matrix + first * kRecurrenceChunk;
  const auto* b = reinterpret_cast<const uint32_t*>(s.updates);
#define ASSAY_PRODUCT(n) \
  MultiplyColumns<F32Unit, n, kRecurrenceChunk, 1>(a, b, s.padded_v, first, target, s.padded_v, s.padded_v)
  ASSAY_DISPATCH_ROWS(rows, ASSAY_PRODUCT)
#undef ASSAY_PRODUCT
  for (int r = 0; r < rows; ++r) {
    for (int64_t j = first; j < first + r + (include_self ? 1 : 0); ++j) {
      const V factor = Set(a[r * kRecurrenceChunk + j]);
      for (int64_t c = 0; c < s.padded_v; c += kLanes) {
        float* to = target + r * s.padded_v + c;
        Store(to, Fma(factor, Load(s.updates + j * s.padded_v + c), Load(to)));
      }
    }
  }
}

ASSAY_INLINE void RunChunk(const RecurrenceArgs& args, const RecurrenceSequence& sequence, int64_t head, int64_t first, int64_t tokens,
                           const ChunkState& s) {
  LoadChunk(args, sequence, head, first, tokens, s);
  args.per_channel ? CoupleByChannel(args, tokens, s) : CoupleByHead(args, tokens, s);
  for (int64_t tile = 0; tile * kTileRows < tokens; ++tile) {
    const int64_t begin = tile * kTileRows;
    const int rows = static_cast<int>(tokens - begin < kTileRows ? tokens - begin : kTileRows);
    if (args.delta) {
      StateProducts(args, s, s.key_pack, tile, rows, s.updates);
    } else {
      Fill(s.updates + begin * s.padded_v, rows * s.padded_v, 0);
    }
    for (int64_t t = begin; t < begin + rows; ++t) {
      float* u = s.updates + t * s.padded_v;
      float* value = s.outputs;  // free until the outputs are computed
      Fill(value, s.padded_v, 0);
      LoadRow(args, sequence.v.data, sequence.v.dtype, HeadOffset(sequence.v, first + t, head), sequence.v.channel_stride, args.v_head_dim,
              value);
      const V beta = Set(s.beta[t]);
      for (int64_t c = 0; c < s.padded_v; c += kLanes) Store(u + c, Mul(beta, Sub(Load(value + c), Load(u + c))));
    }
    if (args.delta) AddUpdates(s, s.coupling, tile, rows, s.updates, false);
  }
  for (int64_t tile = 0; tile * kTileRows < tokens; ++tile) {
    const int64_t begin = tile * kTileRows;
    const int rows = static_cast<int>(tokens - begin < kTileRows ? tokens - begin : kTileRows);
    StateProducts(args, s, s.query_pack, tile, rows, s.outputs);
    AddUpdates(s, s.readout, tile, rows, s.outputs, true);
    for (int64_t t = begin; t < begin + rows; ++t) {
      StoreRow(args, sequence.o.data, sequence.o.dtype, HeadOffset(sequence.o, first + t, head), sequence.o.channel_stride,
               args.v_head_dim, s.outputs + t * s.padded_v);
    }
  }
  for (int64_t row = 0; row < args.head_dim; row += kTileRows) {
    const int rows = static_cast<int>(args.head_dim - row < kTileRows ? args.head_dim - row : kTileRows);
    float* target = s.state + row * s.padded_v;
    for (int r = 0; r < rows; ++r) {
      const V factor = Set(s.end_decay[row + r]);
      for (int64_t c = 0; c < s.padded_v; c += kLanes) Store(target + r * s.padded_v + c, Mul(factor, Load(target + r * s.padded_v + c)));
    }
    const float* a = s.scaled_keys + row * kRecurrenceChunk;
    const auto* b = reinterpret_cast<const uint32_t*>(s.updates);
#define ASSAY_PRODUCT(n) \
  MultiplyColumns<F32Unit, n, kRecurrenceChunk, 1>(a, b, s.padded_v, tokens, target, s.padded_v, s.padded_v)
    ASSAY_DISPATCH_ROWS(rows, ASSAY_PRODUCT)
#undef ASSAY_PRODUCT
  }
}

void RunRecurrenceChunks(const RecurrenceArgs& args, const RecurrenceItem& item, float* scratch) noexcept {
  const RecurrenceSequence& sequence = args.sequences[item.sequence];
  const ChunkState s = LayOutChunk(args, scratch);
  LoadState(args, sequence.state_in, item.head, 0, args.v_head_dim, s.state, s.padded_v);
  for (int64_t first = 0; first < sequence.tokens; first += kRecurrenceChunk) {
    const int64_t rest = sequence.tokens - first;
    RunChunk(args, sequence, item.head, first, rest < kRecurrenceChunk ? rest : kRecurrenceChunk, s);
  }
  StoreState(args, sequence.state_out, item.head, 0, args.v_head_dim, s.state, s.padded_v);
}

}  // namespace assay::ASSAY_SIMD_NAMESPACE
