#include "formats/text.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <vector>

namespace assay::formats {
namespace {

bool IsBlank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

// Closes the descriptor on every way out of ReadFile.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({row[j - 1] + 1, above + 1, replaced});
      diagonal = above;
    }
  }
  return row[b.size()];
}

enum class Excess { kRefused, kLeftOut };

Result<std::string> ReadRegularFile(const std::string& path, size_t max_bytes, Excess excess) {
  if (path.empty()) return BadInput("a file name is empty; give the path of a file");
  if (path.find('\0') != std::string::npos) return BadInput("a file name holds a NUL byte; give the path of a file");
  // O_NONBLOCK: opening a FIFO that nobody writes must not hang; it has no effect on regular files.
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) {
    const int code = errno;
    std::string message =
        fmt::format("{}: cannot be opened ({}); check the path and its permissions", path, std::strerror(code));
    return code == ENOENT || code == ENOTDIR || code == ENAMETOOLONG || code == ELOOP ? BadInput(message) : EnvironmentError(message);
  }
  struct stat info{};
  if (fstat(file.fd, &info) != 0) return EnvironmentError(fmt::format("{}: {}", path, std::strerror(errno)));
  if (!S_ISREG(info.st_mode))
    return BadInput(fmt::format("{}: not a regular file; give a file, not a folder, pipe or device", path));
  if (excess == Excess::kRefused && static_cast<uint64_t>(info.st_size) > max_bytes) {
    return BadInput(fmt::format("{}: {} bytes; this kind of file may have at most {}; is it the right file?", path,
                                info.st_size, max_bytes));
  }
  std::string text(std::min(static_cast<size_t>(info.st_size), max_bytes), '\0');
  size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t got = read(file.fd, text.data() + filled, text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return EnvironmentError(fmt::format("{}: {}", path, std::strerror(errno)));
    if (got == 0) break;  // shrank while we read
    filled += static_cast<size_t>(got);
  }
  text.resize(filled);
  return text;
}

}  // namespace

Result<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  return ReadRegularFile(path, max_bytes, Excess::kRefused);
}

Result<std::string> ReadFilePrefix(const std::string& path, size_t max_bytes) {
  return ReadRegularFile(path, max_bytes, Excess::kLeftOut);
}

Status WriteFile(const std::string& path, std::string_view text) {
  const auto failed = [&](int code) { return EnvironmentError(fmt::format("{}: cannot be written ({})", path, std::strerror(code))); };
  std::error_code unresolved;
  const std::filesystem::path target = std::filesystem::canonical(path, unresolved);  // a link keeps pointing at its file
  const std::string place = unresolved ? path : target.string();
  struct stat info{};
  const bool exists = stat(place.c_str(), &info) == 0;
  const bool in_place = exists && !S_ISREG(info.st_mode);
  std::string name = in_place ? place : place + ".XXXXXX";
  const Descriptor file{in_place ? open(name.c_str(), O_WRONLY | O_CLOEXEC) : mkostemp(name.data(), O_CLOEXEC)};
  if (file.fd < 0) return failed(errno);
  int code = 0;
  while (!text.empty() && code == 0) {
    const ssize_t put = write(file.fd, text.data(), text.size());
    if (put >= 0) text.remove_prefix(static_cast<size_t>(put));
    else if (errno != EINTR) code = errno;
  }
  if (in_place) return code == 0 ? Ok() : Status(failed(code));
  const mode_t mask = umask(0);
  umask(mask);
  if (code == 0 && (fchmod(file.fd, exists ? info.st_mode & 07777 : 0666 & ~mask) != 0 || fsync(file.fd) != 0 || rename(name.c_str(), place.c_str()) != 0)) code = errno;
  if (code == 0) return Ok();
  unlink(name.c_str());
  return failed(code);
}

std::string At(std::string_view path, int64_t line) {
  return fmt::format("{}:{}", path, line);
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

std::string Printable(std::string_view text) {
  constexpr size_t kLongest = 60;
  const bool cut = text.size() > kLongest;
  std::string out(text.substr(0, kLongest));
  const bool valid = !FindInvalidUtf8(out).has_value();
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (!valid && byte >= 0x80)) c = '?';
  }
  return cut ? out + "..." : out;
}

std::optional<double> ParseDouble(std::string_view text) {
  text = Trim(text);
  bool negative = false;
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
    if (!text.empty() && (text.front() == '-' || text.front() == '+')) return std::nullopt;
  }
  auto format = std::chars_format::general;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    format = std::chars_format::hex;
    text.remove_prefix(2);
    if (text.front() == '-' || text.front() == '+') return std::nullopt;
  }
  double value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, format);
  if (end != text.data() + text.size()) return std::nullopt;
  // Out of range leaves `value` alone, and a number too small for a double is not told from one too large: both are
  // refused.
  if (code != std::errc{}) return std::nullopt;
  return negative ? -value : value;
}

std::optional<int64_t> ParseInt(std::string_view text) {
  text = Trim(text);
  if (text.size() > 1 && text.front() == '+' && text[1] != '-') text.remove_prefix(1);
  int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string_view Nearest(std::string_view name, std::span<const std::string_view> known) {
  if (name.size() > 100) return "";  // no name of ours resembles it, and the distance is quadratic
  std::string_view best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string_view candidate : known) {
    const size_t distance = EditDistance(name, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string DidYouMean(std::string_view name, std::span<const std::string_view> known) {
  if (const std::string_view nearest = Nearest(name, known); !nearest.empty())
    return fmt::format("; did you mean '{}'?", nearest);
  return fmt::format("; known: {}", fmt::join(known, ", "));
}

std::optional<size_t> FindInvalidUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      if (byte == 0) return i;
      ++i;
      continue;
    }
    const size_t length = (byte & 0xe0) == 0xc0 ? 2 : (byte & 0xf0) == 0xe0 ? 3 : (byte & 0xf8) == 0xf0 ? 4 : 0;
    if (length == 0 || i + length > text.size()) return i;
    uint32_t code = byte & (0x7fu >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return i;
      code = (code << 6) | (next & 0x3fu);
    }
    constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return i;
    i += length;
  }
  return std::nullopt;
}

Lines::Lines(std::string_view text) : rest_(text) {
  if (rest_.starts_with("\xef\xbb\xbf")) rest_.remove_prefix(3);
}

bool Lines::Next(std::string_view* line) {
  if (rest_.empty()) return false;
  const size_t end = rest_.find('\n');
  *line = rest_.substr(0, end);
  rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
  if (!line->empty() && line->back() == '\r') line->remove_suffix(1);
  ++number_;
  return true;
}

std::string_view NextWord(std::string_view* rest) {
  size_t start = 0;
  while (start < rest->size() && IsBlank((*rest)[start])) ++start;
  size_t end = start;
  while (end < rest->size() && !IsBlank((*rest)[end])) ++end;
  const std::string_view word = rest->substr(start, end - start);
  rest->remove_prefix(end);
  return word;
}

}  // namespace assay::formats
