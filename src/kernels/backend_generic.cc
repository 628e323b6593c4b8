// The kernels compiled for any CPU.
#define ASSAY_SIMD_NAMESPACE generic
#include "kernels/backend-inl.h"
