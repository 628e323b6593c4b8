// What moving a served model to another mechanism takes: a flag, a conversion with healing, or another checkpoint.
#pragma once

#include <string_view>

namespace assay {

enum class Availability { kDropIn, kConvert, kPretrain };

constexpr std::string_view NameOf(Availability availability) {
  constexpr std::string_view kNames[] = {"drop_in", "convert", "pretrain"};
  return kNames[static_cast<int>(availability)];
}

}  // namespace assay
