// ONNX Attention (opsets 23 to 25) and FlexAttention as calls of grouped-query attention.
// The operator's rules: 3-D inputs carry heads beside each other; new keys go behind the past; causal rows see keys up to their own position,
// which is past + i, or length - T + i with nonpad_kv_seqlen, or i; masks shorter than the keys end in "not visible"; softcap before masks.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "mechanisms/gqa/gqa.h"
#include "mechanisms/softmax_cases.h"

namespace assay::gqa {
namespace {

using module_math::Array;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct OnnxCall {
  Array q;  // [B, T, Hq, D]
  Array k;  // [B, S, Hkv, D], past included
  Array v;
  int64_t past_tokens = 0;
  bool heads_are_flat = false;
  double scale = 0;
  double softcap = 0;
  bool causal = false;
  int64_t window_left = -1;
  int64_t window_right = -1;
  const TensorView* mask = nullptr;
  std::vector<int64_t> lengths;  // of nonpad_kv_seqlen; empty: all keys
  [[nodiscard]] int64_t batch() const { return q.extent(0); }
  [[nodiscard]] int64_t queries() const { return q.extent(1); }
  [[nodiscard]] int64_t heads() const { return q.extent(2); }
  [[nodiscard]] int64_t keys() const { return k.extent(1); }
  // Position of query 0 of sequence b.
  [[nodiscard]] int64_t Offset(int64_t b) const {
    return lengths.empty() || past_tokens > 0 ? past_tokens : lengths[static_cast<size_t>(b)] - queries();
  }
};

// [B,H,T,D], or [B,T,H*D] with a head count, as [B,T,H,D].
Result<Array> ReadHeads(const CaseReader& reader, std::string_view name, std::string_view heads_attribute, int rank) {
  if (rank == 4) {
    ASSAY_TRY(const Array tensor, reader.Get(name, {kAnyExtent, kAnyExtent, kAnyExtent, kAnyExtent}));
    ASSAY_RETURN_IF_ERROR(reader.Agrees(heads_attribute, tensor.extent(1)));
    return tensor.Transposed({0, 2, 1, 3});
  }
  ASSAY_TRY(const Array tensor, reader.Get(name, {kAnyExtent, kAnyExtent, kAnyExtent}));
  ASSAY_TRY(const int64_t heads, reader.Int(heads_attribute, 0, 1, 1 << 20));
  if (tensor.extent(2) % heads != 0) return BadInput(fmt::format("input '{}' has {} channels, no multiple of {} heads", name, tensor.extent(2), heads));
  return tensor.Reshaped({tensor.extent(0), tensor.extent(1), heads, tensor.extent(2) / heads});
}

Result<Array> WithPast(const CaseReader& reader, std::string_view name, const Array& fresh, int64_t* past_tokens) {
  if (reader.source().Input(name) == nullptr) return fresh;
  ASSAY_TRY(const Array past, reader.Get(name, {fresh.extent(0), fresh.extent(2), kAnyExtent, fresh.extent(3)}));
  *past_tokens = past.extent(2);
  const Array in_order = past.Transposed({0, 2, 1, 3});
  return module_math::Concatenate(1, {&in_order, &fresh});
}

Status ReadTensors(const CaseReader& reader, OnnxCall* call) {
  const TensorView* q = reader.source().Input("Q");
  if (q == nullptr || (q->rank != 3 && q->rank != 4)) return BadInput("input 'Q' must have 3 or 4 dimensions");
  call->heads_are_flat = q->rank == 3;
  ASSAY_TRY(call->q, ReadHeads(reader, "Q", "q_num_heads", q->rank));
  ASSAY_TRY(const Array k, ReadHeads(reader, "K", "kv_num_heads", q->rank));
  ASSAY_TRY(const Array v, ReadHeads(reader, "V", "kv_num_heads", q->rank));
  if (k.extent(0) != call->batch() || v.extent(0) != call->batch() || v.extent(1) != k.extent(1) || v.extent(2) != k.extent(2) ||
      k.extent(3) != call->q.extent(3)) {
    return BadInput("Q, K and V disagree in batch, keys, heads or width");
  }
  int64_t past_of_v = 0;
  ASSAY_TRY(call->k, WithPast(reader, "past_key", k, &call->past_tokens));
  ASSAY_TRY(call->v, WithPast(reader, "past_value", v, &past_of_v));
  if (past_of_v != call->past_tokens) return BadInput("past_key and past_value disagree in length");
  const double pairs = static_cast<double>(call->batch() * call->heads()) * static_cast<double>(call->queries()) * static_cast<double>(call->keys());
  return CheckWork(pairs * static_cast<double>(call->q.extent(3) + call->v.extent(3)), pairs);
}

Status ReadOptions(const CaseReader& reader, OnnxCall* call) {
  const ConformanceCase& source = reader.source();
  ASSAY_TRY(call->scale, reader.Finite("scale", 1 / std::sqrt(static_cast<double>(call->q.extent(3)))));
  ASSAY_TRY(call->softcap, reader.Finite("softcap", 0));
  ASSAY_TRY(const int64_t causal, reader.Int("is_causal", 0, 0, 1));
  call->causal = causal == 1;
  ASSAY_TRY(call->window_left, reader.Int("left_window_size", -1, -1, int64_t{1} << 40));
  ASSAY_TRY(call->window_right, reader.Int("right_window_size", -1, -1, int64_t{1} << 40));
  call->mask = source.Input("attn_mask");
  if (call->mask != nullptr && (call->mask->rank < 1 || call->mask->rank > 4)) return BadInput("input 'attn_mask' must have 1 to 4 dimensions");
  if (source.Input("nonpad_kv_seqlen") != nullptr) {
    ASSAY_TRY(const TensorView* lengths, reader.View("nonpad_kv_seqlen", {call->batch()}));
    for (int64_t b = 0; b < call->batch(); ++b) {
      const double length = lengths->At({b});
      if (length < 0 || length > static_cast<double>(call->keys())) return BadInput(fmt::format("nonpad_kv_seqlen {} for {} keys", length, call->keys()));
      call->lengths.push_back(static_cast<int64_t>(length));
    }
  }
  // 1, 10, 11, 16: float, half, double, bfloat16. A softmax rounded below its inputs' type is a rounding, not a property of attention.
  const int64_t precision = source.Int("softmax_precision", 0);
  const DType q_type = source.Input("Q")->dtype;
  const bool q_is_half = q_type == DType::kF16 || q_type == DType::kBf16;
  if ((precision == 10 || precision == 16) && !q_is_half) return Unsupported("softmax_precision narrower than the inputs prescribes a rounding, not a function");
  return Ok();
}

// A mask widened to all keys: what it does not cover is not visible. An extent of 1 in other axes still broadcasts.
void AddMask(OwnedProblem& owned, const OnnxCall& call) {
  const bool is_bool = call.mask->dtype == DType::kBool8;
  const Array given = Array::From(*call.mask);
  std::vector<int64_t> shape = given.shape();
  const int64_t covered = shape.back();
  shape.back() = call.keys();
  Array wide(shape);
  const int64_t rows = covered == 0 ? 0 : given.count() / covered;
  if (!is_bool) std::fill(wide.data(), wide.data() + wide.count(), -kInfinity);
  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(given.data() + row * covered, std::min(covered, call.keys()), wide.data() + row * call.keys());
  }
  if (!is_bool) {
    owned.Adopt(Role::kMaskAdd, wide.ToTensor());
    return;
  }
  Tensor mask(DType::kBool8, shape);
  for (int64_t i = 0; i < wide.count(); ++i) StoreElement(mask.view().data, DType::kBool8, static_cast<size_t>(i), wide.data()[i]);
  owned.Adopt(Role::kMaskBool, std::move(mask));
}

// Says where the queries stand, by the alignment every kernel knows where it fits and by explicit positions where none does.
void AddPositions(OwnedProblem& owned, const OnnxCall& call) {
  Problem& problem = owned.problem;
  const bool any_window = call.window_left >= 0 || call.window_right >= 0;
  if (!call.causal && !any_window) return;
  bool bottom_right = true;
  bool top_left = true;
  for (int64_t b = 0; b < call.batch(); ++b) {
    const int64_t length = call.lengths.empty() ? call.keys() : call.lengths[static_cast<size_t>(b)];
    bottom_right = bottom_right && call.Offset(b) == length - call.queries();
    top_left = top_left && call.Offset(b) == 0;
  }
  if (call.causal) problem.causal = bottom_right || !top_left ? Causal::kBottomRight : Causal::kTopLeft;
  if (bottom_right || (call.causal && top_left)) return;
  const TensorView positions = owned.Add(Role::kPosQ, DType::kI64, {call.batch(), call.queries()});
  for (int64_t b = 0; b < call.batch(); ++b) {
    for (int64_t i = 0; i < call.queries(); ++i) positions.Set({b, i}, static_cast<double>(call.Offset(b) + i));
  }
}

OwnedProblem MakeProblem(const OnnxCall& call) {
  OwnedProblem owned;
  Problem& problem = owned.problem;
  problem.mechanism = "gqa";
  problem.phase = call.queries() == 1 ? Phase::kDecode : Phase::kPrefill;
  problem.scale = call.scale;
  problem.softcap = call.softcap;
  problem.window_left = call.window_left;
  problem.window_right = call.window_right;
  owned.Adopt(Role::kQ, call.q.ToTensor());
  owned.Adopt(Role::kK, call.k.ToTensor());
  owned.Adopt(Role::kV, call.v.ToTensor());
  owned.Add(Role::kO, DType::kF64, {call.batch(), call.queries(), call.heads(), call.v.extent(3)});
  AddPositions(owned, call);
  if (call.mask != nullptr) AddMask(owned, call);
  if (!call.lengths.empty()) {
    const TensorView lengths = owned.Add(Role::kLenK, DType::kI64, {call.batch()});
    for (int64_t b = 0; b < call.batch(); ++b) lengths.Set({b}, static_cast<double>(call.lengths[static_cast<size_t>(b)]));
  }
  return owned;
}

// Scores of all pairs, padding and masked ones included, from a problem without any mask.
Result<Array> AllScores(const OnnxCall& call, const Attend& attend) {
  OwnedProblem owned;
  owned.problem.mechanism = "gqa";
  owned.problem.scale = call.scale;
  owned.Adopt(Role::kQ, call.q.ToTensor());
  owned.Adopt(Role::kK, call.k.ToTensor());
  owned.Adopt(Role::kV, call.v.ToTensor());
  owned.Add(Role::kO, DType::kF64, {call.batch(), call.queries(), call.heads(), call.v.extent(3)});
  const TensorView scores = owned.Add(Role::kScores, DType::kF64, {call.batch(), call.heads(), call.queries(), call.keys()});
  ASSAY_RETURN_IF_ERROR(attend(owned.problem));
  return Array::From(scores);
}

// qk_matmul_output: 0 the scaled scores, 1 after softcap, 2 after masks too, 3 after the softmax.
Result<Array> ScoreOutput(int64_t mode, const OnnxCall& call, const Problem& problem, const Attend& attend) {
  if (mode == 3) return Array::From(problem.Get(Role::kWeights));
  ASSAY_TRY(Array scores, AllScores(call, attend));
  if (mode >= 1 && call.softcap > 0) {
    for (int64_t i = 0; i < scores.count(); ++i) scores.data()[i] = call.softcap * std::tanh(scores.data()[i] / call.softcap);
  }
  if (mode < 2) return scores;
  ASSAY_TRY(const Extents extents, ResolveExtents(problem));
  for (int64_t b = 0; b < call.batch(); ++b) {
    const Visibility visibility(problem, extents, b);
    for (int64_t h = 0; h < call.heads(); ++h) {
      for (int64_t i = 0; i < call.queries(); ++i) {
        for (int64_t j = 0; j < call.keys(); ++j) {
          const bool visible = j < extents.key_tokens[static_cast<size_t>(b)] && visibility.Allowed(h, i, j);
          scores(b, h, i, j) += visible ? visibility.Bias(h, i, j) : -kInfinity;
        }
      }
    }
  }
  return scores;
}

}  // namespace

Result<CaseOutputs> RunAttention(const ConformanceCase& conformance_case, const Attend& attend) {
  const CaseReader reader(conformance_case);
  OnnxCall call;
  ASSAY_RETURN_IF_ERROR(ReadTensors(reader, &call));
  ASSAY_RETURN_IF_ERROR(ReadOptions(reader, &call));
  ASSAY_TRY(const int64_t mode, reader.Int("qk_matmul_output_mode", 0, 0, 3));
  const bool wants_scores = reader.WantsOutput("qk_matmul_output");
  OwnedProblem owned = MakeProblem(call);
  if (wants_scores && mode == 3) owned.Add(Role::kWeights, DType::kF64, {call.batch(), call.heads(), call.queries(), call.keys()});
  ASSAY_RETURN_IF_ERROR(attend(owned.problem));

  CaseOutputs outputs;
  const Array y = Array::From(owned.problem.Get(Role::kO));
  if (call.heads_are_flat) {
    AddOutput(&outputs, "Y", y.Reshaped({call.batch(), call.queries(), call.heads() * y.extent(3)}));
  } else {
    AddOutput(&outputs, "Y", y.Transposed({0, 2, 1, 3}));
  }
  AddOutput(&outputs, "present_key", call.k.Transposed({0, 2, 1, 3}));
  AddOutput(&outputs, "present_value", call.v.Transposed({0, 2, 1, 3}));
  if (wants_scores) {
    ASSAY_TRY(const Array scores, ScoreOutput(mode, call, owned.problem, attend));
    AddOutput(&outputs, "qk_matmul_output", scores);
  }
  return outputs;
}

// FlexAttention without modifiers is attention without masks. A modifier is a graph, which the text format cannot carry.
Result<CaseOutputs> RunFlexAttention(const ConformanceCase& conformance_case, const Attend& attend) {
  for (const std::string_view modifier : {"score_mod", "prob_mod"}) {
    if (conformance_case.Has(modifier)) return Unsupported(fmt::format("the case has a {}, a graph that this format does not carry", modifier));
  }
  return RunAttention(conformance_case, attend);
}

}  // namespace assay::gqa
