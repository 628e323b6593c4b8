// What a run of the simulator says: percentiles with intervals of their own, goodput, and the ledger as shares.
#pragma once

#include <vector>

#include "serving/simulator.h"

namespace assay::serving {

// A percentile of a finite sample with its 95 % order-statistic interval (no distribution assumed; requests of one run are not
// independent, so under heavy queueing the interval is too narrow: replicate for a verdict).
struct PercentileEstimate {
  double value = 0;
  double low = 0;
  double high = 0;
};
struct Percentiles {
  PercentileEstimate p50, p90, p95, p99;
  double mean = 0;
  int64_t count = 0;
};
Percentiles PercentilesOf(std::vector<double> values);

// Requests that had arrived and had no first token yet, as arrivals see them. Where they grow to the end the service takes in less than is
// asked of it: waiting times then tell the length of the run and nothing of the service.
struct Backlog {
  double first_quarter = 0;  // mean over the first quarter of the arrivals
  double last_quarter = 0;
  // From quarter to quarter, by more than a twentieth of what arrived and more than arrivals scatter.
  bool grows = false;
};
Backlog BacklogOf(const Outcome& outcome);
constexpr const char* kOverloaded = "overloaded: the backlog grows to the end, so waiting times are no figures of the service";

struct Summary {
  Percentiles ttft_ms, tpot_ms, e2e_ms;
  int64_t requests = 0;  // served
  int64_t refused = 0;
  double output_tokens_per_s = 0;
  double requests_per_s = 0;
  Backlog backlog;
};
Summary Summarise(const Outcome& outcome);

}  // namespace assay::serving
