// Ceilings of the generic backend: compiler vector extensions, so whatever the baseline of the architecture offers.
#include "machine/ceiling_kernels.h"

namespace assay::machine::generic {
namespace {

typedef float Floats __attribute__((vector_size(16)));
typedef unsigned Words __attribute__((vector_size(16)));

Floats Splat(float value) {
  return Floats{value, value, value, value};
}

// 12 independent chains cover 4 cycles of latency on 2 ports with room to spare. They start apart, or a compiler may
// see that they are one chain; they converge to 4, so that no value overflows or turns denormal.
float Fp32(long iterations) noexcept {
  Floats acc0 = Splat(0), acc1 = Splat(1), acc2 = Splat(2), acc3 = Splat(3), acc4 = Splat(5), acc5 = Splat(6);
  Floats acc6 = Splat(7), acc7 = Splat(8), acc8 = Splat(9), acc9 = Splat(10), acc10 = Splat(11), acc11 = Splat(12);
  const Floats a = Splat(0.75f);
  const Floats b = Splat(1.0f);
  for (; iterations > 0; --iterations) {
    acc0 = acc0 * a + b, acc1 = acc1 * a + b, acc2 = acc2 * a + b, acc3 = acc3 * a + b;
    acc4 = acc4 * a + b, acc5 = acc5 * a + b, acc6 = acc6 * a + b, acc7 = acc7 * a + b;
    acc8 = acc8 * a + b, acc9 = acc9 * a + b, acc10 = acc10 * a + b, acc11 = acc11 * a + b;
  }
  const Floats sum = acc0 + acc1 + acc2 + acc3 + acc4 + acc5 + acc6 + acc7 + acc8 + acc9 + acc10 + acc11;
  return sum[0] + sum[1] + sum[2] + sum[3];
}

template <bool kPrefetch>
unsigned ReadAll(const void* data, size_t bytes) noexcept {
  const auto* p = static_cast<const char*>(data);
  Words acc0{}, acc1{}, acc2{}, acc3{};
  for (size_t i = 0; i < bytes; i += 64) {
    if (kPrefetch) __builtin_prefetch(p + i + 4096);
    acc0 ^= *reinterpret_cast<const Words*>(p + i);
    acc1 ^= *reinterpret_cast<const Words*>(p + i + 16);
    acc2 ^= *reinterpret_cast<const Words*>(p + i + 32);
    acc3 ^= *reinterpret_cast<const Words*>(p + i + 48);
  }
  const Words all = (acc0 ^ acc1) ^ (acc2 ^ acc3);
  return all[0] ^ all[1] ^ all[2] ^ all[3];
}

void WriteAll(void* data, size_t bytes) noexcept {
  auto* p = static_cast<char*>(data);
  const Words value = {1, 2, 3, 4};
  for (size_t i = 0; i < bytes; i += 64) {
    *reinterpret_cast<Words*>(p + i) = value;
    *reinterpret_cast<Words*>(p + i + 16) = value;
    *reinterpret_cast<Words*>(p + i + 32) = value;
    *reinterpret_cast<Words*>(p + i + 48) = value;
    asm volatile("" : : "r"(p) : "memory");  // the stores happen, one line after the other
  }
}

}  // namespace

CeilingKernels Kernels() noexcept {
  return {.backend = "generic",
          .fp32 = {"multiply, add (4 x fp32, baseline)", 12 * 4 * 2, Fp32},
          .bf16 = {},
          .int8 = {},
          .store_instruction = "store (baseline)",
          .read = ReadAll<false>,
          .read_prefetched = ReadAll<true>,
          .write = WriteAll,
          .write_streaming = WriteAll};
}

}  // namespace assay::machine::generic
