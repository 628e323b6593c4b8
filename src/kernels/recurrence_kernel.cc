// Driver of the recurrence kernels: resolves a Problem into plain pointers and cuts the work into (sequence, head[, column strip]).
#include "kernels/recurrence_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/thread_pool.h"
#include "kernels/dispatch.h"
#include "kernels/driver.h"
#include "kernels/recurrence_plan.h"

namespace assay {
namespace {

constexpr Role kHonoured[] = {Role::kQ,    Role::kK,       Role::kV,        Role::kO,   Role::kLogDecay,
                              Role::kBeta, Role::kStateIn, Role::kStateOut, Role::kCuQ, Role::kCuK};

int64_t FromEnd(const TensorView& view, int axis) { return view.shape[static_cast<size_t>(view.rank - axis)]; }

Status CheckType(const Problem& problem, Role role, std::string_view name) {
  const TensorView* view = problem.Find(role);
  if (view == nullptr || view->dtype == DType::kF32 || view->dtype == DType::kBf16 || view->dtype == DType::kF16) return Ok();
  return Unsupported(fmt::format("the recurrence kernel takes {} in f32, bf16 or f16, not {}", name, NameOf(view->dtype)));
}

Status CheckState(const Problem& problem, const Extents& extents, int64_t heads, Role role, std::string_view name) {
  const TensorView* state = problem.Find(role);
  if (state == nullptr) return Ok();
  if (state->rank != 4 || state->shape[0] != extents.sequences || state->shape[1] != heads || state->shape[2] != extents.head_dim ||
      state->shape[3] != extents.v_head_dim) {
    return BadInput(fmt::format("{} {} is not [{}, {}, {}, {}]", name, ShapeString(*state), extents.sequences, heads, extents.head_dim,
                                extents.v_head_dim));
  }
  return Ok();
}

Status CheckRecurrence(const Problem& problem, const Kernel& self) {
  ASSAY_CHECK(self.epilogue == recurrence::kDelta || self.epilogue == recurrence::kAdditive, "a recurrence entry names a rule");
  if (problem.phase == Phase::kBackward) return Unsupported("the recurrence kernel computes no gradients");
  for (const Argument& argument : problem.arguments) {
    if (std::find(std::begin(kHonoured), std::end(kHonoured), argument.role) == std::end(kHonoured)) {
      return Unsupported(fmt::format("the recurrence kernel does not honour role {}", static_cast<int>(argument.role)));
    }
  }
  if (!problem.Has(Role::kV) || !problem.Has(Role::kO)) return BadInput("a problem for the recurrence kernel needs V and O");
  ASSAY_TRY(const Extents extents, ResolveExtents(problem));
  if (extents.query_tokens != extents.key_tokens) return BadInput("a recurrence has as many queries as keys in every sequence");
  if (!std::isfinite(problem.scale)) return BadInput(fmt::format("scale {} must be finite", problem.scale));
  if (problem.softcap != 0 || problem.window_left >= 0 || problem.window_right >= 0) {
    return Unsupported("a recurrence has neither softcap nor windows");
  }
  const TensorView& q = problem.Get(Role::kQ);
  const TensorView& v = problem.Get(Role::kV);
  const TensorView& o = problem.Get(Role::kO);
  const int64_t heads = FromEnd(v, 2);
  if (heads < 1 || heads < extents.kv_heads || heads < extents.query_heads || extents.head_dim < 1 || extents.v_head_dim < 1) {
    return BadInput(fmt::format("{} value heads for {} query and {} key heads of {} and {} channels", heads, extents.query_heads,
                                extents.kv_heads, extents.head_dim, extents.v_head_dim));
  }
  if (o.rank != v.rank || FromEnd(o, 2) != heads || FromEnd(o, 1) != extents.v_head_dim) {
    return BadInput(fmt::format("O {} does not fit V {}", ShapeString(o), ShapeString(v)));
  }
  if (const TensorView* decay = problem.Find(Role::kLogDecay); decay != nullptr) {
    const bool per_head = decay->rank == q.rank - 1 && FromEnd(*decay, 1) == heads;
    const bool per_channel = decay->rank == q.rank && FromEnd(*decay, 2) == heads && FromEnd(*decay, 1) == extents.head_dim;
    if (!per_head && !per_channel) {
      return BadInput(fmt::format("LOG_DECAY {} is neither per head ({}) nor per channel ({} x {})", ShapeString(*decay), heads, heads,
                                  extents.head_dim));
    }
  }
  if (const TensorView* beta = problem.Find(Role::kBeta); beta != nullptr && (beta->rank != q.rank - 1 || FromEnd(*beta, 1) != heads)) {
    return BadInput(fmt::format("BETA {} does not have one value for each of {} heads", ShapeString(*beta), heads));
  }
  ASSAY_RETURN_IF_ERROR(CheckState(problem, extents, heads, Role::kStateIn, "STATE_IN"));
  ASSAY_RETURN_IF_ERROR(CheckState(problem, extents, heads, Role::kStateOut, "STATE_OUT"));
  const std::pair<Role, std::string_view> typed[] = {{Role::kQ, "Q"},     {Role::kK, "K"},           {Role::kV, "V"},
                                                     {Role::kO, "O"},     {Role::kLogDecay, "LOG_DECAY"}, {Role::kBeta, "BETA"},
                                                     {Role::kStateIn, "STATE_IN"}, {Role::kStateOut, "STATE_OUT"}};
  for (const auto& [role, name] : typed) ASSAY_RETURN_IF_ERROR(CheckType(problem, role, name));
  return Ok();
}

StateAccess StateOf(const TensorView* view, int64_t sequence) {
  StateAccess state;
  if (view == nullptr) return state;
  state.dtype = static_cast<int>(view->dtype);
  state.data = static_cast<char*>(view->data) + sequence * view->stride[0] * (BitsOf(view->dtype) / 8);
  state.head_stride = view->stride[1];
  state.row_stride = view->stride[2];
  state.column_stride = view->stride[3];
  return state;
}

class RecurrencePlan : public Plan {
 public:
  RecurrencePlan(const KernelTable& table, RecurrenceForm form, const Problem& problem, const Kernel& self, const Extents& extents,
                 ThreadPool* pool)
      : problem_(problem), run_(form == RecurrenceForm::kStep ? table.recurrence_steps : table.recurrence_chunks), pool_(pool) {
    const TensorView& v = problem.Get(Role::kV);
    const TensorView* decay = problem.Find(Role::kLogDecay);
    args_.heads = FromEnd(v, 2);
    args_.query_heads = extents.query_heads;
    args_.key_heads = extents.kv_heads;
    args_.head_dim = extents.head_dim;
    args_.v_head_dim = extents.v_head_dim;
    args_.per_channel = decay != nullptr && decay->rank == problem.Get(Role::kQ).rank;
    args_.delta = self.epilogue == recurrence::kDelta;
    args_.scale = static_cast<float>(problem.scale);
    args_.load = LoadSigned;
    args_.store = StoreSigned;
    target_ = fmt::format("{}/f32-{}", table.name, form == RecurrenceForm::kStep ? "step" : "chunk");
    DescribeSequences(extents);
    const int64_t strip = form == RecurrenceForm::kStep ? kRecurrenceStripColumns : args_.v_head_dim;
    for (int64_t b = 0; b < extents.sequences; ++b) {
      for (int64_t head = 0; head < args_.heads; ++head) {
        for (int64_t column = 0; column < args_.v_head_dim; column += strip) {
          items_.push_back({static_cast<int32_t>(b), static_cast<int32_t>(head), column});
        }
      }
    }
    scratch_floats_ = RecurrenceScratchFloats(args_.head_dim, args_.v_head_dim);
    scratch_ = Tensor(DType::kF32, {pool == nullptr ? 1 : pool->workers(), scratch_floats_});
  }

  void Run() noexcept override {
    const auto run_range = [this](size_t begin, size_t end, int worker) {
      for (size_t i = begin; i < end; ++i) run_(args_, items_[i], scratch_.data<float>() + worker * scratch_floats_);
    };
    if (pool_ == nullptr) return run_range(0, items_.size(), 0);
    pool_->ParallelFor(items_.size(), run_range);
  }
  [[nodiscard]] std::string_view target() const override { return target_; }

 private:
  void DescribeSequences(const Extents& extents) {
    const TensorView* cu = problem_.Find(Role::kCuQ);
    const TensorView* cu_k = problem_.Find(Role::kCuK);
    sequences_.resize(static_cast<size_t>(extents.sequences));
    for (int64_t b = 0; b < extents.sequences; ++b) {
      RecurrenceSequence& sequence = sequences_[static_cast<size_t>(b)];
      const int64_t first = cu != nullptr ? static_cast<int64_t>(cu->At({b})) : 0;
      const int64_t first_key = cu_k != nullptr ? static_cast<int64_t>(cu_k->At({b})) : 0;
      sequence.tokens = extents.query_tokens[static_cast<size_t>(b)];
      sequence.q = RowsOf(problem_.Get(Role::kQ), RowShape::kChannels, first, b);
      sequence.k = RowsOf(problem_.Get(Role::kK), RowShape::kChannels, first_key, b);
      sequence.v = RowsOf(problem_.Get(Role::kV), RowShape::kChannels, first_key, b);
      sequence.o = RowsOf(problem_.Get(Role::kO), RowShape::kChannels, first, b);
      if (const TensorView* decay = problem_.Find(Role::kLogDecay); decay != nullptr) {
        sequence.log_decay = RowsOf(*decay, args_.per_channel ? RowShape::kChannels : RowShape::kPerHeadScalar, first, b);
      }
      if (const TensorView* beta = problem_.Find(Role::kBeta); beta != nullptr) {
        sequence.beta = RowsOf(*beta, RowShape::kPerHeadScalar, first, b);
      }
      sequence.state_in = StateOf(problem_.Find(Role::kStateIn), b);
      sequence.state_out = StateOf(problem_.Find(Role::kStateOut), b);
    }
    args_.sequences = sequences_.data();
  }

  Problem problem_;
  RecurrenceRun run_;
  ThreadPool* pool_;
  RecurrenceArgs args_;
  std::string target_;
  std::vector<RecurrenceSequence> sequences_;
  std::vector<RecurrenceItem> items_;
  int64_t scratch_floats_ = 0;
  Tensor scratch_;
};

}  // namespace

int64_t RecurrenceScratchFloats(int64_t head_dim, int64_t v_head_dim) {
  const auto padded = [](int64_t n) { return (n + 15) / 16 * 16; };
  const int64_t dim = padded(head_dim) + 16;
  const int64_t columns = padded(v_head_dim);
  const int64_t rows = kRecurrenceChunk + kSoftmaxTileRows;
  const int64_t chunk = dim * columns + 2 * dim * kRecurrenceChunk + 2 * rows * dim + 2 * rows * kRecurrenceChunk + 2 * rows * columns +
                        kRecurrenceChunk * dim + 4 * dim + 5 * kRecurrenceChunk + 256;
  const int64_t step = head_dim * kRecurrenceStripColumns + 4 * dim + 2 * kRecurrenceStripColumns + 256;
  return padded(std::max(chunk, step));
}

Result<std::unique_ptr<Plan>> PrepareRecurrenceOn(const KernelTable& table, RecurrenceForm form, const Problem& problem, const Kernel& self,
                                                  ThreadPool* pool) {
  ASSAY_RETURN_IF_ERROR(CheckRecurrence(problem, self));
  ASSAY_TRY(const Extents extents, ResolveExtents(problem));
  return std::unique_ptr<Plan>(std::make_unique<RecurrencePlan>(table, form, problem, self, extents, pool));
}

Status CheckRecurrenceStep(const Problem& problem, const Kernel& self) { return CheckRecurrence(problem, self); }

Status CheckRecurrenceChunk(const Problem& problem, const Kernel& self) {
  if (problem.chunk != 0 && problem.chunk != kRecurrenceChunk) {
    return Unsupported(fmt::format("the chunked recurrence works on {} tokens a chunk, not {}", kRecurrenceChunk, problem.chunk));
  }
  return CheckRecurrence(problem, self);
}

Result<std::unique_ptr<Plan>> PrepareRecurrenceStep(const Problem& problem, const Kernel& self, const KernelEnv& env) {
  ASSAY_TRY(const KernelTable* table, TableFor(env.backend));
  return PrepareRecurrenceOn(*table, RecurrenceForm::kStep, problem, self, env.pool);
}

Result<std::unique_ptr<Plan>> PrepareRecurrenceChunk(const Problem& problem, const Kernel& self, const KernelEnv& env) {
  ASSAY_RETURN_IF_ERROR(CheckRecurrenceChunk(problem, self));
  ASSAY_TRY(const KernelTable* table, TableFor(env.backend));
  return PrepareRecurrenceOn(*table, RecurrenceForm::kChunk, problem, self, env.pool);
}

}  // namespace assay
