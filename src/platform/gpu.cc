// Datasheet figures of the accelerators for which we have, or may get, measured tables (vendor datasheets of 2020-2025, dense figures).
#include "platform/gpu.h"

#include <array>

namespace assay::platform {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

constexpr std::array kGpus = {
    Gpu{.name = "a100_sxm", .memory_bytes_per_s = 2039e9, .bf16_flops_per_s = 312e12, .fp8_flops_per_s = 312e12,
        .memory_bytes = 80 * kGiB, .link_bytes_per_s = 300e9},
    Gpu{.name = "h100_sxm", .memory_bytes_per_s = 3350e9, .bf16_flops_per_s = 989e12, .fp8_flops_per_s = 1978e12,
        .memory_bytes = 80 * kGiB, .link_bytes_per_s = 450e9},
    Gpu{.name = "h200_sxm", .memory_bytes_per_s = 4800e9, .bf16_flops_per_s = 989e12, .fp8_flops_per_s = 1978e12,
        .memory_bytes = 141 * kGiB, .link_bytes_per_s = 450e9},
    Gpu{.name = "b200_sxm", .memory_bytes_per_s = 7700e9, .bf16_flops_per_s = 2250e12, .fp8_flops_per_s = 4500e12,
        .memory_bytes = 180 * kGiB, .link_bytes_per_s = 900e9},
    Gpu{.name = "l40s", .memory_bytes_per_s = 864e9, .bf16_flops_per_s = 362e12, .fp8_flops_per_s = 733e12,
        .memory_bytes = 48 * kGiB, .link_bytes_per_s = 32e9},
};

}  // namespace

std::span<const Gpu> KnownGpus() { return kGpus; }

const Gpu* FindGpu(std::string_view name) {
  for (const Gpu& gpu : kGpus) {
    if (gpu.name == name) return &gpu;
  }
  return nullptr;
}

double PeakFlops(const Gpu& gpu, DType dtype) {
  return BitsOf(dtype) == 8 ? gpu.fp8_flops_per_s : gpu.bf16_flops_per_s;
}

}  // namespace assay::platform
