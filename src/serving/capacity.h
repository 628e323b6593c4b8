// How much traffic a deployment carries: the largest rate that keeps its objectives, with an interval over what nobody measured, and
// latency forecasts with the same kind of interval.
#pragma once

#include <optional>
#include <span>

#include "core/quantity.h"
#include "core/result.h"
#include "serving/deployment.h"
#include "serving/metrics.h"

namespace assay::serving {

struct Slo {
  std::optional<double> ttft_ms_p95;
  std::optional<double> tpot_ms_p95;
  std::optional<double> e2e_ms_p95;
};
bool Holds(const Slo& slo, const Summary& summary);

// A run at the likely draw, and at both corners of the assumed ranges and kernel intervals (platform::CornerDraw): everything slow at
// once and everything fast at once, so the interval is wide on purpose.
struct Forecast {
  Outcome likely_outcome;
  Summary likely, fast, slow;
  bool stopped = false;                // by the watch: `likely` is of the requests that had ended, `fast` and `slow` are empty
  double likely_cpu_seconds = 0;       // of the likely run
  Basis basis = Basis::kSimulated;
  std::vector<std::string> notes;      // of the step times: what is bounded, transferred or outside coverage
  int64_t kernels_outside_coverage = 0;
};
struct Setting {
  const platform::Profile* profile = nullptr;
  const Deployment* deployment = nullptr;
  std::string_view gpu = {};           // empty: the profile's
  Clients clients = {};
  size_t warm_up = 0;                  // requests simulated but not reported
  Watch watch = {};                    // sees the share of all runs of a forecast
};
Result<Forecast> MakeForecast(std::span<const Request> requests, const Setting& setting);

// A percentile of the forecast as a quantity: likely value, fast to slow.
Quantity QuantityOf(const Forecast& forecast, double likely, double fast, double slow, std::string unit, std::string what);

struct Capacity {
  Quantity requests_per_s;  // value: at the likely draw; low: everything slow; high: everything fast
  bool open_ended = false;  // the objectives hold even at the highest rate tried
};
// `requests` gives shape and base rate; it is replayed faster and slower. Zero, with a reason in the origin, if the objectives do not hold
// even at a hundredth of the rate.
Result<Capacity> FindCapacity(std::span<const Request> requests, const Slo& slo, const Setting& setting);

}  // namespace assay::serving
