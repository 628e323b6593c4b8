// The largest rate that a service carries within its objectives. One search for everyone who asks: `assay audit`, its flips and `assay simulate`.
#pragma once

#include <functional>
#include <optional>

#include "core/result.h"
#include "serving/metrics.h"

namespace assay::serving {

// Percentiles that must hold; empty: not asked.
struct Slo {
  std::optional<double> ttft_ms_p95 = {};
  std::optional<double> tpot_ms_p95 = {};
  std::optional<double> e2e_ms_p95 = {};
};
// Every request served, the backlog not growing, and every percentile within its limit. What has no sample holds nothing: a
// service that serves nobody, or the time between tokens of answers of one token.
bool Holds(const Slo& slo, const Summary& summary);

struct RateLimit {
  double requests_per_s = 0;  // 0: not even an idle service holds the objectives
  bool at_least = false;      // the search ended at its highest rate, which still holds
};

struct RateSearch {
  double idle = 1e-3;      // requests/s: every request finds the service empty
  double most = 1e5;       // requests/s: nobody asks more of one replica
  double bracket = 1.005;  // the found rate holds, this much more does not
};

// By doubling and halving; holding is monotone but for noise of the percentiles. An error of `holds` ends the search: what cannot be
// simulated is not a rate that fails.
Result<RateLimit> LargestRate(const std::function<Result<bool>(double requests_per_s)>& holds, const RateSearch& search);

}  // namespace assay::serving
