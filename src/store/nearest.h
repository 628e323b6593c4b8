// The nearest known name to a misspelt one, for any list of names; the distance is formats/text.h's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/text.h"

namespace assay {

template <class Names>
std::vector<std::string_view> ViewsOf(const Names& names) {
  return std::vector<std::string_view>(names.begin(), names.end());
}

// Empty when nothing is near.
template <class Names>
std::string NearestName(std::string_view name, const Names& known) {
  return std::string(formats::Nearest(name, ViewsOf(known)));
}

// "; did you mean 'X'?", or nothing when nothing is near.
template <class Names>
std::string DidYouMean(std::string_view name, const Names& known) {
  return formats::DidYouMean(name, ViewsOf(known));
}

}  // namespace assay
