// The answer of a large call, checked on a part of it that the fp64 reference can afford: some rows of one group of heads of one sequence.
#pragma once

#include "mechanisms/mechanism.h"

namespace assay::cost {

// `problem` is packed (CU_Q, CU_K) and its outputs hold a kernel's answer. Ok, or NotHeld with what differs.
Status CheckRows(const Mechanism& mechanism, DType dtype, const Problem& problem);

}  // namespace assay::cost
