// What a deployment does under given requests, with an interval over what nobody measured.
#pragma once

#include <span>

#include "core/quantity.h"
#include "core/result.h"
#include "serving/deployment.h"
#include "serving/metrics.h"

namespace assay::serving {

// A run at each corner of what is uncertain (serving/deployment.h): likely, and everything slow at once and everything fast at once, so the
// interval is wide on purpose.
struct Forecast {
  Outcome likely_outcome;
  Summary likely, fast, slow;
  bool stopped = false;                // by the watch: `likely` is of the requests that had ended, `fast` and `slow` are empty
  double likely_cpu_seconds = 0;       // of the likely run
  Basis basis = Basis::kSimulated;
  std::vector<std::string> notes;      // of the step times: what is bounded, transferred or outside coverage
  int64_t kernels_outside_coverage = 0;
  bool is_floor = false;               // a part of the steps is only bounded from below: so are the times, open above
};
struct Setting {
  const Deployment* deployment = nullptr;
  Clients clients = {};
  Watch watch = {};                    // sees the share of all runs of a forecast
};
Result<Forecast> MakeForecast(std::span<const Request> requests, const Setting& setting);

// A percentile of the forecast as a quantity: likely value, fast to slow.
Quantity QuantityOf(const Forecast& forecast, double likely, double fast, double slow, std::string unit, std::string what);

}  // namespace assay::serving
