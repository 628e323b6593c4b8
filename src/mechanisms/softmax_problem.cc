#include "mechanisms/softmax_problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/role_name.h"

namespace assay {
namespace {

constexpr int64_t kExamplePageTokens = 64;

int64_t Extent(const TensorView& view, int axis) { return view.shape[static_cast<size_t>(axis)]; }

// O and LSE are stored as Q is; LSE has no channel axis.
Status CheckTokenOutput(const Problem& problem, Role role, std::string_view name, int64_t width) {
  const TensorView* out = problem.Find(role);
  if (out == nullptr) return Ok();
  const TensorView& q = problem.Get(Role::kQ);
  const int rank = width > 0 ? q.rank : q.rank - 1;
  bool agrees = out->rank == rank && IsFloat(out->dtype);
  for (int axis = 0; agrees && axis < q.rank - 1; ++axis) agrees = Extent(*out, axis) == Extent(q, axis);
  if (agrees && width > 0) agrees = Extent(*out, rank - 1) == width;
  if (!agrees) return BadInput(fmt::format("{}: {} is {}, which does not fit Q {}", problem.mechanism, name, ShapeString(*out), ShapeString(q)));
  return Ok();
}

Status CheckMask(const Problem& problem, const Extents& extents, Role role, std::string_view name) {
  const TensorView* mask = problem.Find(role);
  if (mask == nullptr) return Ok();
  const int64_t most_queries = extents.query_tokens.empty() ? 0 : *std::max_element(extents.query_tokens.begin(), extents.query_tokens.end());
  const std::array<int64_t, 3> leading = {extents.sequences, extents.query_heads, most_queries};
  bool fits = mask->rank >= 1 && mask->rank <= 4;
  for (int axis = 0; fits && axis + 1 < mask->rank; ++axis) {
    const int64_t extent = Extent(*mask, axis);
    const auto target = static_cast<size_t>(axis + 4 - mask->rank);
    // Packed sequences of unequal lengths share a mask as long as the longest, or longer.
    fits = extent == 1 || extent == leading[target] || (target == 2 && problem.Has(Role::kCuQ) && extent > leading[target]);
  }
  if (!fits) {
    return BadInput(fmt::format("{}: {} is {}; it must broadcast to [{}, {}, {}, keys]", problem.mechanism, name, ShapeString(*mask), leading[0], leading[1], leading[2]));
  }
  return Ok();
}

Status CheckPerHead(const Problem& problem, const Extents& extents, Role role, std::string_view name) {
  const TensorView* view = problem.Find(role);
  if (view == nullptr || (view->rank == 1 && Extent(*view, 0) == extents.query_heads)) return Ok();
  return BadInput(fmt::format("{}: {} is {}; it needs one value for each of {} query heads", problem.mechanism, name, ShapeString(*view), extents.query_heads));
}

Status CheckPages(const Problem& problem, const Extents& extents) {
  const TensorView* table = problem.Find(Role::kPageTable);
  if (table == nullptr) return Ok();
  const int64_t pages = Extent(problem.Get(Role::kK), 0);
  for (int64_t b = 0; b < extents.sequences; ++b) {
    const int64_t used = (extents.key_tokens[static_cast<size_t>(b)] + problem.page_tokens - 1) / problem.page_tokens;
    for (int64_t i = 0; i < used; ++i) {
      // -1 marks a page that was given back, e.g. behind a window; whoever reads it is wrong, which is not for shapes to tell.
      if (const double page = table->At({b, i}); page < -1 || page >= static_cast<double>(pages)) {
        return BadInput(fmt::format("{}: page {} of sequence {} is {}; there are {} pages", problem.mechanism, i, b, page, pages));
      }
    }
  }
  return Ok();
}

Status CheckPositions(const Problem& problem, const Extents& extents, Role role, Role cu, std::string_view name, const std::vector<int64_t>& tokens) {
  const TensorView* positions = problem.Find(role);
  if (positions == nullptr) return Ok();
  const int64_t longest = tokens.empty() ? 0 : *std::max_element(tokens.begin(), tokens.end());
  const int64_t total = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  const bool fits = problem.Has(cu) ? positions->rank == 1 && Extent(*positions, 0) >= total
                                    : positions->rank == 2 && Extent(*positions, 0) == extents.sequences && Extent(*positions, 1) >= longest;
  if (!fits) return BadInput(fmt::format("{}: {} is {}, which does not cover every token", problem.mechanism, name, ShapeString(*positions)));
  return Ok();
}

Status CheckDenseOutput(const Problem& problem, const Extents& extents, Role role, std::string_view name) {
  const TensorView* out = problem.Find(role);
  if (out == nullptr) return Ok();
  const auto longest = [](const std::vector<int64_t>& tokens) { return tokens.empty() ? 0 : *std::max_element(tokens.begin(), tokens.end()); };
  const bool fits = out->rank == 4 && Extent(*out, 0) == extents.sequences && Extent(*out, 1) == extents.query_heads &&
                    Extent(*out, 2) >= longest(extents.query_tokens) && Extent(*out, 3) >= longest(extents.key_tokens);
  if (!fits) return BadInput(fmt::format("{}: {} is {}; it is [sequences, query heads, queries, keys]", problem.mechanism, name, ShapeString(*out)));
  return Ok();
}

void FillNormal(const TensorView& view, double std_deviation, Rng& rng) {
  const auto count = static_cast<size_t>(view.count());
  for (size_t i = 0; i < count; ++i) StoreElement(view.data, view.dtype, i, std_deviation * rng.Normal());
}

void FillNan(const TensorView& view) {
  const auto count = static_cast<size_t>(view.count());
  for (size_t i = 0; i < count; ++i) StoreElement(view.data, view.dtype, i, std::numeric_limits<double>::quiet_NaN());
}

void FillCumulative(const TensorView& view, const std::vector<int64_t>& tokens) {
  int64_t total = 0;
  view.Set({0}, 0);
  for (size_t b = 0; b < tokens.size(); ++b) view.Set({static_cast<int64_t>(b) + 1}, static_cast<double>(total += tokens[b]));
}

// A shuffled page pool, so that an implementation that ignores the table cannot be right by luck.
void AddPagedKeys(OwnedProblem& owned, const ExampleSpec& spec, int64_t v_head_dim, Rng& rng) {
  const auto sequences = static_cast<int64_t>(spec.key_tokens.size());
  int64_t most_pages = 1;
  int64_t total_pages = 0;
  for (const int64_t tokens : spec.key_tokens) {
    const int64_t pages = (tokens + kExamplePageTokens - 1) / kExamplePageTokens;
    most_pages = std::max(most_pages, pages);
    total_pages += pages;
  }
  owned.problem.page_tokens = kExamplePageTokens;
  const int64_t pool_pages = total_pages + 1;  // one page is nobody's
  const TensorView k = owned.Add(Role::kK, spec.dtype, {pool_pages, kExamplePageTokens, spec.kv_heads, spec.head_dim});
  const TensorView v = owned.Add(Role::kV, spec.dtype, {pool_pages, kExamplePageTokens, spec.kv_heads, v_head_dim});
  const TensorView table = owned.Add(Role::kPageTable, DType::kI64, {sequences, most_pages});
  const TensorView lengths = owned.Add(Role::kLenK, DType::kI64, {sequences});
  FillNan(k);
  FillNan(v);
  std::vector<int64_t> order(static_cast<size_t>(pool_pages));
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.Below(i)]);
  size_t next = 0;
  for (int64_t b = 0; b < sequences; ++b) {
    const int64_t tokens = spec.key_tokens[static_cast<size_t>(b)];
    lengths.Set({b}, static_cast<double>(tokens));
    for (int64_t page = 0; page < most_pages; ++page) {
      const bool used = page * kExamplePageTokens < tokens;
      table.Set({b, page}, used ? static_cast<double>(order[next++]) : -1.0);
    }
    const TokenRows k_rows(owned.problem, Role::kK, b);
    const TokenRows v_rows(owned.problem, Role::kV, b);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < spec.kv_heads; ++h) {
        for (int64_t c = 0; c < spec.head_dim; ++c) k_rows.Set(t, h, c, rng.Normal());
        for (int64_t c = 0; c < v_head_dim; ++c) v_rows.Set(t, h, c, rng.Normal());
      }
    }
  }
}

void AddDenseKeys(OwnedProblem& owned, const ExampleSpec& spec, int64_t v_head_dim, Rng& rng) {
  const auto sequences = static_cast<int64_t>(spec.key_tokens.size());
  const int64_t longest = sequences == 0 ? 0 : *std::max_element(spec.key_tokens.begin(), spec.key_tokens.end());
  const TensorView k = owned.Add(Role::kK, spec.dtype, {sequences, longest, spec.kv_heads, spec.head_dim});
  const TensorView v = owned.Add(Role::kV, spec.dtype, {sequences, longest, spec.kv_heads, v_head_dim});
  FillNormal(k, 1, rng);
  FillNormal(v, 1, rng);
  if (std::all_of(spec.key_tokens.begin(), spec.key_tokens.end(), [&](int64_t tokens) { return tokens == longest; })) return;
  const TensorView lengths = owned.Add(Role::kLenK, DType::kI64, {sequences});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (int64_t b = 0; b < sequences; ++b) {
    lengths.Set({b}, static_cast<double>(spec.key_tokens[static_cast<size_t>(b)]));
    for (int64_t t = spec.key_tokens[static_cast<size_t>(b)]; t < longest; ++t) {
      for (int64_t h = 0; h < spec.kv_heads; ++h) {
        for (int64_t c = 0; c < spec.head_dim; ++c) k.Set({b, t, h, c}, nan);
        for (int64_t c = 0; c < v_head_dim; ++c) v.Set({b, t, h, c}, nan);
      }
    }
  }
}

Status CheckExampleSpec(std::string_view mechanism, const ExampleSpec& spec) {
  const auto bad = [&](std::string_view why) { return BadInput(fmt::format("{}: an example {}", mechanism, why)); };
  if (spec.query_tokens.size() != spec.key_tokens.size()) return bad("needs one query and one key length for each sequence");
  if (spec.query_heads < 1 || spec.kv_heads < 1 || spec.head_dim < 1 || spec.v_head_dim < 0) return bad("needs heads and widths of at least 1");
  if (spec.query_heads % spec.kv_heads != 0) return bad("needs query heads that are a multiple of the key/value heads");
  if (!IsFloat(spec.dtype)) return bad("has floating-point elements; quantised caches are built from it by the cache itself");
  for (size_t b = 0; b < spec.query_tokens.size(); ++b) {
    if (spec.query_tokens[b] < 0 || spec.key_tokens[b] < 0) return bad("has no negative lengths");
  }
  if (spec.storage == ExampleSpec::Storage::kDense &&
      std::adjacent_find(spec.query_tokens.begin(), spec.query_tokens.end(), std::not_equal_to<>()) != spec.query_tokens.end()) {
    return bad("with unequal query lengths needs packed or paged storage");
  }
  return Ok();
}

}  // namespace

Status CheckSoftmaxProblem(const Problem& problem, std::span<const Role> roles) {
  for (const Argument& argument : problem.arguments) {
    if (std::find(roles.begin(), roles.end(), argument.role) == roles.end()) {
      return Unsupported(fmt::format("{}: it does not read {}; remove it or choose another mechanism", problem.mechanism, NameOf(argument.role)));
    }
  }
  ASSAY_TRY(const Extents extents, ResolveExtents(problem));
  if (!problem.Has(Role::kO)) return BadInput(fmt::format("{}: a problem needs an output O", problem.mechanism));
  if (extents.query_heads % extents.kv_heads != 0) {
    return BadInput(fmt::format("{}: {} query heads are no multiple of {} key/value heads", problem.mechanism, extents.query_heads, extents.kv_heads));
  }
  if (!std::isfinite(problem.scale) || !std::isfinite(problem.softcap) || problem.softcap < 0) {
    return BadInput(fmt::format("{}: scale {} and softcap {} must be finite, softcap not negative", problem.mechanism, problem.scale, problem.softcap));
  }
  if (problem.phase == Phase::kBackward) return Unsupported(fmt::format("{}: gradients are not computed here", problem.mechanism));
  ASSAY_RETURN_IF_ERROR(CheckTokenOutput(problem, Role::kO, "O", extents.v_head_dim));
  ASSAY_RETURN_IF_ERROR(CheckTokenOutput(problem, Role::kLse, "LSE", 0));
  ASSAY_RETURN_IF_ERROR(CheckMask(problem, extents, Role::kMaskBool, "MASK_BOOL"));
  ASSAY_RETURN_IF_ERROR(CheckMask(problem, extents, Role::kMaskAdd, "MASK_ADD"));
  ASSAY_RETURN_IF_ERROR(CheckPerHead(problem, extents, Role::kSink, "SINK"));
  ASSAY_RETURN_IF_ERROR(CheckPerHead(problem, extents, Role::kAlibi, "ALIBI"));
  ASSAY_RETURN_IF_ERROR(CheckPositions(problem, extents, Role::kPosQ, Role::kCuQ, "POS_Q", extents.query_tokens));
  ASSAY_RETURN_IF_ERROR(CheckPositions(problem, extents, Role::kPosK, Role::kCuK, "POS_K", extents.key_tokens));
  ASSAY_RETURN_IF_ERROR(CheckDenseOutput(problem, extents, Role::kWeights, "WEIGHTS"));
  ASSAY_RETURN_IF_ERROR(CheckDenseOutput(problem, extents, Role::kScores, "SCORES"));
  return CheckPages(problem, extents);
}

Status CheckParameters(const Problem& problem, const Mechanism& mechanism) {
  return ParameterSet::Make(mechanism, {}, problem.parameters).ok()
             ? Ok()
             : Status(ParameterSet::Make(mechanism, {}, problem.parameters).error());
}

Result<OwnedProblem> MakeSoftmaxExample(std::string_view mechanism, const ExampleSpec& spec, Rng& rng) {
  ASSAY_RETURN_IF_ERROR(CheckExampleSpec(mechanism, spec));
  const auto sequences = static_cast<int64_t>(spec.query_tokens.size());
  const int64_t v_head_dim = spec.v_head_dim > 0 ? spec.v_head_dim : spec.head_dim;
  const int64_t total_queries = std::accumulate(spec.query_tokens.begin(), spec.query_tokens.end(), int64_t{0});
  const int64_t total_keys = std::accumulate(spec.key_tokens.begin(), spec.key_tokens.end(), int64_t{0});
  const bool dense = spec.storage == ExampleSpec::Storage::kDense;
  const int64_t queries = dense && sequences > 0 ? spec.query_tokens[0] : 0;

  OwnedProblem owned;
  Problem& problem = owned.problem;
  problem.mechanism = mechanism;
  problem.phase = std::all_of(spec.query_tokens.begin(), spec.query_tokens.end(), [](int64_t tokens) { return tokens <= 1; }) ? Phase::kDecode
                                                                                                                                : Phase::kPrefill;
  problem.scale = 1 / std::sqrt(static_cast<double>(spec.head_dim));
  problem.causal = spec.causal;
  const TensorView q = dense ? owned.Add(Role::kQ, spec.dtype, {sequences, queries, spec.query_heads, spec.head_dim})
                             : owned.Add(Role::kQ, spec.dtype, {total_queries, spec.query_heads, spec.head_dim});
  FillNormal(q, spec.logit_std, rng);
  if (!dense) FillCumulative(owned.Add(Role::kCuQ, DType::kI64, {sequences + 1}), spec.query_tokens);
  if (dense) {
    AddDenseKeys(owned, spec, v_head_dim, rng);
  } else if (spec.storage == ExampleSpec::Storage::kPaged) {
    AddPagedKeys(owned, spec, v_head_dim, rng);
  } else {
    FillNormal(owned.Add(Role::kK, spec.dtype, {total_keys, spec.kv_heads, spec.head_dim}), 1, rng);
    FillNormal(owned.Add(Role::kV, spec.dtype, {total_keys, spec.kv_heads, v_head_dim}), 1, rng);
    FillCumulative(owned.Add(Role::kCuK, DType::kI64, {sequences + 1}), spec.key_tokens);
  }
  // Outputs of narrow inputs are wide, so that comparing them shows the computation's error and not the store's.
  const DType out = spec.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  FillNan(dense ? owned.Add(Role::kO, out, {sequences, queries, spec.query_heads, v_head_dim})
                : owned.Add(Role::kO, out, {total_queries, spec.query_heads, v_head_dim}));
  if (spec.with_lse) {
    FillNan(dense ? owned.Add(Role::kLse, out, {sequences, queries, spec.query_heads}) : owned.Add(Role::kLse, out, {total_queries, spec.query_heads}));
  }
  return owned;
}

double VisiblePairs(int64_t new_tokens, int64_t context_tokens, int64_t window_tokens) {
  const auto t = static_cast<double>(new_tokens);
  const auto n = static_cast<double>(context_tokens);
  if (window_tokens <= 0) return t * n + t * (t + 1) / 2;
  const auto w = static_cast<double>(window_tokens);
  // Queries 0 .. growing-1 see fewer than w keys: n + i + 1 <= w.
  const double growing = std::clamp(w - n, 0.0, t);
  return growing * n + growing * (growing + 1) / 2 + (t - growing) * w;
}

CallSizes SizesOf(const CostQuery& query) {
  return {.heads = static_cast<double>(query.shape.query_heads),
          .d = static_cast<double>(query.shape.head_dim),
          .dv = static_cast<double>(ValueWidth(query.shape)),
          .tokens = static_cast<double>(query.new_tokens),
          .sequences = static_cast<double>(query.sequences)};
}

double KvBytesPerToken(const LayerShape& shape, const CostQuery& bytes) {
  const auto widths = static_cast<double>(shape.head_dim + ValueWidth(shape));
  return static_cast<double>(shape.kv_heads) * (widths * bytes.cache_bytes_per_element + bytes.scale_bytes_per_token_head);
}

LayerCost SoftmaxTraffic(const LayerShape& shape, const CostQuery& query, double cached_keys) {
  const auto [heads, d, dv, tokens, sequences] = SizesOf(query);
  const double per_token = KvBytesPerToken(shape, query);
  const double new_rows = static_cast<double>(shape.kv_heads) * (d + dv) * kActivationBytes;
  LayerCost cost;
  cost.bytes_read = sequences * (cached_keys * per_token + tokens * (heads * d * kActivationBytes + new_rows));
  cost.bytes_written = sequences * tokens * (heads * dv * kActivationBytes + per_token);
  return cost;
}

std::vector<Projection> SoftmaxProjections(const LayerShape& shape, const ParameterSet& /*parameters*/) {
  const int64_t v_width = ValueWidth(shape);
  return {{"q", shape.query_heads * shape.head_dim, shape.model_dim},
          {"k", shape.kv_heads * shape.head_dim, shape.model_dim, Projection::Split::kColumns, shape.kv_heads},
          {"v", shape.kv_heads * v_width, shape.model_dim, Projection::Split::kColumns, shape.kv_heads},
          {"o", shape.model_dim, shape.query_heads * v_width, Projection::Split::kRows}};
}

}  // namespace assay
