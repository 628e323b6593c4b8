// JSON as the readers of this folder take it: bounded in depth, exceptions turned into a message with the line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "core/result.h"

namespace assay::formats {

// A key that one object holds twice: readers keep the last or the first, so that the file says two things.
struct RepeatedKey {
  int64_t line = 0;
  std::string key;
};
std::optional<RepeatedKey> FindRepeatedKey(std::string_view text);

// `where` names the source in messages ("model/config.json"). At most 64 levels of nesting.
Result<nlohmann::json> ParseJson(std::string_view text, std::string_view where);

}  // namespace assay::formats
