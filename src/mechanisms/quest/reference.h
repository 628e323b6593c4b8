// Quest (Tang et al. 2024, arXiv 2406.10774): a decoding query reads only the pages of the cache that may hold large scores. A page P keeps
// the channel-wise minimum m and maximum M of its keys, and
//     U_P = sum_c max(q_c m_c, q_c M_c)  >=  max_{j in P} q . k_j            (section 3.2)
// ranks it. The `budget` pages with the largest bounds are read, the first and the last ones always among them; the softmax runs over their
// keys. With grouped heads a page's bound is the largest of its group, so that a group reads one set of pages. Equal bounds: the earlier
// page. A page holding a NaN is bounded by nothing and read first, so that the NaN shows. Prefill is dense, as in the paper.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <type_traits>

#include "mechanisms/quest/quest.h"
#include "mechanisms/softmax_reference.h"

namespace assay::quest {

// U_P of one query against keys [begin, end).
template <class T>
T PageBound(const T* q, reference::Rows<T>& k, int64_t head, int64_t begin, int64_t end, int64_t width) {
  using std::max;
  T bound = reference::Convert<T>(0);
  for (int64_t c = 0; c < width; ++c) {
    T low = k.At(begin, head)[c];
    T high = low;
    for (int64_t j = begin + 1; j < end; ++j) {
      const T x = k.At(j, head)[c];
      if (x < low) low = x;
      if (high < x) high = x;
      if (!(x == x)) low = high = x;  // and so it stays: no comparison with NaN holds
    }
    bound += max(q[c] * low, q[c] * high);
  }
  return bound;
}

// The keys in the pages that query i of key/value head `g` reads, ascending, out of those up to `last_key`, the last one it sees.
template <class T>
std::vector<int64_t> SelectKeys(const Pages& pages, const Extents& extents, reference::Rows<T>& q, reference::Rows<T>& k, int64_t g, int64_t i,
                                int64_t last_key, int64_t S) {
  const int64_t count = last_key / pages.page_tokens + 1;
  std::vector<int64_t> selected;
  std::vector<std::pair<double, int64_t>> ranked;
  const int64_t group = extents.query_heads / extents.kv_heads;
  for (int64_t page = 0; page < count; ++page) {
    if (count <= pages.budget || page < pages.first || page >= count - pages.last) {
      selected.push_back(page);
      continue;
    }
    const int64_t begin = page * pages.page_tokens;
    const int64_t end = std::min(S, begin + pages.page_tokens);
    double largest = -std::numeric_limits<double>::infinity();
    for (int64_t h = g * group; h < (g + 1) * group; ++h) {
      const double bound = reference::AsDouble(PageBound(q.At(i, h), k, g, begin, end, extents.head_dim));
      largest = std::max(largest, std::isnan(bound) ? std::numeric_limits<double>::infinity() : bound);
    }
    ranked.emplace_back(-largest, page);
  }
  std::sort(ranked.begin(), ranked.end());
  for (const auto& [bound, page] : ranked) {
    if (static_cast<int64_t>(selected.size()) >= pages.budget) break;
    selected.push_back(page);
  }
  std::sort(selected.begin(), selected.end());
  std::vector<int64_t> keys;
  for (const int64_t page : selected) {
    for (int64_t j = page * pages.page_tokens; j <= std::min(last_key, (page + 1) * pages.page_tokens - 1); ++j) keys.push_back(j);
  }
  return keys;
}

template <class T>
void Reference(const Problem& problem) {
  if (problem.phase != Phase::kDecode) return reference::SoftmaxOver<T>(problem, reference::EveryVisibleKey);
  // Which pages are read is a decision, not a rounding: the fp32 twin takes it in fp64.
  using Selecting = std::conditional_t<std::is_same_v<T, float>, double, T>;
  const Extents extents = ResolveExtents(problem).value();
  const Pages pages = PagesOf(problem);
  std::map<std::array<int64_t, 3>, std::vector<int64_t>> keys_of;  // (sequence, key/value head, query)
  for (int64_t b = 0; b < extents.sequences; ++b) {
    const int64_t queries = extents.query_tokens[static_cast<size_t>(b)];
    const int64_t S = extents.key_tokens[static_cast<size_t>(b)];
    reference::Rows<Selecting> q(problem, Role::kQ, b, queries, extents.query_heads, extents.head_dim);
    reference::Rows<Selecting> k(problem, Role::kK, b, S, extents.kv_heads, extents.head_dim);
    const Visibility visibility(problem, extents, b);
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t last_key = problem.causal == Causal::kNone ? S - 1 : std::min(S - 1, visibility.QueryPosition(i));
      for (int64_t g = 0; last_key >= 0 && g < extents.kv_heads; ++g) keys_of[{b, g, i}] = SelectKeys(pages, extents, q, k, g, i, last_key, S);
    }
  }
  reference::SoftmaxOver<T>(problem, [&](const Visibility&, int64_t b, int64_t h, int64_t i, int64_t) { return keys_of[{b, KvHeadOf(h, extents), i}]; });
}

}  // namespace assay::quest
