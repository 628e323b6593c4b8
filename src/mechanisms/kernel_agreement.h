// Does a kernel compute what the reference computes? The tolerance is derived, not chosen: the reference in fp32 (the twin) shows what
// error the arithmetic itself brings, and a row's error is measured against sum_j p_j |v_j|, which cancellation does not shrink.
#pragma once

#include <string>

#include "core/result.h"
#include "mechanisms/mechanism.h"

namespace assay {

// A correct kernel adds the twin's terms in another order; sums in shuffled order stay within this factor of the twin's largest error over a
// call (kernel_agreement_test.cc).
inline constexpr double kShuffleMargin = 4;
// Smallest error granted, in units of the fp32 epsilon: where the twin happens to be exact, exp2 by a polynomial is not.
inline constexpr double kFloorUlps = 16;

struct KernelRun {
  bool served = false;
  std::string target;      // what ran: "avx2/f32"
  double worst_ratio = 0;  // largest error over its bound; at most 1, or the run is an error
};

// Rounds the problem's inputs to `dtype` (queries, keys, values; other floats to fp32), runs the kernel on `backend`, and compares O,
// LSE and states with the fp64 reference on the same rounded inputs. NotHeld says which output differs, where and by how much.
Result<KernelRun> CompareWithReference(const Mechanism& mechanism, const Kernel& kernel, const Problem& problem, DType dtype, Backend backend);

}  // namespace assay
