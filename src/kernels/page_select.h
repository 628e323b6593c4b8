// Page selection for mechanisms that read few pages of a long cache (Quest, arXiv 2406.10774): bounds of each page's keys, the upper bound
// of a query's score on a page, the pages with the largest bounds, and the softmax tile over those alone.
//
// The definition, for references that must select the same pages. Pages are 64 tokens, counted from a sequence's first key. For each
// query token and key/value head:
//   candidates  the pages with at least one key that the query sees by causality and windows
//   score       the largest over the query heads of the group of  sum_c max(q_c low_c, q_c high_c), low and high the extremes of
//               channel c over all keys of the page; summed in fp64 in channel order, which is exact to the last bit for f32 and bf16 data.
//               A NaN counts as +infinity, so that a page with a NaN key is read and shows it
//   selected    the page_budget candidates with the largest score; equal scores: the lower index. With newest_always the candidate with
//               the highest index is one of them (Quest keeps the page being filled)
// The selected pages then attend as always: causality, windows, sink and LSE included.
#pragma once

#include "kernels/kernel.h"
#include "kernels/kv_layout.h"

namespace assay {

struct PageSelection {
  int64_t page_budget = 32;
  bool newest_always = true;
};

// A mechanism's check and prepare call these with its own parameters. Masks, ALiBi and positions given as data are refused. The plan's
// Pack computes the bounds; its Run scores, selects and attends.
Status CheckSoftmaxPages(const Problem& problem, const Kernel& self, const PageSelection& selection);
Result<std::unique_ptr<Plan>> PrepareSoftmaxPages(const Problem& problem, const Kernel& self, const KernelEnv& env,
                                                  const PageSelection& selection);

// The parts, for the plan and for tests.

// Extremes of one head of one sequence, channel-major: low[channel * pages + page].
struct PageBounds {
  float* low = nullptr;
  float* high = nullptr;
  int64_t pages = 0;
};
// From a packed f32 or bf16 page with `tokens` tokens.
void BoundPage(const KvLayout& layout, const KvPage& page, int64_t head, int64_t tokens, int64_t page_index, const PageBounds& bounds);
// Raises scores[page] for pages [begin, end) to the bound of one query row; start with -infinity.
void RaisePageScores(const float* query, int64_t head_dim, const PageBounds& bounds, int64_t begin, int64_t end, double* scores, double* sums);
// Writes the selected pages in ascending order to `selected` (room for end - begin) and returns how many.
int64_t SelectTopPages(const double* scores, int64_t begin, int64_t end, const PageSelection& selection, int32_t* selected);

}  // namespace assay
