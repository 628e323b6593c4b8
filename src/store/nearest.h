// The nearest known name to a misspelt one, for messages that say "did you mean".
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

// Levenshtein distance over `known`; empty when nothing is nearer than half the name's length.
template <class Names>
std::string NearestName(std::string_view name, const Names& known) {
  std::string best;
  size_t best_distance = name.size() / 2 + 1;
  for (const auto& candidate_name : known) {
    const std::string_view candidate(candidate_name);
    std::vector<size_t> row(candidate.size() + 1);
    for (size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= name.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j < row.size(); ++j) {
        const size_t substituted = diagonal + (name[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace assay
