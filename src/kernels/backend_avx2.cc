// The kernels compiled for AVX2, FMA and F16C (flags: cmake/AssayKernels.cmake).
#if defined(__x86_64__)
#define ASSAY_SIMD_NAMESPACE avx2
#define ASSAY_SIMD_AVX2
#include "kernels/backend-inl.h"
#endif
