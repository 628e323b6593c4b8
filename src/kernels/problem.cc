#include "kernels/problem.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace assay {
namespace {

int64_t IntegerAt(const TensorView& view, int64_t index) {
  return static_cast<int64_t>(LoadElement(view.data, view.dtype, static_cast<size_t>(index * view.stride[0])));
}

// The element `offset` elements from the base, which a negative stride may put below it.
double ReadAt(const TensorView& view, int64_t offset) {
  if (offset >= 0) return LoadElement(view.data, view.dtype, static_cast<size_t>(offset));
  return LoadElement(static_cast<const char*>(view.data) + offset * (BitsOf(view.dtype) / 8), view.dtype, 0);
}

void WriteAt(const TensorView& view, int64_t offset, double value) {
  if (offset >= 0) return StoreElement(view.data, view.dtype, static_cast<size_t>(offset), value);
  StoreElement(static_cast<char*>(view.data) + offset * (BitsOf(view.dtype) / 8), view.dtype, 0, value);
}

// Masks broadcast from the right, as in NumPy, to the axes [B, Hq, T, S]; extent 1 means "the same for all".
int64_t BroadcastOffset(const TensorView& view, const std::array<int64_t, 4>& index) {
  int64_t offset = 0;
  for (int axis = 0; axis < view.rank; ++axis) {
    const auto i = static_cast<size_t>(axis);
    if (view.shape[i] > 1) offset += index[static_cast<size_t>(axis + 4 - view.rank)] * view.stride[i];
  }
  return offset;
}

// Keys beyond a mask's last axis are not covered by it, and so not visible.
bool Covers(const TensorView& mask, int64_t key) {
  const int64_t extent = mask.shape[static_cast<size_t>(mask.rank - 1)];
  return extent == 1 || key < extent;
}

bool IsKeyWise(Role role) {
  return role == Role::kK || role == Role::kV || role == Role::kKScale || role == Role::kVScale;
}

}  // namespace

const TensorView* Problem::Find(Role role) const {
  for (const Argument& argument : arguments) {
    if (argument.role == role) return &argument.tensor;
  }
  return nullptr;
}

const TensorView& Problem::Get(Role role) const {
  const TensorView* view = Find(role);
  ASSAY_CHECK(view != nullptr, "a role that a check should have asked for");
  return *view;
}

double Problem::Parameter(std::string_view name, double otherwise) const {
  for (const ParameterValue& parameter : parameters) {
    if (parameter.name == name) return parameter.value;
  }
  return otherwise;
}

Result<Extents> ResolveExtents(const Problem& problem) {
  if (!problem.Has(Role::kQ) || !problem.Has(Role::kK)) {
    return BadInput(fmt::format("{}: a problem needs Q and K", problem.mechanism));
  }
  const TensorView& q = problem.Get(Role::kQ);
  const TensorView& k = problem.Get(Role::kK);
  // Absorbed latent attention has no V of its own: its values are the leading channels of K.
  const TensorView& v = problem.Has(Role::kV) ? problem.Get(Role::kV) : k;
  const TensorView* cu_q = problem.Find(Role::kCuQ);
  const TensorView* cu_k = problem.Find(Role::kCuK);
  const TensorView* len_k = problem.Find(Role::kLenK);
  const TensorView* pages = problem.Find(Role::kPageTable);
  const auto contradiction = [&](std::string_view why) {
    return BadInput(fmt::format("{}: {} (Q {}, K {}, V {})", problem.mechanism, why, ShapeString(q), ShapeString(k), ShapeString(v)));
  };
  if (q.rank != (cu_q != nullptr ? 3 : 4)) return contradiction("Q is [B,T,H,D], or [total,H,D] with CU_Q");
  if (k.rank != (cu_k != nullptr ? 3 : 4)) return contradiction("K is [B,S,H,D], [pages,tokens,H,D], or [total,H,D] with CU_K");
  if (v.rank != k.rank) return contradiction("K and V need one storage form");
  if (pages != nullptr && (len_k == nullptr || problem.page_tokens <= 0 || cu_k != nullptr)) {
    return contradiction("paged keys need PAGE_TABLE, LEN_K and page_tokens > 0, and no CU_K");
  }
  const auto from_end = [](const TensorView& view, int axis) { return view.shape[static_cast<size_t>(view.rank - axis)]; };

  Extents extents;
  extents.query_heads = from_end(q, 2);
  extents.kv_heads = from_end(k, 2);
  extents.head_dim = from_end(q, 1);
  extents.v_head_dim = from_end(v, 1);
  if (from_end(k, 1) != extents.head_dim) return contradiction("Q and K differ in width");
  if (extents.kv_heads < 1 || extents.query_heads < 1) return contradiction("a problem has at least one head");
  extents.sequences = cu_q != nullptr ? cu_q->shape[0] - 1 : q.shape[0];
  if (extents.sequences < 0) return contradiction("CU_Q has B + 1 entries");
  if (cu_k != nullptr && cu_k->shape[0] != extents.sequences + 1) return contradiction("CU_K has B + 1 entries");
  if (pages != nullptr && pages->shape[0] != extents.sequences) return contradiction("PAGE_TABLE has a row a sequence");
  if (pages == nullptr && cu_k == nullptr && k.shape[0] != extents.sequences) return contradiction("Q and K differ in sequences");

  for (int64_t b = 0; b < extents.sequences; ++b) {
    const int64_t queries = cu_q != nullptr ? IntegerAt(*cu_q, b + 1) - IntegerAt(*cu_q, b) : q.shape[1];
    int64_t room = cu_k != nullptr ? IntegerAt(*cu_k, b + 1) - IntegerAt(*cu_k, b) : k.shape[1];
    if (pages != nullptr) room = pages->shape[1] * problem.page_tokens;
    const int64_t keys = len_k != nullptr ? IntegerAt(*len_k, b) : room;
    if (queries < 0 || keys < 0 || keys > room) return contradiction("a length is negative or beyond its buffer");
    extents.query_tokens.push_back(queries);
    extents.key_tokens.push_back(keys);
  }
  return extents;
}

TokenRows::TokenRows(const Problem& problem, Role role, int64_t sequence) : tensor_(problem.Get(role)), sequence_(sequence) {
  const bool key_wise = IsKeyWise(role);
  if (const TensorView* cu = problem.Find(key_wise ? Role::kCuK : Role::kCuQ); cu != nullptr) {
    packed_ = true;
    first_token_ = IntegerAt(*cu, sequence);
  }
  if (key_wise && problem.page_tokens > 0) {
    page_table_ = problem.Find(Role::kPageTable);
    page_tokens_ = problem.page_tokens;
  }
  if (role == Role::kK && problem.k_scale != ScaleGranularity::kNone) {
    scale_ = &problem.Get(Role::kKScale);
    granularity_ = problem.k_scale;
  } else if (role == Role::kV && problem.v_scale != ScaleGranularity::kNone) {
    scale_ = &problem.Get(Role::kVScale);
    granularity_ = problem.v_scale;
  }
}

// Storage axes of a token: (page, slot), (row) or (sequence, token); then head and, unless the role is a scalar a head, channel.
int64_t TokenRows::Offset(int64_t token, int64_t head, int64_t channel) const {
  const auto& stride = tensor_.stride;
  size_t axis = 0;
  int64_t offset = 0;
  if (page_table_ != nullptr) {
    const auto page = static_cast<int64_t>(page_table_->At({sequence_, token / page_tokens_}));
    offset = page * stride[0] + token % page_tokens_ * stride[1];
    axis = 2;
  } else if (packed_) {
    offset = (first_token_ + token) * stride[0];
    axis = 1;
  } else {
    offset = sequence_ * stride[0] + token * stride[1];
    axis = 2;
  }
  offset += head * stride[axis];
  if (static_cast<int>(axis) + 1 < tensor_.rank) offset += channel * stride[axis + 1];
  return offset;
}

double TokenRows::ScaleAt(int64_t token, int64_t head, int64_t channel) const {
  if (granularity_ == ScaleGranularity::kPerPageChannel) return scale_->At({sequence_, token / 64, head, channel});
  // Scales per token and per group are stored exactly as the values are, with a narrower last axis.
  TokenRows scales = *this;
  scales.tensor_ = *scale_;
  scales.granularity_ = ScaleGranularity::kNone;
  return scales.At(token, head, granularity_ == ScaleGranularity::kPerGroup32 ? channel / 32 : 0);
}

double TokenRows::At(int64_t token, int64_t head, int64_t channel) const {
  const double raw = ReadAt(tensor_, Offset(token, head, channel));
  return granularity_ == ScaleGranularity::kNone ? raw : raw * ScaleAt(token, head, channel);
}

void TokenRows::Set(int64_t token, int64_t head, int64_t channel, double value) const {
  WriteAt(tensor_, Offset(token, head, channel), value);
}

Visibility::Visibility(const Problem& problem, const Extents& extents, int64_t sequence)
    : problem_(problem),
      mask_bool_(problem.Find(Role::kMaskBool)),
      mask_add_(problem.Find(Role::kMaskAdd)),
      alibi_(problem.Find(Role::kAlibi)),
      pos_q_(problem.Find(Role::kPosQ)),
      pos_k_(problem.Find(Role::kPosK)),
      sequence_(sequence) {
  if (const TensorView* cu = problem.Find(Role::kCuQ); cu != nullptr) first_query_ = IntegerAt(*cu, sequence);
  if (const TensorView* cu = problem.Find(Role::kCuK); cu != nullptr) first_key_ = IntegerAt(*cu, sequence);
  const auto b = static_cast<size_t>(sequence);
  if (problem.causal != Causal::kTopLeft) alignment_ = extents.key_tokens[b] - extents.query_tokens[b];
}

int64_t Visibility::QueryPosition(int64_t query) const {
  if (pos_q_ == nullptr) return alignment_ + query;
  return pos_q_->rank == 1 ? IntegerAt(*pos_q_, first_query_ + query) : static_cast<int64_t>(pos_q_->At({sequence_, query}));
}

int64_t Visibility::KeyPosition(int64_t key) const {
  if (pos_k_ == nullptr) return key;
  return pos_k_->rank == 1 ? IntegerAt(*pos_k_, first_key_ + key) : static_cast<int64_t>(pos_k_->At({sequence_, key}));
}

bool Visibility::Allowed(int64_t query_head, int64_t query, int64_t key) const {
  const int64_t ahead = KeyPosition(key) - QueryPosition(query);
  if (problem_.causal != Causal::kNone && ahead > 0) return false;
  if (problem_.window_left >= 0 && -ahead > problem_.window_left) return false;
  if (problem_.window_right >= 0 && ahead > problem_.window_right) return false;
  const std::array<int64_t, 4> index = {sequence_, query_head, query, key};
  if (mask_bool_ != nullptr && (!Covers(*mask_bool_, key) || ReadAt(*mask_bool_, BroadcastOffset(*mask_bool_, index)) == 0)) return false;
  if (mask_add_ != nullptr && (!Covers(*mask_add_, key) || ReadAt(*mask_add_, BroadcastOffset(*mask_add_, index)) == -INFINITY)) return false;
  return true;
}

double Visibility::Bias(int64_t query_head, int64_t query, int64_t key) const {
  double bias = 0;
  if (mask_add_ != nullptr) bias += ReadAt(*mask_add_, BroadcastOffset(*mask_add_, {sequence_, query_head, query, key}));
  if (alibi_ != nullptr) bias += alibi_->At({query_head}) * static_cast<double>(KeyPosition(key) - QueryPosition(query));
  return bias;
}

TensorView OwnedProblem::Add(Role role, DType dtype, std::initializer_list<int64_t> shape) { return Adopt(role, Tensor(dtype, shape)); }

TensorView OwnedProblem::Adopt(Role role, Tensor tensor) {
  tensors.push_back(std::move(tensor));
  problem.arguments.push_back({role, tensors.back().view()});
  return tensors.back().view();
}

}  // namespace assay
