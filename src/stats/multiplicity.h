// Corrections for having looked at many comparisons: with 20 of them at 5 %, one "difference" is expected from nothing
// at all.
#pragma once

#include <span>
#include <vector>

namespace assay::stats {

// Adjusted p-values in the order given. Reject where adjusted <= alpha.
std::vector<double> HolmAdjust(std::span<const double> p_values);  // family-wise error (Holm 1979), any dependence

}  // namespace assay::stats
