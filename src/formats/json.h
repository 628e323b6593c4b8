// JSON as the readers of this folder take it: bounded in depth, exceptions turned into a message with the line.
#pragma once

#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "core/result.h"

namespace assay::formats {

// `where` names the source in messages ("model/config.json"). At most 64 levels of nesting.
Result<nlohmann::json> ParseJson(std::string_view text, std::string_view where);

}  // namespace assay::formats
