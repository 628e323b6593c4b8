#include "mechanisms/softmax_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace assay {
namespace {

using module_math::Array;

constexpr int64_t kLongest = int64_t{1} << 30;

// The options of a function-level case, checked.
struct FunctionOptions {
  double scale = 0;
  double softcap = 0;
  int64_t window = 0;
  int64_t chunk = 0;
  int64_t rel_extent = 0;
  bool mean_of_all_when_masked = false;
};

Result<FunctionOptions> ReadOptions(const CaseReader& reader, int64_t queries, int64_t keys) {
  FunctionOptions options;
  ASSAY_RETURN_IF_ERROR(reader.Require({"scale"}));
  ASSAY_TRY(options.scale, reader.Finite("scale", 0));
  ASSAY_TRY(options.softcap, reader.Finite("softcap", 0));
  ASSAY_TRY(options.window, reader.Int("window", 0, 0, kLongest));
  ASSAY_TRY(options.chunk, reader.Int("chunk", 0, 0, kLongest));
  ASSAY_TRY(options.rel_extent, reader.Int("rel_extent", 0, 0, kLongest));
  ASSAY_TRY(const int64_t past, reader.Int("n_past", keys - queries, 0, kLongest));
  if (past != keys - queries) return BadInput(fmt::format("n_past is {}, but {} keys for {} queries leave {}", past, keys, queries, keys - queries));
  const std::string masked_row = reader.source().Str("masked_row", "zero");
  if (masked_row != "zero" && masked_row != "uniform_over_all_keys") {
    return Unsupported(fmt::format("masked_row '{}'; known: zero, uniform_over_all_keys", masked_row));
  }
  options.mean_of_all_when_masked = masked_row == "uniform_over_all_keys";
  return options;
}

// True where key j lies in the chunk of the query at position i.
void AddChunkMask(OwnedProblem& owned, const FunctionOptions& options, const TensorView* key_valid, int64_t batch, int64_t queries, int64_t keys) {
  const TensorView mask = owned.Add(Role::kMaskBool, DType::kBool8, {key_valid != nullptr ? batch : 1, 1, options.chunk > 0 ? queries : 1, keys});
  for (int64_t b = 0; b < mask.shape[0]; ++b) {
    for (int64_t i = 0; i < mask.shape[2]; ++i) {
      for (int64_t j = 0; j < keys; ++j) {
        const bool valid = key_valid == nullptr || key_valid->At({b, j}) != 0;
        const bool same_chunk = options.chunk == 0 || (keys - queries + i) / options.chunk == j / options.chunk;
        mask.Set({b, 0, i, j}, valid && same_chunk ? 1 : 0);
      }
    }
  }
}

// bias[b,h,i,j] = relative_states[b,i,h] . rel_proj[:, distance] for distances 0 .. rel_extent - 1, else 0.
Result<Array> PositionBias(const CaseReader& reader, int64_t extent, int64_t batch, int64_t heads, int64_t queries, int64_t keys) {
  ASSAY_TRY(const Array states, reader.Get("relative_states", {batch, queries, heads, kAnyExtent}));
  ASSAY_TRY(const Array projection, reader.Get("rel_proj", {states.extent(-1), extent}));
  Array bias({batch, heads, queries, keys});
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < queries; ++i) {
        for (int64_t j = 0; j < keys; ++j) {
          const int64_t distance = keys - queries + i - j;
          if (distance < 0 || distance >= extent) continue;
          for (int64_t c = 0; c < states.extent(-1); ++c) bias(b, h, i, j) += states(b, i, h, c) * projection(c, distance);
        }
      }
    }
  }
  return bias;
}

// Deployed eager code masks with the smallest finite number, so a row without keys becomes the mean of all values, future ones included.
void FillMaskedRows(const Problem& problem, const Extents& extents, Array* output) {
  for (int64_t b = 0; b < extents.sequences; ++b) {
    const auto sequence = static_cast<size_t>(b);
    const Visibility visibility(problem, extents, b);
    const TokenRows v(problem, Role::kV, b);
    const int64_t keys = extents.key_tokens[sequence];
    for (int64_t i = 0; i < extents.query_tokens[sequence]; ++i) {
      for (int64_t h = 0; h < extents.query_heads; ++h) {
        bool empty = true;
        for (int64_t j = 0; j < keys && empty; ++j) empty = !visibility.Allowed(h, i, j);
        if (!empty) continue;
        for (int64_t c = 0; c < extents.v_head_dim; ++c) {
          double sum = 0;
          for (int64_t j = 0; j < keys; ++j) sum += v.At(j, KvHeadOf(h, extents), c);
          (*output)(b, i, h, c) = sum / static_cast<double>(keys);
        }
      }
    }
  }
}

// The visible set as the case prints it: [B or 1, 1, T, S].
Tensor VisibleSet(const Problem& problem, const Extents& extents, int64_t batch, int64_t queries, int64_t keys) {
  Tensor mask(DType::kBool8, {batch, 1, queries, keys});
  for (int64_t b = 0; b < batch; ++b) {
    const Visibility visibility(problem, extents, b);
    for (int64_t i = 0; i < queries; ++i) {
      for (int64_t j = 0; j < keys; ++j) mask.view().Set({b, 0, i, j}, visibility.Allowed(0, i, j) ? 1 : 0);
    }
  }
  return mask;
}

}  // namespace

TensorView SwapTokensAndHeads(const TensorView& view) {
  TensorView swapped = view;
  std::swap(swapped.shape[1], swapped.shape[2]);
  std::swap(swapped.stride[1], swapped.stride[2]);
  return swapped;
}

Result<Array> AttendSequence(const SequenceCall& call, const Attend& attend) {
  const int64_t batch = call.q->extent(0);
  const int64_t tokens = call.q->extent(1);
  const int64_t heads = call.q->extent(2);
  if (call.past_tokens < 0 || call.past_tokens > tokens) return BadInput(fmt::format("a past of {} tokens in a sequence of {}", call.past_tokens, tokens));
  const double pairs = static_cast<double>(batch * heads) * static_cast<double>(tokens) * static_cast<double>(tokens);
  ASSAY_RETURN_IF_ERROR(CheckWork(pairs * static_cast<double>(call.q->extent(3) + call.v->extent(3)), pairs));
  Array output({batch, tokens - call.past_tokens, heads, call.v->extent(3)});
  const int64_t step = call.token_by_token ? 1 : std::max<int64_t>(1, tokens - call.past_tokens);
  for (int64_t begin = call.past_tokens; begin < tokens; begin += step) {
    const int64_t end = begin + step;
    OwnedProblem owned;
    Problem& problem = owned.problem;
    problem.mechanism = call.mechanism;
    problem.phase = step == 1 ? Phase::kDecode : Phase::kPrefill;
    problem.causal = Causal::kBottomRight;
    problem.scale = call.scale;
    problem.softcap = call.softcap;
    if (call.window_tokens > 0) problem.window_left = call.window_tokens - 1;
    owned.Adopt(Role::kQ, call.q->Slice(1, begin, end).ToTensor());
    owned.Adopt(Role::kK, call.k->Slice(1, 0, end).ToTensor());
    owned.Adopt(Role::kV, call.v->Slice(1, 0, end).ToTensor());
    const TensorView o = owned.Add(Role::kO, DType::kF64, {batch, step, heads, call.v->extent(3)});
    if (call.chunk_tokens > 0) {
      FunctionOptions options;
      options.chunk = call.chunk_tokens;
      AddChunkMask(owned, options, nullptr, batch, step, end);
    }
    if (!call.alibi_slopes.empty()) {
      const TensorView slopes = owned.Add(Role::kAlibi, DType::kF64, {heads});
      for (int64_t h = 0; h < heads; ++h) slopes.Set({h}, call.alibi_slopes[static_cast<size_t>(h)]);
    }
    ASSAY_RETURN_IF_ERROR(attend(problem));
    const Array part = Array::From(o);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t i = 0; i < step; ++i) {
        for (int64_t h = 0; h < heads; ++h) {
          const auto from = part.Row(b, i, h);
          std::copy(from.begin(), from.end(), output.Row(b, begin - call.past_tokens + i, h).begin());
        }
      }
    }
  }
  return output;
}

Result<CaseOutputs> RunFunctionCase(const ConformanceCase& conformance_case, const Attend& attend, std::string_view mechanism) {
  const CaseReader reader(conformance_case);
  ASSAY_TRY(const TensorView* query, reader.View("query", {kAnyExtent, kAnyExtent, kAnyExtent, kAnyExtent}));
  const int64_t batch = query->shape[0];
  const int64_t heads = query->shape[1];
  const int64_t queries = query->shape[2];
  ASSAY_TRY(const TensorView* key, reader.View("key", {batch, kAnyExtent, kAnyExtent, query->shape[3]}));
  const int64_t keys = key->shape[2];
  ASSAY_TRY(const TensorView* value, reader.View("value", {batch, key->shape[1], keys, kAnyExtent}));
  ASSAY_TRY(const FunctionOptions options, ReadOptions(reader, queries, keys));
  // A case that contradicts itself checks nothing, whichever half one believes.
  ASSAY_TRY(const int64_t stated_heads, reader.Int("q_num_heads", heads, heads, heads));
  ASSAY_TRY(const int64_t stated_kv_heads, reader.Int("kv_num_heads", key->shape[1], key->shape[1], key->shape[1]));
  ASSAY_CHECK(stated_heads == heads && stated_kv_heads == key->shape[1], "attributes within one-value ranges");
  const double pairs = static_cast<double>(batch) * static_cast<double>(heads) * static_cast<double>(queries) * static_cast<double>(keys);
  ASSAY_RETURN_IF_ERROR(CheckWork(pairs * static_cast<double>(query->shape[3] + value->shape[3]), pairs));

  OwnedProblem owned;
  Problem& problem = owned.problem;
  problem.mechanism = mechanism;
  problem.phase = queries == 1 ? Phase::kDecode : Phase::kPrefill;
  problem.causal = Causal::kBottomRight;
  problem.scale = options.scale;
  problem.softcap = options.softcap;
  if (options.window > 0) problem.window_left = options.window - 1;
  problem.arguments.push_back({Role::kQ, SwapTokensAndHeads(*query)});
  problem.arguments.push_back({Role::kK, SwapTokensAndHeads(*key)});
  problem.arguments.push_back({Role::kV, SwapTokensAndHeads(*value)});
  const TensorView o = owned.Add(Role::kO, DType::kF64, {batch, queries, heads, value->shape[3]});
  if (conformance_case.Input("sinks") != nullptr) {
    ASSAY_TRY(const TensorView* sinks, reader.View("sinks", {heads}));
    problem.arguments.push_back({Role::kSink, *sinks});
  }
  const TensorView* key_valid = nullptr;
  if (conformance_case.Input("key_valid") != nullptr) {
    ASSAY_TRY(key_valid, reader.View("key_valid", {batch, keys}));
  }
  if (options.chunk > 0 || key_valid != nullptr) AddChunkMask(owned, options, key_valid, batch, queries, keys);
  Array bias;
  if (options.rel_extent > 0) {
    ASSAY_TRY(bias, PositionBias(reader, options.rel_extent, batch, heads, queries, keys));
    owned.Adopt(Role::kMaskAdd, bias.ToTensor());
  }
  ASSAY_RETURN_IF_ERROR(attend(problem));

  ASSAY_TRY(const Extents extents, ResolveExtents(problem));
  Array output = Array::From(o);
  if (options.mean_of_all_when_masked) FillMaskedRows(problem, extents, &output);
  CaseOutputs outputs;
  AddOutput(&outputs, "output", output);
  if (const TensorView* mask = conformance_case.Output("mask"); mask != nullptr) {
    const bool for_all = mask->rank > 0 && mask->shape[0] == 1 && key_valid == nullptr;
    outputs.outputs.push_back({"mask", VisibleSet(problem, extents, for_all ? 1 : batch, queries, keys)});
  }
  if (options.rel_extent > 0) AddOutput(&outputs, "position_bias", bias);
  return outputs;
}

}  // namespace assay
