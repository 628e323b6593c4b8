// The nearest known name to a misspelt one, for any list of names; the distance is formats/text.h's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/text.h"

namespace assay {

// Empty when nothing is near.
template <class Names>
std::string NearestName(std::string_view name, const Names& known) {
  std::vector<std::string_view> views;
  for (const auto& candidate : known) views.emplace_back(candidate);
  return std::string(formats::Nearest(name, views));
}

}  // namespace assay
