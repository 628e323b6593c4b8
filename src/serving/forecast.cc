// Three runs: likely, everything fast, everything slow.
#include "serving/forecast.h"

#include <algorithm>
#include <array>
#include <ctime>

#include <fmt/format.h>

namespace assay::serving {

Result<Forecast> MakeForecast(std::span<const Request> requests, const Setting& setting) {
  Forecast forecast;
  const Deployment& deployment = *setting.deployment;
  constexpr std::array kOrder = {kLikely, kFast, kSlow};
  for (size_t i = 0; i < kOrder.size(); ++i) {
    ASSAY_TRY(TimedSteps steps, deployment.Steps(kOrder[i]));
    const Watch watch = [&](double share) { return setting.watch((static_cast<double>(i) + share) / static_cast<double>(kOrder.size())); };
    const std::clock_t start = std::clock();
    ASSAY_TRY(Outcome outcome, Simulate(requests, deployment.policy, deployment.pools[kOrder[i]], steps, setting.clients, setting.watch ? watch : Watch()));
    const Summary summary = Summarise(outcome);
    forecast.stopped = outcome.stopped;
    if (outcome.stopped && i > 0) {
      forecast.fast = forecast.slow = Summary();
      return forecast;
    }
    if (i == 0) {
      forecast.likely_cpu_seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
      forecast.likely = summary;
      forecast.likely_outcome = std::move(outcome);
      // A simulation of measured kernels is `simulated`; bounded or assumed kernels make it weaker.
      forecast.basis = Weaker(Basis::kSimulated, steps.timer().basis());
      forecast.notes = steps.timer().notes();
      forecast.kernels_outside_coverage = steps.timer().outside_coverage();
      forecast.is_floor = steps.timer().is_floor();
      if (forecast.stopped) return forecast;
    }
    if (kOrder[i] == kFast) forecast.fast = summary;
    if (kOrder[i] == kSlow) forecast.slow = summary;
  }
  return forecast;
}

Quantity QuantityOf(const Forecast& forecast, double likely, double fast, double slow, std::string unit, std::string what) {
  std::string origin = std::move(what) + ", simulated; interval: all kernels and assumed parts fast, to all slow";
  for (const std::string& note : forecast.notes) origin += "; " + note;
  return {.value = likely, .low = std::min({likely, fast, slow}), .high = std::max({likely, fast, slow}), .unit = std::move(unit),
          .basis = forecast.basis, .origin = std::move(origin)};
}

}  // namespace assay::serving
