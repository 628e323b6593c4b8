// Compiled with the flags of the kernels of this backend.
#if defined(__x86_64__)
#define ASSAY_SIMD_NAMESPACE probe_avx512
#define ASSAY_SIMD_AVX512
#include "kernels/simd_probe-inl.h"
#endif
