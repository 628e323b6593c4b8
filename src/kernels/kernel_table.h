// KernelTable: the entry points of one backend. Each backend_*.cc exports one constant table; dispatch.cc chooses among them by CPUID.
#pragma once

#include "kernels/matmul_args.h"
#include "kernels/recurrence_args.h"
#include "kernels/softmax_args.h"

namespace assay {

// What the driver must know of an epilogue (epilogue.h).
struct EpilogueTraits {
  bool normalised;
  bool unit_rows;
  float extra_logit;
};

struct KernelTable {
  const char* name;
  int lanes;
  bool native_pairs;  // bf16 products by the CPU's own instruction, with the weights rounded to bf16
  const EpilogueTraits* epilogue_traits;
  SoftmaxRun softmax_run;
  SoftmaxMerge softmax_merge;
  RecurrenceRun recurrence_steps;
  RecurrenceRun recurrence_chunks;
  MatmulRun matmul_run;
};

namespace generic {
extern const KernelTable kTable;
}
namespace avx2 {
extern const KernelTable kTable;
}
namespace avx512 {
extern const KernelTable kTable;
}

}  // namespace assay
