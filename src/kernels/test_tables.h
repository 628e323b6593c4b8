// The backends that tests of this folder run: those of this CPU, and AVX-512 emulated where the CPU lacks it (simd_emulation.h).
#pragma once

#include <fmt/format.h>

#include <limits>
#include <vector>

#include "kernels/kernel_table.h"

#if defined(__x86_64__) && !defined(__clang__) && !defined(ASSAY_WITHOUT_EMULATION) && __has_include(<simde/x86/avx512.h>)
#define ASSAY_HAS_EMULATION
#endif

namespace assay::testing {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<const KernelTable*> TestTables();

}  // namespace assay::testing
