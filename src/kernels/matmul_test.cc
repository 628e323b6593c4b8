// Dense matmul on every backend against fp64, for lengths around every tile and block, types, strides and bad input.
#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/random.h"
#include "core/thread_pool.h"
#include "kernels/matmul_blocks.h"
#include "kernels/test_tables.h"

namespace assay {
namespace {

struct Spec {
  int64_t rows, columns, depth;
  DType a = DType::kF32, w = DType::kF32, o = DType::kF32;
  int64_t padding = 0;   // elements between rows, NaN
  bool reversed = false;  // negative strides along the summed axis of A
};

// Owns a [rows, columns] tensor within NaN-filled memory.
struct Matrix {
  Tensor memory;
  TensorView view;
  Matrix(DType dtype, int64_t rows, int64_t columns, int64_t padding, bool reversed = false)
      : memory(dtype, {std::max<int64_t>(1, rows * (columns + padding) + padding)}) {
    memory.Poison();
    view = TensorView::Contiguous(memory.data<void>(), dtype, std::vector<int64_t>{rows, columns});
    view.stride[0] = columns + padding;
    view.data = memory.data<char>() + padding * BitsOf(dtype) / 8;
    if (!reversed || columns == 0) return;
    view.stride[1] = -1;
    view.data = static_cast<char*>(view.data) + (columns - 1) * BitsOf(dtype) / 8;
  }
};

struct Case {
  Spec spec;
  Matrix a, w, o;
  Tensor scale;
  MatmulProblem problem;
  Case(const Spec& s, uint64_t seed)
      : spec(s), a(s.a, s.rows, s.depth, s.padding, s.reversed), w(s.w, s.columns, s.depth, s.padding), o(s.o, s.rows, s.columns, s.padding),
        scale(DType::kF32, {s.columns}) {
    Rng rng(seed);
    for (int64_t r = 0; r < s.rows; ++r) {
      for (int64_t k = 0; k < s.depth; ++k) a.view.Set({r, k}, rng.Normal());
    }
    for (int64_t c = 0; c < s.columns; ++c) {
      scale.view().Set({c}, 0.01 + rng.Uniform());
      for (int64_t k = 0; k < s.depth; ++k) w.view.Set({c, k}, s.w == DType::kI8 ? std::floor(rng.Uniform(-128, 128)) : rng.Normal());
    }
    problem = {.a = a.view, .w = w.view, .w_scale = {}, .o = o.view};
    if (s.w == DType::kI8) problem.w_scale = scale.view();
  }
};

class Matmul : public ::testing::TestWithParam<const KernelTable*> {
 protected:
  static void Run(const Case& c, ThreadPool* pool = nullptr) {
    auto plan = PrepareMatmulOn(*GetParam(), c.problem, pool);
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    plan.value()->Pack();
    plan.value()->Run();
  }

  static void ExpectRight(const Spec& spec, uint64_t seed) {
    const Case c(spec, seed);
    Run(c);
    if (HasFatalFailure()) return;
    for (int64_t r = 0; r < spec.rows; ++r) {
      for (int64_t n = 0; n < spec.columns; ++n) {
        const double scale = spec.w == DType::kI8 ? c.scale.view().At({n}) : 1;
        double want = 0, magnitude = 0;
        float twin = 0;
        for (int64_t k = 0; k < spec.depth; ++k) {
          const double term = c.a.view.At({r, k}) * c.w.view.At({n, k});
          want += term * scale;
          magnitude += std::fabs(term * scale);
          twin = std::fma(static_cast<float>(c.a.view.At({r, k})), static_cast<float>(c.w.view.At({n, k})), twin);
        }
        // The chain of the twin is the kernel's, but for fused or paired products: a few roundings of the partial sums more.
        const double twin_error = std::fabs(static_cast<double>(twin) * scale - want);
        const double rounding = EpsilonOf(DType::kF32) * std::sqrt(static_cast<double>(spec.depth)) * magnitude + EpsilonOf(spec.o) * std::fabs(want);
        ASSERT_LE(std::fabs(c.o.view.At({r, n}) - want), 4 * twin_error + rounding)
            << spec.rows << "x" << spec.columns << "x" << spec.depth << " at " << r << ", " << n << " in " << NameOf(spec.w);
      }
    }
  }
};

TEST_P(Matmul, AgreesAroundEveryTileAndBlock) {
  for (const DType w : {DType::kF32, DType::kBf16, DType::kI8}) {
    for (const int64_t rows : {1, 2, 5, 6, 7, 13}) {
      for (const int64_t columns : {1, 15, 16, 17, 63, 80}) {
        for (const int64_t depth : {1, 2, 3, 5, 16, 33}) {
          ExpectRight({rows, columns, depth, w == DType::kBf16 ? w : DType::kF32, w}, static_cast<uint64_t>(rows * 1000 + columns * 10 + depth));
        }
      }
    }
    ExpectRight({97, 33, 40, DType::kBf16, w}, 1);
    ExpectRight({3, 257, 255, DType::kBf16, w}, 2);
    ExpectRight({7, 300, 257, DType::kBf16, w}, 3);
    ExpectRight({1, 600, 515, DType::kBf16, w}, 4);
  }
}

TEST_P(Matmul, AgreesForEveryTypeAndStride) {
  for (const DType a : {DType::kF32, DType::kBf16, DType::kF16}) {
    for (const DType w : {DType::kF32, DType::kBf16, DType::kI8}) {
      for (const DType o : {DType::kF32, DType::kBf16, DType::kF16}) {
        ExpectRight({8, 20, 37, a, w, o, 3}, 5);
        ExpectRight({8, 20, 37, a, w, o, 0, true}, 6);
      }
    }
  }
}

TEST_P(Matmul, NothingTimesSomethingIsZeroAndNoRowsAreNoWork) {
  const Case empty_sum({4, 18, 0}, 1);
  Run(empty_sum);
  for (int64_t r = 0; r < 4; ++r) {
    for (int64_t c = 0; c < 18; ++c) EXPECT_EQ(empty_sum.o.view.At({r, c}), 0.0);
  }
  Run(Case({0, 18, 5}, 1));
  Run(Case({3, 0, 5}, 1));
}

// Random blocks whose scales are ordinary halves.
std::vector<uint8_t> RandomBlocks(BlockFormat format, int64_t blocks, Rng& rng) {
  const auto bytes = static_cast<size_t>(BlockBytes(format));
  std::vector<uint8_t> memory(static_cast<size_t>(blocks) * bytes);
  for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<uint8_t>(rng.Uniform(0, 256));
  const auto put_half = [&](size_t at) {
    const uint16_t half = F16FromF32(static_cast<float>(rng.Uniform(-0.1, 0.1)));
    std::memcpy(memory.data() + at, &half, sizeof(half));
  };
  for (size_t block = 0; block < memory.size(); block += bytes) {
    put_half(block + (format == BlockFormat::kQ6_K ? 208 : 0));
    if (format == BlockFormat::kQ4_K) put_half(block + 2);
  }
  return memory;
}

TEST(MatmulBlocks, UnpackToTheValuesOfTheirFormat) {
  Rng rng(1);
  for (const BlockFormat format : kBlockFormats) {
    for (int repeat = 0; repeat < 50; ++repeat) {
      const std::vector<uint8_t> block = RandomBlocks(format, 1, rng);
      UnpackedBlock unpacked;
      UnpackBlock(format, block.data(), unpacked);
      const BlockCodes codes = CodesOf(format);
      for (int64_t i = 0; i < BlockElements(format); ++i) {
        const double offset = codes.has_offsets ? static_cast<double>(unpacked.offsets[i / codes.group]) : 0;
        const double value = unpacked.codes[i] * static_cast<double>(unpacked.scales[i / codes.group]) + offset;
        EXPECT_NEAR(value, LoadBlockElement(block.data(), format, static_cast<size_t>(i)), std::fabs(offset) * EpsilonOf(DType::kF32))
            << NameOf(format) << " " << i;
        EXPECT_LE(std::abs(unpacked.codes[i] * 2 + 1), 1 << codes.bits) << NameOf(format);
      }
    }
  }
}

TEST_P(Matmul, AgreesForEveryBlockFormat) {
  for (const BlockFormat format : kBlockFormats) {
    const int64_t elements = BlockElements(format);
    for (const auto& [rows, columns, blocks] : {std::array<int64_t, 3>{1, 1, 1}, {1, 70, 3}, {2, 17, 2}, {6, 80, 1}, {7, 257, 9}, {97, 33, 10}}) {
      const int64_t depth = blocks * elements;
      if (depth * columns > 100000 && rows > 1 && blocks > 9) continue;
      Rng rng(static_cast<uint64_t>(rows * columns));
      Case c({rows, columns, depth, rows == 7 ? DType::kBf16 : DType::kF32}, 1);
      const int64_t row_bytes = blocks * BlockBytes(format) + 3;  // rows need not be adjacent
      const std::vector<uint8_t> memory = RandomBlocks(format, columns * blocks, rng);
      std::vector<uint8_t> spread(static_cast<size_t>(columns * row_bytes), 0xff);
      for (int64_t n = 0; n < columns; ++n) std::memcpy(spread.data() + n * row_bytes, memory.data() + n * (row_bytes - 3), static_cast<size_t>(row_bytes - 3));
      c.problem.w = {spread.data(), DType::kU8, 2, {columns, row_bytes - 3}, {row_bytes, 1}};
      c.problem.w_blocks = format;
      Run(c);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t n = 0; n < columns; ++n) {
          double want = 0, magnitude = 0;
          for (int64_t first = 0; first < depth; first += 16) {
            double largest = 0, rows_magnitude = 0;  // codes and offsets are of the size of a group's largest value
            for (int64_t k = first; k < first + 16; ++k) {
              const double value = LoadBlockElement(spread.data() + n * row_bytes, format, static_cast<size_t>(k));
              want += value * c.a.view.At({r, k});
              largest = std::max(largest, std::fabs(value));
              rows_magnitude += std::fabs(c.a.view.At({r, k}));
            }
            magnitude += largest * rows_magnitude;
          }
          ASSERT_NEAR(c.o.view.At({r, n}), want, 4 * EpsilonOf(DType::kF32) * std::sqrt(static_cast<double>(depth)) * magnitude)
              << NameOf(format) << " " << rows << "x" << columns << "x" << depth << " at " << r << ", " << n;
        }
      }
    }
  }
}

std::vector<unsigned char> RowBytes(const Case& c, int64_t row) {
  const size_t bytes = BytesOf(c.spec.o, static_cast<size_t>(c.spec.columns));
  const auto* data = static_cast<const unsigned char*>(c.o.view.data) + static_cast<size_t>(row) * bytes;
  return {data, data + bytes};
}

TEST_P(Matmul, BitsDoNotDependOnThreadsOrOtherRows) {
  for (const DType w : {DType::kF32, DType::kBf16, DType::kI8}) {
    const DType a = w == DType::kBf16 ? w : DType::kF32;
    const Case all({200, 530, 300, a, w}, 7);
    Run(all);
    const std::vector<unsigned char> first = RowBytes(all, 0), later = RowBytes(all, 100);
    for (const int threads : {2, 3, 5}) {
      ThreadPool pool(threads);
      Run(all, &pool);
      EXPECT_EQ(RowBytes(all, 100), later) << threads;
    }
    const Case one({1, 530, 300, a, w}, 7);
    for (int64_t c = 0; c < 530; ++c) {
      for (int64_t k = 0; k < 300; ++k) one.w.view.Set({c, k}, all.w.view.At({c, k}));
      one.scale.view().Set({c}, all.scale.view().At({c}));
    }
    Run(one);
    EXPECT_EQ(RowBytes(one, 0), first);
  }
}

TEST_P(Matmul, NanStaysInItsRowAndColumn) {
  Case c({8, 40, 20}, 9);
  c.a.view.Set({3, 19}, std::nan(""));
  c.w.view.Set({17, 0}, testing::kInf);
  Run(c);
  for (int64_t r = 0; r < 8; ++r) {
    for (int64_t n = 0; n < 40; ++n) EXPECT_EQ(std::isfinite(c.o.view.At({r, n})), r != 3 && n != 17) << r << " " << n;
  }
}

TEST_P(Matmul, RefusesWhatItDoesNotServeAndSaysWhy) {
  const auto refused = [](const char* word, const auto& change) {
    Case c({3, 5, 7}, 1);
    change(c.problem);
    const auto plan = PrepareMatmulOn(*GetParam(), c.problem, nullptr);
    ASSERT_FALSE(plan.ok()) << word;
    EXPECT_NE(plan.error().message.find(word), std::string::npos) << plan.error().message;
  };
  refused("[columns, depth]", [](MatmulProblem& p) { p.w.shape[1] = 6; });
  refused("[rows, columns]", [](MatmulProblem& p) { p.o.shape[1] = 4; });
  refused("f64", [](MatmulProblem& p) { p.a.dtype = DType::kF64; });
  refused("e4m3", [](MatmulProblem& p) { p.w.dtype = DType::kE4m3; });
  refused("scale a column", [](MatmulProblem& p) { p.w.dtype = DType::kI8; });
  refused("no scales", [](MatmulProblem& p) { p.w_scale = TensorView::Contiguous(p.o.data, DType::kF32, std::vector<int64_t>{5}); });
}

TEST_P(Matmul, RefusesBlocksThatAreNotWhole) {
  const auto refused = [](const char* word, int64_t depth, DType dtype, int64_t bytes) {
    Case c({3, 5, depth}, 1);
    const std::vector<uint8_t> memory(1000);
    c.problem.w = TensorView::Contiguous(const_cast<uint8_t*>(memory.data()), dtype, std::vector<int64_t>{5, bytes});
    c.problem.w_blocks = BlockFormat::kQ4_0;
    const auto plan = PrepareMatmulOn(*GetParam(), c.problem, nullptr);
    ASSERT_FALSE(plan.ok()) << word;
    EXPECT_NE(plan.error().message.find(word), std::string::npos) << plan.error().message;
  };
  refused("blocks of 32, and 48 channels", 48, DType::kU8, 27);
  refused("u8 [columns, 36]", 64, DType::kU8, 34);
  refused("u8 [columns, 36]", 64, DType::kI8, 36);
}

INSTANTIATE_TEST_SUITE_P(Backends, Matmul, ::testing::ValuesIn(testing::TestTables()),
                         [](const auto& parameter) { return std::string(parameter.param->name); });

}  // namespace
}  // namespace assay
