// Names of roles, for messages.
#pragma once

#include <string_view>

#include "kernels/problem.h"

namespace assay {

std::string_view NameOf(Role role);  // "Q", "MASK_BOOL", ...: as in the ABI

}  // namespace assay
