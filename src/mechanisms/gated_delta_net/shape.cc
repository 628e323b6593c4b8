// What a gated-delta call must look like, and random ones for probes and tests.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/role_name.h"
#include "mechanisms/gated_delta_net/gated_delta_net.h"

namespace assay::gated_delta_net {
namespace {

constexpr std::array kRoles = {Role::kQ,        Role::kK,    Role::kV,       Role::kO,       Role::kCuQ,
                               Role::kCuK,      Role::kBeta, Role::kStateIn, Role::kStateOut, Role::kLogDecay};

int64_t FromEnd(const TensorView& view, int axis) { return view.shape[static_cast<size_t>(view.rank - axis)]; }

// Token-wise tensors agree on everything but heads and channels.
bool SameTokens(const TensorView& a, const TensorView& b, int token_axes) {
  for (int axis = 0; axis < token_axes; ++axis) {
    if (a.shape[static_cast<size_t>(axis)] != b.shape[static_cast<size_t>(axis)]) return false;
  }
  return true;
}

Status CheckOptions(const Problem& problem) {
  for (const Argument& argument : problem.arguments) {
    if (std::find(kRoles.begin(), kRoles.end(), argument.role) == kRoles.end()) {
      return Unsupported(fmt::format("gated_delta_net: it does not read {}; a recurrence has no masks, pages, sinks or log-sum-exp", NameOf(argument.role)));
    }
  }
  if (problem.softcap != 0 || problem.window_left >= 0 || problem.window_right >= 0) {
    return Unsupported("gated_delta_net: softcap and windows belong to softmax attention; leave them unset");
  }
  if (problem.causal == Causal::kNone) return Unsupported("gated_delta_net: a recurrence is causal; set causal");
  if (problem.k_scale != ScaleGranularity::kNone || problem.v_scale != ScaleGranularity::kNone || problem.page_tokens != 0) {
    return Unsupported("gated_delta_net: it has no cache to quantise or to page");
  }
  if (problem.splits > 1) return Unsupported("gated_delta_net: a state is handed over, not merged; splits must be 0 or 1");
  if (problem.phase == Phase::kBackward) return Unsupported("gated_delta_net: gradients are not computed here");
  if (!std::isfinite(problem.scale)) return BadInput(fmt::format("gated_delta_net: scale is {}; it must be finite", problem.scale));
  if (problem.chunk < 0) return BadInput(fmt::format("gated_delta_net: chunk is {}; it must be >= 0", problem.chunk));
  return Ok();
}

}  // namespace

Result<Shape> ResolveShape(const Problem& problem) {
  ASSAY_RETURN_IF_ERROR(CheckOptions(problem));
  for (const Role role : {Role::kQ, Role::kK, Role::kV, Role::kO}) {
    if (!problem.Has(role)) return BadInput("gated_delta_net: a problem needs Q, K, V and O");
  }
  const TensorView& q = problem.Get(Role::kQ);
  const TensorView& k = problem.Get(Role::kK);
  const TensorView& v = problem.Get(Role::kV);
  const TensorView& o = problem.Get(Role::kO);
  const TensorView* g = problem.Find(Role::kLogDecay);
  const TensorView* beta = problem.Find(Role::kBeta);
  const TensorView* cu = problem.Find(Role::kCuQ);
  const auto bad = [&](std::string_view why) {
    return BadInput(fmt::format("gated_delta_net: {} (Q {}, K {}, V {}, O {}, LOG_DECAY {}, BETA {})", why, ShapeString(q), ShapeString(k),
                                ShapeString(v), ShapeString(o), g != nullptr ? ShapeString(*g) : "absent",
                                beta != nullptr ? ShapeString(*beta) : "absent"));
  };
  if ((cu != nullptr) != problem.Has(Role::kCuK)) return bad("packed sequences need CU_Q and CU_K alike");
  const int rank = cu != nullptr ? 3 : 4;
  const int token_axes = rank - 2;
  for (const TensorView* view : {&q, &k, &v, &o}) {
    if (view->rank != rank) return bad("Q, K, V and O are [B,T,H,D], or [total,H,D] with CU_Q and CU_K");
    if (!IsFloat(view->dtype)) return bad("Q, K, V and O are floating-point");
    if (!SameTokens(*view, q, token_axes)) return bad("Q, K, V and O differ in tokens");
  }

  Shape shape;
  shape.query_heads = FromEnd(q, 2);
  shape.key_heads = FromEnd(k, 2);
  shape.state_heads = FromEnd(v, 2);
  shape.output_heads = std::max(shape.query_heads, shape.state_heads);
  shape.key_dim = FromEnd(k, 1);
  shape.value_dim = FromEnd(v, 1);
  if (shape.query_heads < 1 || shape.key_heads < 1 || shape.state_heads < 1) return bad("a problem has at least one head");
  if (shape.state_heads % shape.key_heads != 0 || shape.output_heads % shape.state_heads != 0 || shape.output_heads % shape.query_heads != 0) {
    return bad("value heads are a multiple of key heads, and query and value heads divide the larger of the two");
  }
  if (FromEnd(q, 1) != shape.key_dim) return bad("Q and K differ in width");
  if (FromEnd(o, 2) != shape.output_heads || FromEnd(o, 1) != shape.value_dim) return bad("O has the larger of query and value heads, and the width of V");
  if (g != nullptr) {
    shape.channel_decay = g->rank == rank;
    const bool fits = (g->rank == rank || g->rank == rank - 1) && SameTokens(*g, q, token_axes) &&
                      g->shape[static_cast<size_t>(token_axes)] == shape.state_heads && (!shape.channel_decay || FromEnd(*g, 1) == shape.key_dim);
    if (!fits) return bad("LOG_DECAY is [.., value heads] or [.., value heads, key width]");
  }
  if (beta != nullptr && (beta->rank != rank - 1 || !SameTokens(*beta, q, token_axes) || FromEnd(*beta, 1) != shape.state_heads)) {
    return bad("BETA is [.., value heads]");
  }

  shape.sequences = cu != nullptr ? cu->shape[0] - 1 : q.shape[0];
  if (shape.sequences < 0) return bad("CU_Q has B + 1 entries");
  if (cu != nullptr && problem.Get(Role::kCuK).shape[0] != cu->shape[0]) return bad("CU_K has B + 1 entries");
  for (int64_t b = 0; b < shape.sequences; ++b) {
    int64_t tokens = q.shape[1];
    if (cu != nullptr) {
      const auto begin = static_cast<int64_t>(cu->At({b}));
      const auto end = static_cast<int64_t>(cu->At({b + 1}));
      const TensorView& cu_k = problem.Get(Role::kCuK);
      if (static_cast<int64_t>(cu_k.At({b})) != begin || static_cast<int64_t>(cu_k.At({b + 1})) != end) return bad("CU_Q and CU_K differ");
      if (begin < 0 || end < begin || end > q.shape[0]) return bad("CU_Q descends or leaves the buffer");
      tokens = end - begin;
    }
    shape.tokens.push_back(tokens);
  }
  for (const Role role : {Role::kStateIn, Role::kStateOut}) {
    const TensorView* state = problem.Find(role);
    if (state == nullptr) continue;
    const std::array<int64_t, 4> expected = {shape.sequences, shape.state_heads, shape.key_dim, shape.value_dim};
    if (state->rank != 4 || !IsFloat(state->dtype) || !std::equal(expected.begin(), expected.end(), state->shape.begin())) {
      return BadInput(fmt::format("gated_delta_net: a state is {}; it must be a float [{}, {}, {}, {}]", ShapeString(*state), expected[0],
                                  expected[1], expected[2], expected[3]));
    }
  }
  return shape;
}

namespace {

void Fill(const TensorView& view, Rng& rng, double (*draw)(Rng&, double), double argument) {
  const auto count = static_cast<size_t>(view.count());
  for (size_t i = 0; i < count; ++i) StoreElement(view.data, view.dtype, i, draw(rng, argument));
}

// Keys and queries of deployed layers have unit norm: that is what keeps the rule a contraction for beta <= 2.
void FillUnitRows(const TensorView& view, int64_t width, Rng& rng) {
  std::vector<double> row(static_cast<size_t>(width));
  const auto rows = static_cast<size_t>(width > 0 ? view.count() / width : 0);
  for (size_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (double& x : row) {
      x = rng.Normal();
      squares += x * x;
    }
    const double norm = squares > 0 ? std::sqrt(squares) : 1;
    for (size_t c = 0; c < row.size(); ++c) StoreElement(view.data, view.dtype, r * row.size() + c, row[c] / norm);
  }
}

}  // namespace

Result<OwnedProblem> Example(const ExampleSpec& spec, const ParameterSet& parameters, Rng& rng) {
  const auto bad = [](std::string_view why) { return BadInput(fmt::format("gated_delta_net: an example {}", why)); };
  if (spec.storage == ExampleSpec::Storage::kPaged) return Unsupported("gated_delta_net: a recurrence keeps a state, no pages");
  if (spec.query_tokens.size() != spec.key_tokens.size()) return bad("needs one query and one key length for each sequence");
  if (spec.query_heads < 1 || spec.kv_heads < 1 || spec.head_dim < 1 || spec.v_head_dim < 0) return bad("needs heads and widths of at least 1");
  if (!IsFloat(spec.dtype)) return bad("has floating-point elements");
  bool history = false;
  for (size_t b = 0; b < spec.query_tokens.size(); ++b) {
    if (spec.query_tokens[b] < 0 || spec.key_tokens[b] < spec.query_tokens[b]) return bad("needs 0 <= query tokens <= key tokens");
    history = history || spec.key_tokens[b] > spec.query_tokens[b];
  }
  const auto sequences = static_cast<int64_t>(spec.query_tokens.size());
  const bool dense = spec.storage == ExampleSpec::Storage::kDense;
  if (dense && std::adjacent_find(spec.query_tokens.begin(), spec.query_tokens.end(), std::not_equal_to<>()) != spec.query_tokens.end()) {
    return bad("with unequal lengths needs packed storage");
  }
  const int64_t total = std::accumulate(spec.query_tokens.begin(), spec.query_tokens.end(), int64_t{0});
  const int64_t tokens = dense && sequences > 0 ? spec.query_tokens[0] : 0;
  // The widths that the cost model takes for such a layer: parameters first, then the layer's own.
  const LayerWidths widths = WidthsOf({.query_heads = spec.query_heads, .kv_heads = spec.kv_heads, .head_dim = spec.head_dim, .v_head_dim = spec.v_head_dim}, parameters);
  const int64_t key_heads = widths.key_heads;
  const int64_t value_heads = widths.value_heads;
  const int64_t key_dim = widths.key_dim;
  const int64_t value_dim = widths.value_dim;
  if (value_heads % key_heads != 0) return bad("needs value heads that are a multiple of the key heads");

  OwnedProblem owned;
  Problem& problem = owned.problem;
  problem.mechanism = "gated_delta_net";
  problem.phase = std::all_of(spec.query_tokens.begin(), spec.query_tokens.end(), [](int64_t n) { return n <= 1; }) ? Phase::kDecode : Phase::kPrefill;
  problem.scale = 1 / std::sqrt(static_cast<double>(key_dim));
  problem.causal = spec.causal == Causal::kNone ? Causal::kBottomRight : spec.causal;
  if (parameters["delta"] == 0) problem.parameters.push_back({"delta", 0});
  const auto add = [&](Role role, DType dtype, int64_t heads, int64_t width) {
    std::vector<int64_t> extents = dense ? std::vector<int64_t>{sequences, tokens, heads} : std::vector<int64_t>{total, heads};
    if (width > 0) extents.push_back(width);
    return owned.Adopt(role, Tensor(dtype, extents));
  };
  FillUnitRows(add(Role::kQ, spec.dtype, key_heads, key_dim), key_dim, rng);
  FillUnitRows(add(Role::kK, spec.dtype, key_heads, key_dim), key_dim, rng);
  Fill(add(Role::kV, spec.dtype, value_heads, value_dim), rng, [](Rng& r, double deviation) { return deviation * r.Normal(); }, 1);
  // Gates, states and outputs stay wide: deployed kernels keep them in fp32 too.
  const DType wide = spec.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  Fill(add(Role::kLogDecay, wide, value_heads, parameters["channel_decay"] != 0 ? key_dim : 0), rng,
       [](Rng& r, double mean) { return mean * r.Uniform(0, 2); }, spec.log_decay);
  Fill(add(Role::kBeta, wide, value_heads, 0), rng, [](Rng& r, double most) { return most / (1 + std::exp(-r.Normal())); }, parameters["beta_max"]);
  if (!dense) {
    int64_t end = 0;
    const TensorView cu_q = owned.Add(Role::kCuQ, DType::kI64, {sequences + 1});
    const TensorView cu_k = owned.Add(Role::kCuK, DType::kI64, {sequences + 1});
    for (int64_t b = 0; b < sequences; ++b) {
      end += spec.query_tokens[static_cast<size_t>(b)];
      cu_q.Set({b + 1}, static_cast<double>(end));
      cu_k.Set({b + 1}, static_cast<double>(end));
    }
  }
  // A sequence with keys before its queries starts from what they left behind; zeros where there were none.
  if (history) {
    const TensorView state = owned.Add(Role::kStateIn, wide, {sequences, value_heads, key_dim, value_dim});
    for (int64_t b = 0; b < sequences; ++b) {
      if (spec.key_tokens[static_cast<size_t>(b)] == spec.query_tokens[static_cast<size_t>(b)]) continue;
      for (int64_t h = 0; h < value_heads; ++h) {
        for (int64_t c = 0; c < key_dim; ++c) {
          for (int64_t j = 0; j < value_dim; ++j) state.Set({b, h, c, j}, rng.Normal());
        }
      }
    }
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto constant = [](Rng&, double value) { return value; };
  Fill(add(Role::kO, wide, value_heads, value_dim), rng, constant, nan);
  Fill(owned.Add(Role::kStateOut, wide, {sequences, value_heads, key_dim, value_dim}), rng, constant, nan);
  return owned;
}

}  // namespace assay::gated_delta_net
