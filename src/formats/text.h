// Bounded text input: what every reader of this folder shares. A file is a regular file below a stated size (a pipe
// could hang us, a device could never end), numbers are parsed whole or not at all, and a mistyped name is answered
// with the nearest known one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"

namespace assay::formats {

constexpr size_t kMegabyte = size_t{1} << 20;

// The whole of a regular file of at most `max_bytes`.
Result<std::string> ReadFile(const std::string& path, size_t max_bytes);

// The first `max_bytes` of a regular file of any size (a header).
Result<std::string> ReadFilePrefix(const std::string& path, size_t max_bytes);

// Writes all of `text` or leaves what stood there: to a file beside `path` that then takes its name. A device or pipe is written as it is.
Status WriteFile(const std::string& path, std::string_view text);

// "path:line"
std::string At(std::string_view path, int64_t line);

std::string_view Trim(std::string_view text);
// A name from a file made fit for a message: at most 60 bytes, control characters and broken UTF-8 as '?'.
std::string Printable(std::string_view text);

// The whole of `text` (surrounding blanks aside) as a number, or nothing. Floating: decimal, C hex floats ("0x1.8p-3",
// "-0x1p+0"), inf, nan.
std::optional<double> ParseDouble(std::string_view text);
std::optional<int64_t> ParseInt(std::string_view text);

// The known name that a mistyped one most resembles (edit distance at most a third of its length, or 2), or "" if none
// does.
std::string_view Nearest(std::string_view name, std::span<const std::string_view> known);
// "; did you mean 'x'?" or "; known: a, b, c" when nothing is near.
std::string DidYouMean(std::string_view name, std::span<const std::string_view> known);

// Valid UTF-8 without NUL. Returns the offset of the first offending byte.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

// Walks the lines of a text: without the line end (LF or CRLF), numbered from 1, a byte-order mark skipped.
class Lines {
 public:
  explicit Lines(std::string_view text);
  bool Next(std::string_view* line);
  [[nodiscard]] int64_t number() const { return number_; }  // of the line that Next gave last

 private:
  std::string_view rest_;
  int64_t number_ = 0;
};

// Takes the next blank-separated word off the front of `rest`; "" at the end.
std::string_view NextWord(std::string_view* rest);

}  // namespace assay::formats
