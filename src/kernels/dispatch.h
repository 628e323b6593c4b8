// Which backend's kernels a plan runs: asked for, or the fastest this CPU has.
#pragma once

#include "kernels/kernel.h"
#include "kernels/kernel_table.h"

namespace assay {

// The table for a backend; Unsupported, naming what there is, if this CPU or program lacks it. kAuto: the fastest, or the one named in
// the environment variable ASSAY_BACKEND (a switch for tests and continuous integration; an unknown or absent one is an error, not a
// silent fallback).
Result<const KernelTable*> TableFor(Backend backend);

}  // namespace assay
