// The kernels compiled for AVX-512 with VNNI and BF16 (flags: cmake/AssayKernels.cmake).
#if defined(__x86_64__)
#define ASSAY_SIMD_NAMESPACE avx512
#define ASSAY_SIMD_AVX512
#include "kernels/backend-inl.h"
#endif
