// Accelerators by their datasheets: the peak figures that physics bounds and rooflines start from. A datasheet figure is never a prediction.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/dtype.h"

namespace assay::platform {

struct Gpu {
  std::string_view name;             // "h100_sxm"
  double memory_bytes_per_s = 0;
  double bf16_flops_per_s = 0;       // dense tensor cores
  double fp8_flops_per_s = 0;        // equals bf16 where the part has no fp8
  double memory_bytes = 0;
  double link_bytes_per_s = 0;       // to the other GPUs of the node, one direction
};

// nullptr for an accelerator we have no datasheet of.
const Gpu* FindGpu(std::string_view name);
std::span<const Gpu> KnownGpus();

double PeakFlops(const Gpu& gpu, DType dtype);

}  // namespace assay::platform
