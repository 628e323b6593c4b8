// Reading the one-line files of /proc and /sys: missing, empty and unreadable are the same here, namely "unknown".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace assay::machine {

// At most 1 MiB; trailing white space removed; empty if there is no such file.
std::string ReadSmallFile(const std::string& path);
// A decimal integer at the start of `text`, optionally followed by K, M or G (sysfs cache sizes).
std::optional<int64_t> ParseSize(std::string_view text);
// The value of "key : value" or "key: value" lines, first match.
std::string ValueOf(std::string_view text, std::string_view key);
// Number of processors in a list such as "0-3,8".
int CountCpuList(std::string_view text);

}  // namespace assay::machine
