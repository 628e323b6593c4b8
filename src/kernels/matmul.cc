#include "kernels/matmul.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/dispatch.h"
#include "kernels/driver.h"
#include "kernels/matmul_blocks.h"

namespace assay {
namespace {

// Weights of one block format: whole blocks, as GGUF has them.
Status CheckBlocks(const MatmulProblem& problem) {
  const std::string_view name = NameOf(*problem.w_blocks);
  const int64_t elements = BlockElements(*problem.w_blocks), bytes = BlockBytes(*problem.w_blocks), depth = problem.a.shape[1];
  if (problem.w_scale.rank != 0) return BadInput(fmt::format("{} weights take no scales", name));
  if (depth % elements != 0) return BadInput(fmt::format("{} weights come in blocks of {}, and {} channels are no multiple", name, elements, depth));
  if (problem.w.dtype != DType::kU8 || problem.w.shape[1] != depth / elements * bytes || (problem.w.shape[1] > 1 && problem.w.stride[1] != 1)) {
    return BadInput(fmt::format("{} weights of {} channels are u8 [columns, {}], bytes adjacent, not {} {}", name, depth, depth / elements * bytes,
                                NameOf(problem.w.dtype), ShapeString(problem.w)));
  }
  return Ok();
}

Status Check(const MatmulProblem& problem) {
  const auto is_row_type = [](DType dtype) { return dtype == DType::kF32 || dtype == DType::kBf16 || dtype == DType::kF16; };
  if (problem.a.rank != 2 || problem.w.rank != 2 || problem.o.rank != 2 || (!problem.w_blocks && problem.a.shape[1] != problem.w.shape[1]) ||
      problem.o.shape[0] != problem.a.shape[0] || problem.o.shape[1] != problem.w.shape[0]) {
    return BadInput(fmt::format("matmul of A {} and W {} into O {}; they are [rows, depth], [columns, depth] and [rows, columns]",
                                ShapeString(problem.a), ShapeString(problem.w), ShapeString(problem.o)));
  }
  if (!is_row_type(problem.a.dtype) || !is_row_type(problem.o.dtype)) {
    return Unsupported(fmt::format("matmul takes A and O in f32, bf16 or f16, not {} and {}", NameOf(problem.a.dtype), NameOf(problem.o.dtype)));
  }
  if (problem.w_blocks) return CheckBlocks(problem);
  switch (problem.w.dtype) {
    case DType::kF32:
    case DType::kBf16:
      if (problem.w_scale.rank != 0) return BadInput(fmt::format("{} weights take no scales", NameOf(problem.w.dtype)));
      return Ok();
    case DType::kI8:
      if (problem.w_scale.rank != 1 || problem.w_scale.dtype != DType::kF32 || problem.w_scale.shape[0] != problem.w.shape[0]) {
        return BadInput("i8 weights need a scale a column, in f32");
      }
      return Ok();
    default: return Unsupported(fmt::format("matmul takes weights in f32, bf16, i8 or GGUF blocks, not {}", NameOf(problem.w.dtype)));
  }
}

RowAccess Rows(const TensorView& view) {
  RowAccess rows;
  rows.data = view.data;
  rows.dtype = static_cast<int>(view.dtype);
  rows.token_stride = view.stride[0];
  rows.channel_stride = view.stride[1];
  return rows;
}

PageElement ElementOf(DType packed) {
  switch (packed) {
    case DType::kF32: return PageElement::kF32;
    case DType::kBf16: return PageElement::kBf16;
    case DType::kI8: return PageElement::kI8;
    case DType::kI4: return PageElement::kI4;
    default: ASSAY_CHECK(false, "weights that Check let pass");
  }
}

class MatmulPlan : public Plan {
 public:
  MatmulPlan(const KernelTable& table, const MatmulProblem& problem, ThreadPool* pool)
      : table_(table), problem_(problem), pool_(pool), workers_(pool == nullptr ? 1 : pool->workers()) {
    DType packed = problem.w.dtype;
    if (packed == DType::kBf16 && table.native_pairs && problem.a.dtype != DType::kBf16) packed = DType::kF32;
    if (problem.w_blocks) packed = CodesOf(*problem.w_blocks).bits == 4 ? DType::kI4 : DType::kI8;
    args_.element = ElementOf(packed);
    args_.a = Rows(problem.a);
    args_.o = Rows(problem.o);
    args_.rows = problem.a.shape[0];
    args_.depth = problem.a.shape[1];
    args_.columns = problem.w.shape[0];
    args_.load = LoadSigned;
    args_.store = StoreSigned;
    unit_elements_ = 32 / BitsOf(packed);
    units_ = (args_.depth + unit_elements_ - 1) / unit_elements_;
    strips_ = (args_.columns + 15) / 16;
    weights_ = Tensor(packed, {strips_ * units_ * 16 * unit_elements_});
    args_.weights = static_cast<const unsigned char*>(weights_.data<void>());
    if (problem.w_scale.rank == 1) scales_.resize(static_cast<size_t>(args_.columns));
    if (!scales_.empty()) args_.scales = scales_.data();
    if (problem.w_blocks) {
      const BlockCodes codes = CodesOf(*problem.w_blocks);
      args_.group = codes.group;
      group_scales_ = Tensor(DType::kF32, {strips_, args_.depth / codes.group, 16});
      args_.group_scales = group_scales_.data<float>();
      if (codes.has_offsets) group_offsets_ = Tensor(DType::kF32, {strips_, args_.depth / codes.group, 16});
      if (codes.has_offsets) args_.group_offsets = group_offsets_.data<float>();
    }
    scratch_ = Tensor(DType::kF32, {workers_, MatmulScratchFloats(args_.depth)});
    target_ = fmt::format("{}/{}{}", table.name, problem.w_blocks ? NameOf(*problem.w_blocks) : NameOf(packed),
                          packed == DType::kBf16 && table.native_pairs ? "-p16" : "");
    CutItems();
  }

  void Pack() noexcept override {
    for (size_t c = 0; c < scales_.size(); ++c) scales_[c] = static_cast<float>(problem_.w_scale.At({static_cast<int64_t>(c)}));
    ForEach(static_cast<size_t>(strips_), [this](size_t strip, int) {
      problem_.w_blocks ? PackBlocks(static_cast<int64_t>(strip)) : PackStrip(static_cast<int64_t>(strip));
    });
  }

  void Run() noexcept override {
    ForEach(items_.size(), [this](size_t i, int worker) {
      table_.matmul_run(args_, items_[i], scratch_.data<float>() + worker * scratch_.view().shape[1]);
    });
  }

  [[nodiscard]] std::string_view target() const override { return target_; }

 private:
  void ForEach(size_t count, const auto& body) noexcept {
    const auto run = [&](int worker) {
      const ItemRange range = StaticRange(count, workers_, worker);
      for (size_t i = range.begin; i < range.end; ++i) body(i, worker);
    };
    pool_ == nullptr ? run(0) : pool_->RunOnAll(run);
  }

  // Rows of A are packed once an item, so items are long; columns are cut where there are too few rows for all workers.
  void CutItems() {
    const int64_t row_items = (args_.rows + kMatmulRows - 1) / kMatmulRows;
    const int64_t blocks = (args_.columns + kMatmulColumns - 1) / kMatmulColumns;
    const int64_t wanted = row_items == 0 ? 1 : std::clamp<int64_t>(4 * workers_ / row_items, 1, std::max<int64_t>(blocks, 1));
    const int64_t step = std::max<int64_t>(1, (blocks + wanted - 1) / wanted) * kMatmulColumns;
    for (int64_t row = 0; row < args_.rows; row += kMatmulRows) {
      for (int64_t column = 0; column < args_.columns; column += step) {
        items_.push_back({row, std::min(kMatmulRows, args_.rows - row), column, std::min(column + step, args_.columns)});
      }
    }
  }

  void PackStrip(int64_t strip) const {
    const TensorView& w = problem_.w;
    const DType packed = weights_.view().dtype;
    const int64_t columns = std::min<int64_t>(16, args_.columns - strip * 16);
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t k = 0; k < args_.depth; ++k) {
        const int64_t from = (strip * 16 + c) * w.stride[0] + k * w.stride[1];
        const int64_t to = ((strip * units_ + k / unit_elements_) * 16 + c) * unit_elements_ + k % unit_elements_;
        if (packed == w.dtype && BitsOf(packed) == 16) {
          static_cast<uint16_t*>(weights_.view().data)[to] = static_cast<const uint16_t*>(w.data)[from];
        } else if (packed == w.dtype && BitsOf(packed) == 8) {
          static_cast<uint8_t*>(weights_.view().data)[to] = static_cast<const uint8_t*>(w.data)[from];
        } else {
          static_cast<float*>(weights_.view().data)[to] = static_cast<float>(LoadSigned(w.data, static_cast<int>(w.dtype), from));
        }
      }
    }
  }

  void PackBlocks(int64_t strip) const {
    const BlockFormat format = *problem_.w_blocks;
    const int64_t elements = BlockElements(format), bytes = BlockBytes(format), groups = args_.depth / args_.group;
    const int64_t columns = std::min<int64_t>(16, args_.columns - strip * 16);
    auto* weights = static_cast<uint8_t*>(weights_.view().data);
    UnpackedBlock unpacked;
    for (int64_t c = 0; c < columns; ++c) {
      const auto* row = static_cast<const uint8_t*>(problem_.w.data) + (strip * 16 + c) * problem_.w.stride[0];
      for (int64_t k = 0; k < args_.depth; k += elements, row += bytes) {
        UnpackBlock(format, row, unpacked);
        for (int64_t group = 0; group < elements / args_.group; ++group) {
          const int64_t at = (strip * groups + k / args_.group + group) * 16 + c;
          static_cast<float*>(group_scales_.view().data)[at] = unpacked.scales[group];
          if (args_.group_offsets != nullptr) static_cast<float*>(group_offsets_.view().data)[at] = unpacked.offsets[group];
        }
        uint8_t* unit = weights + ((strip * units_ + k / unit_elements_) * 16 + c) * 4;
        for (int64_t i = 0; i < elements; i += unit_elements_, unit += 64) {
          const int8_t* codes = unpacked.codes + i;
          for (int byte = 0; byte < 4; ++byte) {
            unit[byte] = unit_elements_ == 4 ? static_cast<uint8_t>(codes[byte])
                                             : static_cast<uint8_t>((codes[2 * byte] & 15) | (codes[2 * byte + 1] & 15) << 4);
          }
        }
      }
    }
  }

  const KernelTable& table_;
  MatmulProblem problem_;
  ThreadPool* pool_;
  int workers_;
  MatmulArgs args_;
  int64_t unit_elements_ = 1;
  int64_t units_ = 0;
  int64_t strips_ = 0;
  std::string target_;
  Tensor weights_;
  std::vector<float> scales_;
  Tensor group_scales_;
  Tensor group_offsets_;
  std::vector<MatmulItem> items_;
  Tensor scratch_;
};

}  // namespace

Result<std::unique_ptr<Plan>> PrepareMatmulOn(const KernelTable& table, const MatmulProblem& problem, ThreadPool* pool) {
  ASSAY_RETURN_IF_ERROR(Check(problem));
  return std::unique_ptr<Plan>(std::make_unique<MatmulPlan>(table, problem, pool));
}

Result<std::unique_ptr<Plan>> PrepareMatmul(const MatmulProblem& problem, const KernelEnv& env) {
  ASSAY_TRY(const KernelTable* table, TableFor(env.backend));
  return PrepareMatmulOn(*table, problem, env.pool);
}

}  // namespace assay
