// The parts of Quest that its own files share.
#pragma once

#include "mechanisms/mechanism.h"

namespace assay::quest {

// Parameters of a problem, with their defaults.
struct Pages {
  int64_t page_tokens;
  int64_t budget;
  int64_t first;  // pages from the start that are always read
  int64_t last;   // pages at the end that are always read
};
inline constexpr double kDefaultPageTokens = 64;  // this lab's cache pages; the paper's are 16
inline constexpr double kDefaultBudgetPages = 32;
inline constexpr double kDefaultFirstPages = 0;
inline constexpr double kDefaultLastPages = 1;
Pages PagesOf(const Problem& problem);

LayerCost Cost(const CostQuery& query);
ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes);

}  // namespace assay::quest
