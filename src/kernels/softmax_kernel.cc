// Driver of the softmax kernel: resolves a Problem into plain pointers and cuts the work into items.
#include "kernels/softmax_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/thread_pool.h"
#include "kernels/dispatch.h"
#include "kernels/driver.h"
#include "kernels/kv_layout.h"
#include "kernels/softmax_plan.h"

namespace assay {
namespace {

struct EpilogueParameter {
  const char* name;
  double otherwise;
};
#define ASSAY_PARAMETERS(name, ...) \
  constexpr EpilogueParameter kParametersOf##name[] = {__VA_ARGS__ __VA_OPT__(, ) EpilogueParameter{nullptr, 0}};
ASSAY_EPILOGUES(ASSAY_PARAMETERS)
#undef ASSAY_PARAMETERS
constexpr const EpilogueParameter* kEpilogueParameters[] = {
#define ASSAY_PARAMETER_LIST(name, ...) kParametersOf##name,
    ASSAY_EPILOGUES(ASSAY_PARAMETER_LIST)
#undef ASSAY_PARAMETER_LIST
};

// What pages hold: bf16 where Q, K and V all are; a cheaper cache as it is, decoded as it is read; else floats.
PageElement ElementOf(const Problem& problem, const Extents& extents, bool floats_only) {
  const DType k = problem.Get(Role::kK).dtype;
  if (problem.Has(Role::kV) && problem.Get(Role::kV).dtype != k) return PageElement::kF32;
  if (k == DType::kBf16 && problem.Get(Role::kQ).dtype == DType::kBf16) return PageElement::kBf16;
  if (floats_only) return PageElement::kF32;
  switch (k) {
    case DType::kI8: return PageElement::kI8;
    case DType::kI4: return PageElement::kI4;
    case DType::kE4m3: return PageElement::kE4m3;
    case DType::kF16: break;
    default: return PageElement::kF32;
  }
  // Both ways give the same bits: a page that few rows read is worth decoding once a row tile, one that many read is widened when packed.
  const int64_t most = extents.query_tokens.empty() ? 0 : *std::max_element(extents.query_tokens.begin(), extents.query_tokens.end());
  return most * extents.query_heads <= kSoftmaxBlockRows * extents.kv_heads ? PageElement::kF16 : PageElement::kF32;
}

DType PageDType(PageElement element) {
  switch (element) {
    case PageElement::kF32: return DType::kF32;
    case PageElement::kBf16: return DType::kBf16;
    case PageElement::kF16: return DType::kF16;
    case PageElement::kE4m3: return DType::kE4m3;
    case PageElement::kI8: return DType::kI8;
    case PageElement::kI4: return DType::kI4;
  }
  ASSAY_CHECK(false, "unknown page element");
}

int EpilogueOf(const Problem& problem, const Kernel& self) {
  return self.epilogue == epilogue::kIdentity && problem.softcap > 0 ? static_cast<int>(epilogue::kSoftcap) : self.epilogue;
}

// Width of V: its own; values that are the leading channels of K (absorbed latent attention) have O's width.
int64_t ValueWidth(const Problem& problem, const Extents& extents) {
  if (problem.Has(Role::kV)) return extents.v_head_dim;
  const TensorView& o = problem.Get(Role::kO);
  return o.shape[static_cast<size_t>(o.rank - 1)];
}

MaskAccess Mask(const TensorView* view, int64_t sequence) {
  MaskAccess mask;
  if (view == nullptr) return mask;
  // Axes from the right; a missing one or one of extent 1 is the same for all.
  const auto stride = [&](int from_end) {
    const int axis = view->rank - from_end;
    return axis < 0 || view->shape[static_cast<size_t>(axis)] == 1 ? 0 : view->stride[static_cast<size_t>(axis)];
  };
  mask.dtype = static_cast<int>(view->dtype);
  mask.key_stride = stride(1);
  mask.query_stride = stride(2);
  mask.head_stride = stride(3);
  const int64_t keys = view->shape[static_cast<size_t>(view->rank - 1)];
  mask.keys = keys == 1 ? -1 : keys;
  mask.data = static_cast<const char*>(view->data) + sequence * stride(4) * (BitsOf(view->dtype) / 8);
  return mask;
}

// Positions beyond this differ by less than any window can tell, and their differences cannot overflow.
int64_t ClampPosition(int64_t position) {
  constexpr int64_t kFarthest = int64_t{1} << 50;
  return std::clamp(position, -kFarthest, kFarthest);
}

}  // namespace

SoftmaxPlan::SoftmaxPlan(const Problem& problem, const Kernel& self, const Extents& extents, const KernelTable& table, ThreadPool* pool)
    : problem_(problem), extents_(extents), table_(table), pool_(pool) {
  args_.epilogue = EpilogueOf(problem, self);
  for (int i = 0; i < epilogue::kMaxParameters; ++i) {
    const EpilogueParameter& parameter = kEpilogueParameters[args_.epilogue][i];
    if (parameter.name == nullptr) break;
    args_.parameter[i] = static_cast<float>(problem.Parameter(parameter.name, parameter.otherwise));
  }
}

Status SoftmaxPlan::Prepare(const PageSelection* selection, IntegerProducts products) {
  if (selection != nullptr) selection_ = *selection;
  extents_.v_head_dim = ValueWidth(problem_, extents_);
  // Bounds of pages, and rows of norm 1, are taken from floats.
  args_.element = ElementOf(problem_, extents_, selection_.has_value() || table_.epilogue_traits[args_.epilogue].unit_rows);
  KvFormat format{.dtype = PageDType(args_.element)};
  if (IsQuantised(args_.element)) {
    format.k_scale = problem_.k_scale;
    format.v_scale = problem_.Has(Role::kV) ? problem_.v_scale : problem_.k_scale;
    if (!KvLayout::Make(format, extents_.kv_heads, extents_.head_dim, extents_.v_head_dim).ok()) {  // integers without scales
      args_.element = PageElement::kF32;
      format = {.dtype = DType::kF32};
    }
  }
  ASSAY_TRY(layout_, KvLayout::Make(format, extents_.kv_heads, extents_.head_dim, extents_.v_head_dim));
  args_.page_dtype = static_cast<int>(format.dtype);
  args_.short_products = products == IntegerProducts::kShorts && (args_.element == PageElement::kI8 || args_.element == PageElement::kI4);
  args_.k_scale = static_cast<PageScale>(format.k_scale);
  args_.v_scale = static_cast<PageScale>(format.v_scale);
  args_.k_scale_offset = layout_.k_block_bytes + layout_.v_block_bytes;
  args_.v_scale_offset = args_.k_scale_offset + layout_.k_scale_bytes;
  args_.query_heads = extents_.query_heads;
  args_.group = extents_.query_heads / extents_.kv_heads;
  args_.head_dim = extents_.head_dim;
  args_.v_head_dim = extents_.v_head_dim;
  args_.padded_v = layout_.padded_v;
  args_.head_bytes = layout_.head_bytes;
  args_.v_offset = layout_.k_block_bytes;
  args_.note_offset = layout_.note_offset();
  args_.scale = static_cast<float>(problem_.scale);
  args_.softcap = static_cast<float>(problem_.softcap);
  args_.causal = problem_.causal != Causal::kNone;
  args_.window_left = problem_.window_left < 0 ? -1 : ClampPosition(problem_.window_left);
  args_.window_right = problem_.window_right < 0 ? -1 : ClampPosition(problem_.window_right);
  args_.load = LoadSigned;
  args_.store = StoreSigned;
  const auto per_head = [&](Role role) {
    RowAccess access;
    if (const TensorView* view = problem_.Find(role); view != nullptr) {
      access.data = view->data;
      access.dtype = static_cast<int>(view->dtype);
      access.head_stride = view->stride[0];
    }
    return access;
  };
  args_.sink = per_head(Role::kSink);
  args_.alibi = per_head(Role::kAlibi);
  const bool pairs = args_.element == PageElement::kBf16 && table_.native_pairs;
  target_ = fmt::format("{}/{}{}", table_.name, NameOf(format.dtype), pairs ? "-p16" : args_.short_products ? "-q16" : "");
  ASSAY_RETURN_IF_ERROR(AllocatePages());
  DescribeSequences();
  if (selection_) AllocateSelection();
  CutItems();
  return Ok();
}

Status SoftmaxPlan::AllocatePages() {
  int64_t pages = 0;
  for (const int64_t keys : extents_.key_tokens) pages += (keys + kKvPageTokens - 1) / kKvPageTokens;
  constexpr int64_t kMostBytes = int64_t{1} << 44;
  if (pages > 0 && layout_.page_bytes > kMostBytes / pages) return Unsupported("the keys and values do not fit into memory");
  memory_ = Tensor(DType::kU8, {pages * layout_.page_bytes});
  auto* next = memory_.data<std::byte>();
  page_pointers_.reserve(static_cast<size_t>(pages));
  for (int64_t b = 0; b < extents_.sequences; ++b) {
    const int64_t keys = extents_.key_tokens[static_cast<size_t>(b)];
    for (int64_t first = 0; first < keys; first += kKvPageTokens) {
      page_pointers_.push_back(reinterpret_cast<unsigned char*>(next));
      pack_items_.push_back({b, first, std::min<int64_t>(kKvPageTokens, keys - first), {next}});
      next += layout_.page_bytes;
    }
  }
  return Ok();
}

void SoftmaxPlan::DescribeSequences() {
  const TensorView* cu_q = problem_.Find(Role::kCuQ);
  const TensorView* pos_q = problem_.Find(Role::kPosQ);
  const TensorView* pos_k = problem_.Find(Role::kPosK);
  const TensorView* lse = problem_.Find(Role::kLse);
  int64_t first_page = 0;
  int64_t queries_before = 0;
  int64_t keys_before = 0;
  sequences_.resize(static_cast<size_t>(extents_.sequences));
  int64_t all_queries = 0;
  int64_t all_keys = 0;
  for (size_t b = 0; b < sequences_.size(); ++b) {
    all_queries += extents_.query_tokens[b];
    all_keys += extents_.key_tokens[b];
  }
  if (pos_q != nullptr) query_positions_.resize(static_cast<size_t>(all_queries));
  if (pos_k != nullptr) key_positions_.resize(static_cast<size_t>(all_keys));
  if (pos_k != nullptr) page_bounds_.resize(2 * page_pointers_.size());
  for (int64_t b = 0; b < extents_.sequences; ++b) {
    SoftmaxSequence& sequence = sequences_[static_cast<size_t>(b)];
    sequence.query_tokens = extents_.query_tokens[static_cast<size_t>(b)];
    sequence.key_tokens = extents_.key_tokens[static_cast<size_t>(b)];
    const int64_t first = cu_q != nullptr ? static_cast<int64_t>(cu_q->At({b})) : 0;
    sequence.q = RowsOf(problem_.Get(Role::kQ), RowShape::kChannels, first, b);
    sequence.o = RowsOf(problem_.Get(Role::kO), RowShape::kChannels, first, b);
    if (lse != nullptr) sequence.lse = RowsOf(*lse, RowShape::kPerHeadScalar, first, b);
    sequence.mask_bool = Mask(problem_.Find(Role::kMaskBool), b);
    sequence.mask_add = Mask(problem_.Find(Role::kMaskAdd), b);
    if (problem_.causal != Causal::kTopLeft) sequence.alignment = sequence.key_tokens - sequence.query_tokens;
    sequence.pages = page_pointers_.data() + first_page;
    if (pos_q != nullptr) sequence.query_position = query_positions_.data() + queries_before;
    if (pos_k != nullptr) {
      sequence.key_position = key_positions_.data() + keys_before;
      sequence.page_position_min = page_bounds_.data() + first_page;
      sequence.page_position_max = page_bounds_.data() + page_pointers_.size() + static_cast<size_t>(first_page);
    }
    first_page += (sequence.key_tokens + kKvPageTokens - 1) / kKvPageTokens;
    queries_before += sequence.query_tokens;
    keys_before += sequence.key_tokens;
  }
  args_.sequences = sequences_.data();
}

// Segments that some row of the item may see, by position; positions given as data are not known before a run.
void SoftmaxPlan::LimitSegments(const SoftmaxSequence& sequence, SoftmaxItem& item) const {
  const int64_t segment_keys = kSoftmaxSegmentPages * kSoftmaxPageTokens;
  const auto all = static_cast<int32_t>((sequence.key_tokens + segment_keys - 1) / segment_keys);
  item.segment_end = all;
  if (sequence.query_position != nullptr || sequence.key_position != nullptr) return;
  if (selection_) {
    item.segment_end = static_cast<int32_t>((std::min(selection_->page_budget, (sequence.key_tokens + kSoftmaxPageTokens - 1) / kSoftmaxPageTokens) +
                                             kSoftmaxSegmentPages - 1) / kSoftmaxSegmentPages);
    return;
  }
  const int64_t lowest = sequence.alignment + item.row_begin / args_.group;
  const int64_t highest = sequence.alignment + (item.row_begin + item.row_count - 1) / args_.group;
  int64_t right = args_.window_right;
  if (args_.causal) right = 0;
  const auto segment_of = [&](int64_t key) {
    return static_cast<int32_t>(std::clamp<int64_t>(key < 0 ? -1 : key / segment_keys, -1, all - 1));
  };
  if (right >= 0) item.segment_end = segment_of(highest + right) + 1;
  if (args_.window_left >= 0) item.segment_begin = std::max(0, segment_of(lowest - args_.window_left));
  item.segment_end = std::max(item.segment_end, item.segment_begin);
}

void SoftmaxPlan::CutItems() {
  std::vector<SoftmaxItem> rows;
  int most_segments = 0;
  for (int64_t b = 0; b < extents_.sequences; ++b) {
    const SoftmaxSequence& sequence = sequences_[static_cast<size_t>(b)];
    for (int64_t head = 0; head < extents_.kv_heads; ++head) {
      // Rows of one item share their pages: all tokens, or the heads of one token.
      const int64_t all_rows = sequence.query_tokens * args_.group;
      for (int64_t row = 0, count = 0; row < all_rows; row += count) {
        count = std::min<int64_t>(kSoftmaxBlockRows, all_rows - row);
        if (selection_) count = std::min(count, args_.group - row % args_.group);
        SoftmaxItem item;
        item.sequence = static_cast<int32_t>(b);
        item.kv_head = static_cast<int32_t>(head);
        item.row_begin = row;
        item.row_count = static_cast<int32_t>(count);
        LimitSegments(sequence, item);
        most_segments = std::max(most_segments, item.segment_end - item.segment_begin);
        rows.push_back(item);
      }
    }
  }
  const size_t workers = pool_ == nullptr ? 1 : static_cast<size_t>(pool_->workers());
  // Bits do not depend on this choice: an item merges its segments in order, whoever computed them.
  const bool split = most_segments > 1 && (problem_.splits > 1 || (problem_.splits == 0 && workers > 1 && rows.size() < 8 * workers));
  if (!split) {
    items_ = std::move(rows);
  } else {
    merges_ = std::move(rows);
    SplitItems();
  }
  item_bounds_ = BalancedBounds(items_, workers);
  const int64_t floats = SoftmaxScratchFloats(args_);
  scratch_ = Tensor(DType::kF32, {static_cast<int64_t>(workers), floats});
}

void SoftmaxPlan::SplitItems() {
  const int64_t row_floats = kPartialHeader + args_.padded_v;
  int64_t floats = 0;
  for (const SoftmaxItem& item : merges_) floats += (item.segment_end - item.segment_begin) * item.row_count * row_floats;
  partial_memory_ = Tensor(DType::kF32, {floats});
  auto* next = partial_memory_.data<float>();
  for (const SoftmaxItem& item : merges_) {
    partial_begin_.push_back(partials_.size());
    for (int32_t segment = item.segment_begin; segment < item.segment_end; ++segment) {
      SoftmaxItem part = item;
      part.segment_begin = segment;
      part.segment_end = segment + 1;
      part.partial = next;
      partials_.push_back(next);
      items_.push_back(part);
      next += item.row_count * row_floats;
    }
  }
  partial_begin_.push_back(partials_.size());
}

// Contiguous ranges of about equal cost, so that causal items (late rows see more keys) keep all workers busy.
std::vector<size_t> SoftmaxPlan::BalancedBounds(const std::vector<SoftmaxItem>& items, size_t workers) const {
  const auto cost = [&](const SoftmaxItem& item) {
    const SoftmaxSequence& sequence = sequences_[static_cast<size_t>(item.sequence)];
    double keys = static_cast<double>(sequence.key_tokens);
    if (args_.causal && sequence.query_position == nullptr && sequence.key_position == nullptr) {
      const int64_t last = sequence.alignment + (item.row_begin + item.row_count) / args_.group;
      keys = static_cast<double>(std::clamp<int64_t>(last, 0, sequence.key_tokens));
    }
    if (item.partial != nullptr) keys = std::min(keys, static_cast<double>(kSoftmaxSegmentPages * kSoftmaxPageTokens));
    return 1.0 + static_cast<double>(item.row_count) * (keys + 16);
  };
  double total = 0;
  for (const SoftmaxItem& item : items) total += cost(item);
  std::vector<size_t> bounds = {0};
  double seen = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    seen += cost(items[i]);
    while (bounds.size() < workers && seen >= total * static_cast<double>(bounds.size()) / static_cast<double>(workers)) bounds.push_back(i + 1);
  }
  while (bounds.size() < workers + 1) bounds.push_back(items.size());
  bounds.back() = items.size();
  return bounds;
}

void SoftmaxPlan::ReadPositions() noexcept {
  const TensorView* pos_q = problem_.Find(Role::kPosQ);
  const TensorView* pos_k = problem_.Find(Role::kPosK);
  const TensorView* cu_q = problem_.Find(Role::kCuQ);
  const TensorView* cu_k = problem_.Find(Role::kCuK);
  const auto read = [](const TensorView& view, const TensorView* cu, int64_t b, int64_t token) {
    const int64_t first = cu != nullptr ? static_cast<int64_t>(cu->At({b})) : 0;
    const double value = view.rank == 1 ? view.At({first + token}) : view.At({b, token});
    return ClampPosition(static_cast<int64_t>(value));
  };
  size_t query = 0;
  size_t key = 0;
  size_t page = 0;
  for (int64_t b = 0; b < extents_.sequences; ++b) {
    for (int64_t t = 0; pos_q != nullptr && t < extents_.query_tokens[static_cast<size_t>(b)]; ++t) {
      query_positions_[query++] = read(*pos_q, cu_q, b, t);
    }
    const int64_t keys = extents_.key_tokens[static_cast<size_t>(b)];
    for (int64_t t = 0; pos_k != nullptr && t < keys; ++t) {
      const int64_t position = read(*pos_k, cu_k, b, t);
      key_positions_[key++] = position;
      int64_t& low = page_bounds_[page + static_cast<size_t>(t / kKvPageTokens)];
      int64_t& high = page_bounds_[page + page_pointers_.size() + static_cast<size_t>(t / kKvPageTokens)];
      low = t % kKvPageTokens == 0 ? position : std::min(low, position);
      high = t % kKvPageTokens == 0 ? position : std::max(high, position);
    }
    page += static_cast<size_t>((keys + kKvPageTokens - 1) / kKvPageTokens);
  }
}

void SoftmaxPlan::AllocateSelection() {
  int64_t floats = 0;
  size_t lists = 0;
  for (size_t b = 0; b < sequences_.size(); ++b) {
    const int64_t pages = (sequences_[b].key_tokens + kKvPageTokens - 1) / kKvPageTokens;
    bounds_begin_.push_back(floats);
    floats += 2 * extents_.kv_heads * extents_.head_dim * pages;
    most_pages_ = std::max(most_pages_, pages);
    lists += static_cast<size_t>(extents_.kv_heads * sequences_[b].query_tokens);
  }
  bounds_ = Tensor(DType::kF32, {floats});
  page_lists_.resize(lists * static_cast<size_t>(most_pages_));
  page_counts_.resize(lists);
  page_scores_.resize(2 * static_cast<size_t>(most_pages_ * (pool_ == nullptr ? 1 : pool_->workers())));
  size_t list = 0;
  for (size_t b = 0; b < sequences_.size(); ++b) {
    SoftmaxSequence& sequence = sequences_[b];
    sequence.page_lists = page_lists_.data() + list * static_cast<size_t>(most_pages_);
    sequence.page_counts = page_counts_.data() + list;
    sequence.page_list_stride = most_pages_;
    for (int64_t head = 0; head < extents_.kv_heads; ++head) {
      for (int64_t token = 0; token < sequence.query_tokens; ++token) selection_items_.push_back({static_cast<int64_t>(b), head, token});
    }
    list += static_cast<size_t>(extents_.kv_heads * sequence.query_tokens);
  }
}

PageBounds SoftmaxPlan::BoundsOf(int64_t sequence, int64_t kv_head) const {
  const auto b = static_cast<size_t>(sequence);
  const int64_t pages = (extents_.key_tokens[b] + kKvPageTokens - 1) / kKvPageTokens;
  const int64_t size = extents_.head_dim * pages;
  float* low = bounds_.data<float>() + bounds_begin_[b] + 2 * kv_head * size;
  return {low, low + size, pages};
}

// Scores and selects the pages of one query token and key/value head (page_select.h has the definition).
void SoftmaxPlan::SelectPages(int64_t b, int64_t kv_head, int64_t token, int worker) noexcept {
  SoftmaxSequence& sequence = sequences_[static_cast<size_t>(b)];
  const PageBounds bounds = BoundsOf(b, kv_head);
  const int64_t list = kv_head * sequence.query_tokens + token;
  const int64_t position = sequence.alignment + token;
  int64_t last_key = sequence.key_tokens - 1;
  if (args_.causal) last_key = std::min(last_key, position);
  if (args_.window_right >= 0) last_key = std::min(last_key, position + args_.window_right);
  const int64_t first_key = args_.window_left >= 0 ? std::max<int64_t>(0, position - args_.window_left) : 0;
  const int64_t begin = first_key / kKvPageTokens;
  const int64_t end = last_key < first_key ? begin : last_key / kKvPageTokens + 1;
  double* scores = page_scores_.data() + 2 * most_pages_ * worker;
  double* sums = scores + most_pages_;
  std::fill(scores + begin, scores + end, -std::numeric_limits<double>::infinity());
  float* query = scratch_.data<float>() + worker * scratch_.view().shape[1];
  for (int64_t head = kv_head * args_.group; head < (kv_head + 1) * args_.group; ++head) {
    const int64_t offset = token * sequence.q.token_stride + head * sequence.q.head_stride;
    for (int64_t c = 0; c < args_.head_dim; ++c) {
      query[c] = static_cast<float>(LoadSigned(sequence.q.data, sequence.q.dtype, offset + c * sequence.q.channel_stride));
    }
    RaisePageScores(query, args_.head_dim, bounds, begin, end, scores, sums);
  }
  auto* lists = const_cast<int32_t*>(sequence.page_lists);  // this plan's own page_lists_
  auto* counts = const_cast<int32_t*>(sequence.page_counts);
  counts[list] = static_cast<int32_t>(SelectTopPages(scores, begin, end, *selection_, lists + list * most_pages_));
}

void SoftmaxPlan::SelectAllPages() noexcept {
  ForEachWorker([&](int worker) {
    const ItemRange range = StaticRange(selection_items_.size(), pool_ == nullptr ? 1 : pool_->workers(), worker);
    for (size_t i = range.begin; i < range.end; ++i) {
      SelectPages(selection_items_[i].sequence, selection_items_[i].kv_head, selection_items_[i].token, worker);
    }
  });
}

void SoftmaxPlan::Run() noexcept {
  if (selection_) SelectAllPages();
  if (!query_positions_.empty() || !key_positions_.empty()) ReadPositions();
  const auto scratch = [&](int worker) { return SoftmaxScratch{scratch_.data<float>() + worker * scratch_.view().shape[1]}; };
  const SoftmaxRun run = table_.softmax_run[static_cast<int>(args_.element)];
  ForEachWorker([&](int worker) {
    for (size_t i = item_bounds_[static_cast<size_t>(worker)]; i < item_bounds_[static_cast<size_t>(worker) + 1]; ++i) {
      run(args_, items_[i], scratch(worker));
    }
  });
  if (merges_.empty()) return;
  ForEachWorker([&](int worker) {
    const ItemRange range = StaticRange(merges_.size(), pool_ == nullptr ? 1 : pool_->workers(), worker);
    for (size_t i = range.begin; i < range.end; ++i) {
      table_.softmax_merge(args_, merges_[i], partials_.data() + partial_begin_[i],
                           static_cast<int64_t>(partial_begin_[i + 1] - partial_begin_[i]), scratch(worker));
    }
  });
}

Result<std::unique_ptr<Plan>> PrepareSoftmaxOn(const KernelTable& table, const Problem& problem, const Kernel& self, ThreadPool* pool,
                                               IntegerProducts products) {
  ASSAY_RETURN_IF_ERROR(CheckSoftmaxTile(problem, self));
  ASSAY_TRY(const Extents extents, ResolveExtents(problem));
  auto plan = std::make_unique<SoftmaxPlan>(problem, self, extents, table, pool);
  ASSAY_RETURN_IF_ERROR(plan->Prepare(nullptr, products));
  return std::unique_ptr<Plan>(std::move(plan));
}

Result<std::unique_ptr<Plan>> PrepareSoftmaxTile(const Problem& problem, const Kernel& self, const KernelEnv& env) {
  ASSAY_TRY(const KernelTable* table, TableFor(env.backend));
  return PrepareSoftmaxOn(*table, problem, self, env.pool, env.products);
}

int64_t SoftmaxScratchFloats(const SoftmaxArgs& args) {
  const auto rounded = [](int64_t n) { return (n + 15) / 16 * 16; };
  const int64_t rows = kSoftmaxBlockRows, dim = rounded(args.head_dim);
  const int64_t tile = kSoftmaxTileRows * kSoftmaxBlockPages * kSoftmaxPageTokens;
  int64_t floats = rows * dim + kSoftmaxTileRows * dim + 2 * rounded(rows * args.padded_v) + 3 * rounded(rows) + rounded(rows * 16) +
                   3 * rounded(tile) + rounded(tile / 2);
  if (args.short_products) floats += rows * dim + rows * dim / 2 + rounded(rows) + rounded(dim / 2) + rounded(tile / 2) + rounded(kSoftmaxTileRows * kSoftmaxBlockPages);
  return rounded(floats) + 16;
}

}  // namespace assay
