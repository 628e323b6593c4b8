// Request traces: when requests came and how long they were. Three formats, told apart by their first line:
//   Azure CSV       TIMESTAMP,ContextTokens,GeneratedTokens   (2023-11-16 18:15:46.6805900, or with a T, a Z, an
//   offset) plain CSV       arrival_s,prompt_tokens,output_tokens     (seconds) Mooncake JSONL  {"timestamp": ms,
//   "input_length": n, "output_length": n, "hash_ids": [...]}
// Columns come in any order and further ones are ignored. Files are streamed: a million lines take about a second.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace assay::formats {

enum class TraceFormat { kAzureCsv, kPlainCsv, kMooncakeJsonl };
std::string_view NameOf(TraceFormat format);

struct Request {
  double arrival_s = 0;  // after the first request of the trace
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  uint32_t first_block = 0;  // into Trace::block_hashes
  uint32_t block_count = 0;  // 0: the trace says nothing of contents
};

struct Trace {
  std::string path;
  TraceFormat format = TraceFormat::kPlainCsv;
  std::vector<Request> requests;       // by ascending arrival
  std::vector<uint64_t> block_hashes;  // equal hashes: equal text up to and including the block
  int64_t block_tokens = 0;            // of one hash; 0 where there are none
  std::vector<std::string> warnings;   // for stderr

  [[nodiscard]] double duration_s() const { return requests.empty() ? 0 : requests.back().arrival_s; }
  [[nodiscard]] std::span<const uint64_t> Blocks(const Request& request) const {
    return std::span(block_hashes).subspan(request.first_block, request.block_count);
  }
  [[nodiscard]] std::vector<int64_t> PromptTokens() const;
  [[nodiscard]] std::vector<int64_t> OutputTokens() const;
};

// The rules. A prompt has 1 to 10^8 tokens, an answer 0 to 10^8; arrivals are finite and within ten years of the first;
// a line has at most 1 MB, a trace at most 20 million requests and 200 million blocks. Arrivals out of order are sorted
// (requests of one moment keep the order of the file) with a warning that names the first such line: merged logs are
// like that, and an arrival process has no order but time.
Result<Trace> ReadTrace(const std::string& path);
Result<Trace> ParseTrace(std::string_view text, const std::string& path);

}  // namespace assay::formats
