// KernelTable: the entry points of one backend (backend-inl.h); dispatch.cc chooses among the tables by CPUID.
#pragma once

#include "kernels/matmul_args.h"
#include "kernels/recurrence_args.h"
#include "kernels/softmax_args.h"

namespace assay {

struct KernelTable {
  const char* name;
  int lanes;
  bool native_pairs;  // bf16 products by the CPU's own instruction, with the weights rounded to bf16
  const EpilogueTraits* epilogue_traits;
  SoftmaxRun softmax_run[kPageElements];
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
