#include "formats/trace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "formats/json.h"
#include "formats/text.h"

namespace assay::formats {
namespace {

constexpr size_t kLongestLineBytes = 1 * kMegabyte;
constexpr size_t kMostRequests = 20'000'000;
constexpr size_t kMostBlocks = 200'000'000;
constexpr int64_t kMostTokens = 100'000'000;
constexpr int64_t kLongestNs = int64_t{10} * 366 * 86400 * 1'000'000'000;
constexpr int64_t kMooncakeBlockTokens = 512;

// One line of a trace, before arrivals become relative to the first.
struct Row {
  int64_t arrival_ns = 0;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
};

// `count` digits at the front of `text`, taken off.
std::optional<int> TakeDigits(std::string_view* text, size_t count) {
  if (text->size() < count) return std::nullopt;
  int value = 0;
  for (size_t i = 0; i < count; ++i) {
    const char c = (*text)[i];
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text->remove_prefix(count);
  return value;
}

bool TakeChar(std::string_view* text, char c) {
  if (text->empty() || text->front() != c) return false;
  text->remove_prefix(1);
  return true;
}

// Days since 1970-01-01 in the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms",
// days_from_civil).
int64_t DaysFromCivil(int year, int month, int day) {
  year -= month <= 2 ? 1 : 0;
  const int era = year / 400;
  const int year_of_era = year - era * 400;
  const int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return int64_t{era} * 146097 + day_of_era - 719468;
}

// "2023-11-16 18:15:46.6805900" (or with 'T', and 'Z' or "+01:00" behind) as nanoseconds since 1970.
std::optional<int64_t> ParseTimestamp(std::string_view text) {
  const auto year = TakeDigits(&text, 4);
  if (!year || !TakeChar(&text, '-')) return std::nullopt;
  const auto month = TakeDigits(&text, 2);
  if (!month || !TakeChar(&text, '-')) return std::nullopt;
  const auto day = TakeDigits(&text, 2);
  if (!day || !(TakeChar(&text, ' ') || TakeChar(&text, 'T'))) return std::nullopt;
  const auto hour = TakeDigits(&text, 2);
  if (!hour || !TakeChar(&text, ':')) return std::nullopt;
  const auto minute = TakeDigits(&text, 2);
  if (!minute || !TakeChar(&text, ':')) return std::nullopt;
  const auto second = TakeDigits(&text, 2);
  if (!second) return std::nullopt;
  if (*year < 1970 || *year > 2200 || *month < 1 || *month > 12 || *day < 1 || *day > 31 || *hour > 23 ||
      *minute > 59 || *second > 60)
    return std::nullopt;
  int64_t ns = 0;
  if (TakeChar(&text, '.')) {
    int64_t digit_ns = 100'000'000;
    size_t digits = 0;
    for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1), ++digits) {
      ns += (text.front() - '0') * digit_ns;
      digit_ns /= 10;
    }
    if (digits == 0 || digits > 18) return std::nullopt;
  }
  int64_t offset_minutes = 0;
  if (!TakeChar(&text, 'Z') && !text.empty()) {
    const bool is_west = text.front() == '-';
    if (!is_west && text.front() != '+') return std::nullopt;
    text.remove_prefix(1);
    const auto hours = TakeDigits(&text, 2);
    TakeChar(&text, ':');
    const auto minutes = TakeDigits(&text, 2);
    if (!hours || !minutes || *hours > 14 || *minutes > 59) return std::nullopt;
    offset_minutes = (*hours * 60 + *minutes) * (is_west ? -1 : 1);
  }
  if (!text.empty()) return std::nullopt;
  const int64_t seconds =
      DaysFromCivil(*year, *month, *day) * 86400 + (*hour * 60 + *minute - offset_minutes) * 60 + *second;
  return seconds * 1'000'000'000 + ns;
}

// Seconds or milliseconds as a number, in nanoseconds; nothing if it is not finite or beyond ten years.
std::optional<int64_t> NanosecondsFrom(std::string_view text, double ns_per_unit) {
  const auto value = ParseDouble(text);
  if (!value || !std::isfinite(*value) || std::fabs(*value) * ns_per_unit > static_cast<double>(kLongestNs))
    return std::nullopt;
  return std::llround(*value * ns_per_unit);
}

// Turns lines into a Trace. It is fed line by line, so that reading a file and parsing a text are the same code.
class TraceParser {
 public:
  explicit TraceParser(const std::string& path) { trace_.path = path; }

  Status Line(std::string_view line) {
    ++number_;
    if (number_ == 1) {
      if (line.starts_with("\xff\xfe") || line.starts_with("\xfe\xff"))
        return Bad("UTF-16 text; save the file as UTF-8");
      if (line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
    }
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.size() > kLongestLineBytes) return Bad("a line of more than 1 MB; is it a trace?");
    line = Trim(line);
    if (line.empty()) return Ok();
    if (!has_format_) return First(line);
    return Data(line);
  }

  Result<Trace> Finish() {
    if (!has_format_)
      return BadInput(fmt::format(
          "{}: empty; a trace starts with a line of column names, or holds a JSON object a line", trace_.path));
    if (rows_.empty()) return BadInput(fmt::format("{}: holds no request", trace_.path));
    if (out_of_order_ > 0) {
      trace_.warnings.push_back(fmt::format(
          "{}: {} of {} requests arrive before the line above them (the first is line {}); sorted by arrival",
          trace_.path, out_of_order_, rows_.size(), first_out_of_order_));
    }
    trace_.requests.resize(rows_.size());
    const int64_t first_ns = std::min_element(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) {
                               return a.arrival_ns < b.arrival_ns;
                             })->arrival_ns;
    // Sorted through line numbers: equal moments keep the file's order, and blocks_ stays as it is.
    std::vector<uint32_t> order(rows_.size());
    std::iota(order.begin(), order.end(), 0u);
    if (out_of_order_ > 0) {
      std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        return rows_[a].arrival_ns != rows_[b].arrival_ns ? rows_[a].arrival_ns < rows_[b].arrival_ns : a < b;
      });
    }
    for (size_t position = 0; position < rows_.size(); ++position) {
      const size_t i = order[position];
      Request& request = trace_.requests[position];
      request.arrival_s = static_cast<double>(rows_[i].arrival_ns - first_ns) * 1e-9;
      request.prompt_tokens = rows_[i].prompt_tokens;
      request.output_tokens = rows_[i].output_tokens;
      if (!blocks_.empty()) request.first_block = blocks_[i].first, request.block_count = blocks_[i].second;
    }
    if (!trace_.block_hashes.empty()) trace_.block_tokens = kMooncakeBlockTokens;
    return std::move(trace_);
  }

 private:
  Error Bad(std::string_view what) const { return BadInput(fmt::format("{}: {}", At(trace_.path, number_), what)); }
  Error BadValue(std::string_view name, std::string_view text, std::string_view rule) const {
    return Bad(fmt::format("{} is '{}'; it must be {}", name, Printable(text), rule));
  }

  Status First(std::string_view line) {
    has_format_ = true;
    if (line.front() == '{') {
      trace_.format = TraceFormat::kMooncakeJsonl;
      return Data(line);
    }
    std::vector<std::string_view> names;
    for (std::string_view rest = line;;) {
      const size_t end = rest.find(',');
      std::string_view name = Trim(rest.substr(0, end));
      if (name.size() >= 2 && name.front() == '"' && name.back() == '"') name = name.substr(1, name.size() - 2);
      names.push_back(name);
      if (names.size() > 256) return Bad("more than 256 columns; is it a trace?");
      if (end == std::string_view::npos) break;
      rest.remove_prefix(end + 1);
    }
    auto sorted = names;
    std::sort(sorted.begin(), sorted.end());
    // A column without a name holds nothing that we read; two of a name that we read leave open which one counts.
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end(), [](auto a, auto b) { return a == b && !a.empty(); });
    if (twice != sorted.end()) return Bad(fmt::format("column '{}' is there twice; rename one", Printable(*twice)));
    constexpr std::array<std::string_view, 3> kAzure = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"};
    constexpr std::array<std::string_view, 3> kPlain = {"arrival_s", "prompt_tokens", "output_tokens"};
    const auto holds = [&](std::string_view name) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    const bool is_azure =
        std::count_if(kAzure.begin(), kAzure.end(), holds) > std::count_if(kPlain.begin(), kPlain.end(), holds);
    trace_.format = is_azure ? TraceFormat::kAzureCsv : TraceFormat::kPlainCsv;
    column_names_ = is_azure ? kAzure : kPlain;
    for (size_t i = 0; i < 3; ++i) {
      const auto found = std::find(names.begin(), names.end(), column_names_[i]);
      if (found == names.end()) {
        return Bad(
            fmt::format("no column '{}'{}; a trace has TIMESTAMP,ContextTokens,GeneratedTokens or "
                        "arrival_s,prompt_tokens,output_tokens",
                        column_names_[i], DidYouMean(column_names_[i], names)));
      }
      columns_[i] = static_cast<size_t>(found - names.begin());
    }
    column_count_ = names.size();
    return Ok();
  }

  Status Data(std::string_view line) {
    if (rows_.size() == kMostRequests) return Bad("more than 20 million requests; cut the trace");
    if (trace_.format == TraceFormat::kMooncakeJsonl) {
      const size_t blocks_before = trace_.block_hashes.size();
      if (!FastJson(line)) {
        trace_.block_hashes.resize(blocks_before);
        ASSAY_RETURN_IF_ERROR(SlowJson(line));
      }
      if (trace_.block_hashes.size() > kMostBlocks) return Bad("more than 200 million blocks; cut the trace");
      blocks_.emplace_back(static_cast<uint32_t>(blocks_before),
                           static_cast<uint32_t>(trace_.block_hashes.size() - blocks_before));
      return Keep(row_);
    }
    std::array<std::string_view, 3> fields;
    size_t index = 0;
    for (std::string_view rest = line;; ++index) {
      const size_t end = rest.find(',');
      for (size_t i = 0; i < 3; ++i) {
        if (columns_[i] == index) fields[i] = Trim(rest.substr(0, end));
      }
      if (end == std::string_view::npos) break;
      rest.remove_prefix(end + 1);
    }
    if (index + 1 != column_count_)
      return Bad(fmt::format("{} fields, the header has {}; is the file cut short?", index + 1, column_count_));
    const bool is_azure = trace_.format == TraceFormat::kAzureCsv;
    const auto arrival = is_azure ? ParseTimestamp(fields[0]) : NanosecondsFrom(fields[0], 1e9);
    // Seconds count from the start of the log: one before it is a broken clock or a difference taken the wrong way round.
    if (!arrival || (!is_azure && *arrival < 0))
      return BadValue(column_names_[0], fields[0],
                      is_azure ? "a time such as 2023-11-16 18:15:46.680" : "a number of seconds >= 0, at most ten years");
    row_.arrival_ns = *arrival;
    ASSAY_TRY(row_.prompt_tokens, Tokens(column_names_[1], fields[1], 1));
    ASSAY_TRY(row_.output_tokens, Tokens(column_names_[2], fields[2], 0));
    return Keep(row_);
  }

  Result<int64_t> Tokens(std::string_view name, std::string_view text, int64_t least) const {
    const auto value = ParseInt(text);
    if (value && *value >= least && *value <= kMostTokens) return *value;
    if (!value) return BadValue(name, text, "a whole number of tokens");
    return Bad(fmt::format("{} is {}; it must be >= {} and <= {}", name, *value, least, kMostTokens));
  }

  Status Keep(const Row& row) {
    if (!rows_.empty()) {
      const int64_t apart = row.arrival_ns - rows_.front().arrival_ns;
      if (apart > kLongestNs || apart < -kLongestNs)
        return Bad("arrives more than ten years from the first request; are the units right?");
      if (row.arrival_ns < rows_.back().arrival_ns && ++out_of_order_ == 1) first_out_of_order_ = number_;
    }
    rows_.push_back(row);
    return Ok();
  }

  // The line as Mooncake's own writer makes it: plain keys, numbers, one flat array. Anything else: false, and the JSON
  // library reads it.
  bool FastJson(std::string_view line) {
    const char* at = line.data();
    const char* const end = at + line.size();
    const auto skip = [&] {
      while (at < end && *at == ' ') ++at;
    };
    const auto take = [&](char c) {
      skip();
      if (at == end || *at != c) return false;
      ++at;
      return true;
    };
    const auto integer = [&](auto* value) {
      skip();
      const auto [stop, code] = std::from_chars(at, end, *value);
      if (code != std::errc{} || stop == end || (*stop != ',' && *stop != '}' && *stop != ']' && *stop != ' '))
        return false;
      at = stop;
      return true;
    };
    unsigned seen = 0;
    if (!take('{')) return false;
    do {
      if (!take('"')) return false;
      const char* const key_end = static_cast<const char*>(std::memchr(at, '"', static_cast<size_t>(end - at)));
      if (key_end == nullptr) return false;
      const std::string_view key(at, static_cast<size_t>(key_end - at));
      at = key_end + 1;
      if (!take(':')) return false;
      int64_t ms = 0;
      unsigned bit = 0;
      if (key == "timestamp") {
        if (!integer(&ms) || ms < 0 || ms > kLongestNs / 1'000'000) return false;
        row_.arrival_ns = ms * 1'000'000;
        bit = 1;
      } else if (key == "input_length") {
        if (!integer(&row_.prompt_tokens)) return false;
        bit = 2;
      } else if (key == "output_length") {
        if (!integer(&row_.output_tokens)) return false;
        bit = 4;
      } else if (key == "hash_ids") {
        if (!take('[')) return false;
        bit = 8;
        if (!take(']')) {
          do {
            uint64_t hash = 0;
            if (!integer(&hash)) return false;
            trace_.block_hashes.push_back(hash);
          } while (take(','));
          if (!take(']')) return false;
        }
      } else {
        return false;
      }
      if ((seen & bit) != 0) return false;
      seen |= bit;
    } while (take(','));
    if (!take('}')) return false;
    skip();
    return at == end && (seen & 7u) == 7u && row_.prompt_tokens >= 1 && row_.prompt_tokens <= kMostTokens &&
           row_.output_tokens >= 0 && row_.output_tokens <= kMostTokens;
  }

  Status SlowJson(std::string_view line) {
    if (const auto repeated = FindRepeatedKey(line))
      return Bad(fmt::format("key '{}' is there twice; remove one", Printable(repeated->key)));
    auto parsed = ParseJson(line, trace_.path);
    if (!parsed.ok() || !parsed->is_object())
      return Bad("not a JSON object with timestamp, input_length and output_length; is the file cut short?");
    const auto find = [&](const char* key) -> const nlohmann::json* {
      const auto found = parsed->find(key);
      return found == parsed->end() ? nullptr : &*found;
    };
    for (const char* key : {"timestamp", "input_length", "output_length"}) {
      if (find(key) == nullptr) return Bad(fmt::format("'{}' is missing", key));
    }
    const auto text = [&](const char* key) { return find(key)->is_number() ? find(key)->dump() : std::string("?"); };
    const auto arrival = NanosecondsFrom(text("timestamp"), 1e6);
    if (!arrival || *arrival < 0)
      return BadValue("timestamp", text("timestamp"), "a number of milliseconds >= 0, at most ten years");
    row_.arrival_ns = *arrival;
    ASSAY_TRY(row_.prompt_tokens, Tokens("input_length", text("input_length"), 1));
    ASSAY_TRY(row_.output_tokens, Tokens("output_length", text("output_length"), 0));
    const nlohmann::json* hashes = find("hash_ids");
    if (hashes == nullptr || hashes->is_null()) return Ok();
    if (!hashes->is_array()) return Bad("'hash_ids' must be an array of whole numbers >= 0");
    for (const auto& hash : *hashes) {
      if (!hash.is_number_unsigned()) return Bad("'hash_ids' must be an array of whole numbers >= 0");
      trace_.block_hashes.push_back(hash.get<uint64_t>());
    }
    return Ok();
  }

  Trace trace_;
  int64_t number_ = 0;
  bool has_format_ = false;
  std::array<std::string_view, 3> column_names_{};
  std::array<size_t, 3> columns_{};
  size_t column_count_ = 0;
  Row row_;
  std::vector<Row> rows_;
  std::vector<std::pair<uint32_t, uint32_t>> blocks_;
  size_t out_of_order_ = 0;
  int64_t first_out_of_order_ = 0;
};

// Feeds the complete lines of `buffer` to the parser and returns how many bytes they took.
Result<size_t> FeedLines(std::string_view buffer, TraceParser* parser) {
  size_t used = 0;
  while (true) {
    const size_t end = buffer.find('\n', used);
    if (end == std::string_view::npos) return used;
    ASSAY_RETURN_IF_ERROR(parser->Line(buffer.substr(used, end - used)));
    used = end + 1;
  }
}

}  // namespace

std::string_view NameOf(TraceFormat format) {
  switch (format) {
    case TraceFormat::kAzureCsv:
      return "azure_csv";
    case TraceFormat::kPlainCsv:
      return "plain_csv";
    case TraceFormat::kMooncakeJsonl:
      return "mooncake_jsonl";
  }
  return "?";
}

std::vector<int64_t> Trace::PromptTokens() const {
  std::vector<int64_t> out;
  out.reserve(requests.size());
  for (const Request& request : requests) out.push_back(request.prompt_tokens);
  return out;
}

std::vector<int64_t> Trace::OutputTokens() const {
  std::vector<int64_t> out;
  out.reserve(requests.size());
  for (const Request& request : requests) out.push_back(request.output_tokens);
  return out;
}

Result<Trace> ParseTrace(std::string_view text, const std::string& path) {
  TraceParser parser(path);
  ASSAY_TRY(const size_t used, FeedLines(text, &parser));
  if (used < text.size()) ASSAY_RETURN_IF_ERROR(parser.Line(text.substr(used)));
  return parser.Finish();
}

Result<Trace> ReadTrace(const std::string& path) {
  // One byte first: the checks of ReadFilePrefix (exists, regular, readable) and their messages.
  ASSAY_RETURN_IF_ERROR(ReadFilePrefix(path, 1));
  struct Descriptor {
    int fd;
    ~Descriptor() {
      if (fd >= 0) close(fd);
    }
  } const file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return EnvironmentError(fmt::format("{}: {}", path, std::strerror(errno)));
  TraceParser parser(path);
  std::string buffer(4 * kMegabyte, '\0');
  size_t filled = 0;
  while (true) {
    const ssize_t got = read(file.fd, buffer.data() + filled, buffer.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return EnvironmentError(fmt::format("{}: {}", path, std::strerror(errno)));
    if (got == 0) break;
    filled += static_cast<size_t>(got);
    ASSAY_TRY(const size_t used, FeedLines(std::string_view(buffer).substr(0, filled), &parser));
    std::memmove(buffer.data(), buffer.data() + used, filled - used);
    filled -= used;
    // What is left has no line end; longer than a line may be, it is refused before the buffer fills.
    if (filled > kLongestLineBytes + 8)
      return std::move(parser.Line(std::string_view(buffer).substr(0, filled))).TakeError();
  }
  if (filled > 0) ASSAY_RETURN_IF_ERROR(parser.Line(std::string_view(buffer).substr(0, filled)));
  return parser.Finish();
}

}  // namespace assay::formats
