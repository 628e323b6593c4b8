// Ceilings of the AVX-512 backend, with VNNI and BF16 where the CPU has them. Compiled with its own flags; see
// ceiling_kernels.h for what it may include. Only Int8Vnni and Bf16 use more than AVX512F and AVX512BW, and only those
// are held back by the caller's features.
#include "machine/ceiling_kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__) && defined(__AVX512BF16__)
#include <immintrin.h>

namespace assay::machine::avx512 {
namespace {

// 24 accumulators of 32 registers, as in a 6 x 64 tile: 2 ports x 4 to 6 cycles of latency need 8 to 12 in flight.
constexpr int kChains = 24;

// Through memory: GCC 12's own cast intrinsics warn about an undefined value of theirs.
int LowWord(__m512i value) {
  alignas(64) int words[16];
  _mm512_store_si512(words, value);
  return words[0];
}

float Fp32(long iterations) noexcept {
  const __m512 a = _mm512_set1_ps(0.75f);
  const __m512 b = _mm512_set1_ps(1.0f);
  __m512 acc[kChains];
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i) + 5.0f);
  for (; iterations > 0; --iterations) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_fmadd_ps(acc[i], a, b);
  }
  __m512 sum = acc[0];
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) sum = _mm512_add_ps(sum, acc[i]);
  return _mm512_cvtss_f32(sum);
}

float Bf16(long iterations) noexcept {
  // 1.0 and -0.5 in bf16, cancelling pairwise: sums stay small.
  __m512i a = _mm512_set1_epi32(0x3f80bf80);
  __m512i b = _mm512_set1_epi32(0x3f003f00);
  __m512 acc[kChains];
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  for (; iterations > 0; --iterations) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_dpbf16_ps(acc[i], (__m512bh)a, (__m512bh)b);
  }
  __m512 sum = acc[0];
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) sum = _mm512_add_ps(sum, acc[i]);
  return _mm512_cvtss_f32(sum);
}

float Int8Vnni(long iterations) noexcept {
  __m512i a = _mm512_set1_epi8(3);
  __m512i b = _mm512_set1_epi8(-2);
  __m512i acc[kChains];
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_epi32(i);
  for (; iterations > 0; --iterations) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_dpbusd_epi32(acc[i], a, b);
  }
  __m512i sum = acc[0];
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) sum = _mm512_add_epi32(sum, acc[i]);
  return static_cast<float>(LowWord(sum));
}

float Int8WithoutVnni(long iterations) noexcept {
  __m512i a0 = _mm512_set1_epi8(3), a1 = _mm512_set1_epi8(5);
  __m512i b0 = _mm512_set1_epi8(-2), b1 = _mm512_set1_epi8(1);
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i acc0 = _mm512_setzero_si512(), acc1 = acc0, acc2 = acc0, acc3 = acc0;
  for (; iterations > 0; --iterations) {
    asm volatile("" : "+v"(a0), "+v"(a1), "+v"(b0), "+v"(b1));
    acc0 = _mm512_add_epi32(acc0, _mm512_madd_epi16(_mm512_maddubs_epi16(a0, b0), ones));
    acc1 = _mm512_add_epi32(acc1, _mm512_madd_epi16(_mm512_maddubs_epi16(a0, b1), ones));
    acc2 = _mm512_add_epi32(acc2, _mm512_madd_epi16(_mm512_maddubs_epi16(a1, b0), ones));
    acc3 = _mm512_add_epi32(acc3, _mm512_madd_epi16(_mm512_maddubs_epi16(a1, b1), ones));
  }
  const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(acc0, acc1), _mm512_add_epi32(acc2, acc3));
  return static_cast<float>(LowWord(sum));
}

template <bool kPrefetch>
unsigned ReadAll(const void* data, size_t bytes) noexcept {
  const auto* p = static_cast<const char*>(data);
  __m512i acc[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) acc[i] = _mm512_setzero_si512();
  for (size_t offset = 0; offset < bytes; offset += 256) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const char* line = p + offset + 64 * i;
      if (kPrefetch) _mm_prefetch(line + 4096, _MM_HINT_T0);
      acc[i] = _mm512_xor_si512(acc[i], _mm512_load_si512(line));
    }
  }
  const __m512i all = _mm512_xor_si512(_mm512_xor_si512(acc[0], acc[1]), _mm512_xor_si512(acc[2], acc[3]));
  return static_cast<unsigned>(LowWord(all));
}

void WriteCached(void* data, size_t bytes) noexcept {
  auto* p = static_cast<char*>(data);
  __m512i value = _mm512_set1_epi32(7);
  asm volatile("" : "+v"(value));  // otherwise this loop is a memset to the compiler
  for (size_t offset = 0; offset < bytes; offset += 256) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) _mm512_store_si512(p + offset + 64 * i, value);
  }
}

void WriteStreaming(void* data, size_t bytes) noexcept {
  auto* p = static_cast<char*>(data);
  const __m512i value = _mm512_set1_epi32(9);
  for (size_t offset = 0; offset < bytes; offset += 256) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) _mm512_stream_si512(reinterpret_cast<__m512i*>(p + offset + 64 * i), value);
  }
  _mm_sfence();
}

}  // namespace

CeilingKernels Kernels(Avx512Features features) noexcept {
  CeilingKernels kernels{.backend = "avx512",
                         .fp32 = {"vfmadd (16 x fp32)", kChains * 16 * 2, Fp32},
                         .bf16 = {},
                         .int8 = {"vpmaddubsw + vpmaddwd + vpaddd (64 x int8)", 4 * 64 * 2, Int8WithoutVnni},
                         .store_instruction = "vmovntdq (64 bytes)",
                         .read = ReadAll<false>,
                         .read_prefetched = ReadAll<true>,
                         .write = WriteCached,
                         .write_streaming = WriteStreaming};
  if (features.vnni) kernels.int8 = {"vpdpbusd (64 x int8)", kChains * 64 * 2, Int8Vnni};
  if (features.bf16) kernels.bf16 = {"vdpbf16ps (32 x bf16)", kChains * 32 * 2, Bf16};
  return kernels;
}

}  // namespace assay::machine::avx512
#endif
