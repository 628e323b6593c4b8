#define ASSAY_SIMD_NAMESPACE probe_generic
#include "kernels/simd_probe-inl.h"
