// Ceilings of the AVX2 backend (with FMA). Compiled with its own flags; see ceiling_kernels.h for what it may include.
#include "machine/ceiling_kernels.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

namespace assay::machine::avx2 {
namespace {

// 12 chains: 4 cycles of latency x 2 ports need 8 in flight; more than 12 would spill with 16 registers. They start
// apart and converge, so that no compiler merges them and no value overflows or turns denormal.
float Fp32(long iterations) noexcept {
  const __m256 a = _mm256_set1_ps(0.75f);
  const __m256 b = _mm256_set1_ps(1.0f);
  __m256 acc[12];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i) + 5.0f);
  for (; iterations > 0; --iterations) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) acc[i] = _mm256_fmadd_ps(acc[i], a, b);
  }
  __m256 sum = acc[0];
#pragma GCC unroll 12
  for (int i = 1; i < 12; ++i) sum = _mm256_add_ps(sum, acc[i]);
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, sum);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3] + lanes[4] + lanes[5] + lanes[6] + lanes[7];
}

// The int8 dot product without VNNI: bytes to int16 pairs, to int32, added. 2 x 3 operands, as in a small tile.
float Int8(long iterations) noexcept {
  __m256i a0 = _mm256_set1_epi8(3), a1 = _mm256_set1_epi8(5);
  __m256i b0 = _mm256_set1_epi8(-2), b1 = _mm256_set1_epi8(1), b2 = _mm256_set1_epi8(4);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i acc[6];
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) acc[i] = _mm256_setzero_si256();
  for (; iterations > 0; --iterations) {
    // Unknown to the compiler each time round, or it would compute the products once.
    asm volatile("" : "+x"(a0), "+x"(a1), "+x"(b0), "+x"(b1), "+x"(b2));
    acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(_mm256_maddubs_epi16(a0, b0), ones));
    acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(_mm256_maddubs_epi16(a0, b1), ones));
    acc[2] = _mm256_add_epi32(acc[2], _mm256_madd_epi16(_mm256_maddubs_epi16(a0, b2), ones));
    acc[3] = _mm256_add_epi32(acc[3], _mm256_madd_epi16(_mm256_maddubs_epi16(a1, b0), ones));
    acc[4] = _mm256_add_epi32(acc[4], _mm256_madd_epi16(_mm256_maddubs_epi16(a1, b1), ones));
    acc[5] = _mm256_add_epi32(acc[5], _mm256_madd_epi16(_mm256_maddubs_epi16(a1, b2), ones));
  }
  __m256i sum = acc[0];
#pragma GCC unroll 6
  for (int i = 1; i < 6; ++i) sum = _mm256_add_epi32(sum, acc[i]);
  return static_cast<float>(_mm256_extract_epi32(sum, 0));
}

template <bool kPrefetch>
unsigned ReadAll(const void* data, size_t bytes) noexcept {
  const auto* p = static_cast<const char*>(data);
  __m256i acc[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) acc[i] = _mm256_setzero_si256();
  for (size_t offset = 0; offset < bytes; offset += 256) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const char* line = p + offset + 64 * i;
      if (kPrefetch) _mm_prefetch(line + 4096, _MM_HINT_T0);
      acc[i] = _mm256_xor_si256(acc[i], _mm256_load_si256(reinterpret_cast<const __m256i*>(line)));
      acc[i] = _mm256_xor_si256(acc[i], _mm256_load_si256(reinterpret_cast<const __m256i*>(line + 32)));
    }
  }
  const __m256i all = _mm256_xor_si256(_mm256_xor_si256(acc[0], acc[1]), _mm256_xor_si256(acc[2], acc[3]));
  return static_cast<unsigned>(_mm256_extract_epi32(all, 0) ^ _mm256_extract_epi32(all, 5));
}

void WriteCached(void* data, size_t bytes) noexcept {
  auto* p = static_cast<char*>(data);
  __m256i value = _mm256_set1_epi32(7);
  asm volatile("" : "+x"(value));  // otherwise this loop is a memset to the compiler
  for (size_t offset = 0; offset < bytes; offset += 256) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) _mm256_store_si256(reinterpret_cast<__m256i*>(p + offset + 32 * i), value);
  }
}

void WriteStreaming(void* data, size_t bytes) noexcept {
  auto* p = static_cast<char*>(data);
  const __m256i value = _mm256_set1_epi32(9);
  for (size_t offset = 0; offset < bytes; offset += 256) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) _mm256_stream_si256(reinterpret_cast<__m256i*>(p + offset + 32 * i), value);
  }
  _mm_sfence();
}

}  // namespace

CeilingKernels Kernels() noexcept {
  return {.backend = "avx2",
          .fp32 = {"vfmadd (8 x fp32)", 12 * 8 * 2, Fp32},
          .bf16 = {},
          .int8 = {"vpmaddubsw + vpmaddwd + vpaddd (32 x int8)", 6 * 32 * 2, Int8},
          .store_instruction = "vmovntdq (32 bytes)",
          .read = ReadAll<false>,
          .read_prefetched = ReadAll<true>,
          .write = WriteCached,
          .write_streaming = WriteStreaming};
}

}  // namespace assay::machine::avx2
#endif
