// Requests from a trace file: the Azure LLM inference CSV (TIMESTAMP, ContextTokens, GeneratedTokens).
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "serving/simulator.h"

namespace assay::serving {

// Arrivals start at 0; rows without output are dropped and counted.
struct TraceRequests {
  std::vector<Request> requests;
  int64_t dropped = 0;
};
Result<TraceRequests> ReadTraceRequests(const std::string& path);

}  // namespace assay::serving
