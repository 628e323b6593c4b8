// Scoring against measured end-to-end serving points: each row's closed-loop benchmark client is simulated on the profile of the nearest
// version of the row's engine, and TTFT and TPOT are compared. What cannot be predicted is refused with its reason and counted.
#pragma once

#include <map>
#include <string>

#include "core/result.h"
#include "formats/table.h"

namespace assay::serving {

struct LatencyError {
  double p50 = 0, p90 = 0;  // |predicted / measured - 1|
  double median_ratio = 1;  // predicted / measured: the bias
};
struct ServingScore {
  int rows = 0;
  int refused = 0;
  LatencyError ttft, tpot;
  double coverage = 0;  // share of TTFT and TPOT values inside their intervals
};
struct ServingReport {
  ServingScore overall;
  std::map<std::string, ServingScore> groups;  // "model / GPU / engine"
  std::map<std::string, int> refusals;         // reason -> rows
  int conflicting = 0;                         // rows that repeat a measurement under another configuration: left out
};
Result<ServingReport> ScoreServing(const formats::Table& silicon, uint64_t seed);

}  // namespace assay::serving
