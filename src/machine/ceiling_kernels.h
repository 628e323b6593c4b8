// The instruction loops behind the ceilings, one table per backend. Each backend is a translation unit with its own
// compiler flags; these units include no header with inline functions of the standard library, since the linker could
// then pick an AVX-512 copy of such a function for the whole program.
#pragma once

#include <stddef.h>

namespace assay::machine {

// A loop of independent multiply-adds in registers. Returns a value that depends on all of them.
struct FlopLoop {
  const char* instruction;   // what runs, for the label; nullptr: this CPU or backend has no such loop
  double ops_per_iteration;  // a multiply-add counts as two
  float (*run)(long iterations) noexcept;
};

struct CeilingKernels {
  const char* backend;  // "avx2", as in kernels
  FlopLoop fp32;
  FlopLoop bf16;  // only where an instruction multiplies bf16; otherwise kernels widen to fp32 and the fp32 loop is
                  // their ceiling
  FlopLoop int8;
  const char* store_instruction;  // of write_streaming
  // `bytes` is a multiple of 512 and `data` is 64-byte aligned.
  unsigned (*read)(const void* data, size_t bytes) noexcept;
  unsigned (*read_prefetched)(const void* data, size_t bytes) noexcept;  // software prefetch 4 KiB ahead
  void (*write)(void* data, size_t bytes) noexcept;                      // through the caches
  void (*write_streaming)(void* data, size_t bytes) noexcept;            // past them, where the machine can
};

namespace generic {
CeilingKernels Kernels() noexcept;
}
// Called only after CPUID said that the backend runs here.
namespace avx2 {
CeilingKernels Kernels() noexcept;
}
struct Avx512Features {
  bool vnni;
  bool bf16;
};
namespace avx512 {
CeilingKernels Kernels(Avx512Features features) noexcept;
}

}  // namespace assay::machine
