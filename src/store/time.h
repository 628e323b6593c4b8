// Dates as text: ISO 8601 in UTC, which sorts as it reads.
#pragma once

#include <string>
#include <string_view>

namespace assay {

std::string UtcNow();          // "2026-11-24T14:30:05Z"
std::string UtcToday();        // "2026-11-24"
bool IsDate(std::string_view text);  // "YYYY-MM-DD" and a day that exists

}  // namespace assay
