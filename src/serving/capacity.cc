// Capacity by bisection over the rate, at three draws.
#include "serving/capacity.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <limits>

#include <fmt/format.h>

#include "serving/arrivals.h"

namespace assay::serving {
namespace {

struct Machine {
  KvPool pool;
  TimedSteps steps;
};

Result<Machine> MakeMachine(const Setting& setting, const platform::StepDraw& draw) {
  const platform::Profile& profile = *setting.profile;
  const platform::Gpu* gpu = platform::FindGpu(setting.gpu.empty() ? std::string_view(profile.gpu) : setting.gpu);
  if (gpu == nullptr) return Unsupported(fmt::format("no datasheet of accelerator '{}'", setting.gpu.empty() ? profile.gpu : std::string(setting.gpu)));
  ASSAY_TRY(platform::StepTimer timer, platform::StepTimer::Make(profile, setting.deployment->model, draw, setting.gpu));
  return Machine{.pool = PoolOf(*setting.deployment, *gpu), .steps = TimedSteps(std::move(timer))};
}

std::array<platform::StepDraw, 3> Draws(const Setting& setting) {
  return {platform::LikelyDraw(), platform::CornerDraw(*setting.profile, setting.deployment->model, false),
          platform::CornerDraw(*setting.profile, setting.deployment->model, true)};
}

// The largest scale of the base rate that holds, by bisection in the logarithm; holding is monotone but for noise of the percentiles.
Result<double> LargestScale(std::span<const Request> requests, const Slo& slo, const Setting& setting, Machine* machine, bool* open_ended) {
  constexpr double kLeast = 0.01;
  constexpr double kMost = 1024;
  constexpr double kPrecision = 1.01;
  const auto holds = [&](double scale) -> Result<bool> {
    const std::vector<Request> scaled = Rescale(requests, scale);
    ASSAY_TRY(const Outcome outcome, Simulate(scaled, setting.deployment->policy, machine->pool, machine->steps, setting.clients));
    return Holds(slo, Summarise(outcome, setting.warm_up));
  };
  double low = 1;
  ASSAY_TRY(bool fine, holds(low));
  double high = low;
  while (fine && high < kMost) {
    low = high;
    high *= 2;
    ASSAY_TRY(fine, holds(high));
  }
  if (fine) {
    *open_ended = true;
    return high;
  }
  while (high <= 1 && low >= kLeast) {
    low = high / 2;
    ASSAY_TRY(const bool now, holds(low));
    if (now) break;
    high = low;
  }
  if (low < kLeast) return 0.0;
  while (high / low > kPrecision) {
    const double middle = std::sqrt(low * high);
    ASSAY_TRY(const bool now, holds(middle));
    (now ? low : high) = middle;
  }
  return low;
}

}  // namespace

bool Holds(const Slo& slo, const Summary& s) {
  return s.refused == 0 && s.requests > 0 && (!slo.ttft_ms_p95 || s.ttft_ms.p95.value <= *slo.ttft_ms_p95) &&
         (!slo.tpot_ms_p95 || s.tpot_ms.p95.value <= *slo.tpot_ms_p95) && (!slo.e2e_ms_p95 || s.e2e_ms.p95.value <= *slo.e2e_ms_p95);
}

Result<Forecast> MakeForecast(std::span<const Request> requests, const Setting& setting) {
  Forecast forecast;
  const auto draws = Draws(setting);
  for (size_t i = 0; i < draws.size(); ++i) {
    ASSAY_TRY(Machine machine, MakeMachine(setting, draws[i]));
    const Watch watch = [&](double share) { return setting.watch((static_cast<double>(i) + share) / static_cast<double>(draws.size())); };
    const std::clock_t start = std::clock();
    ASSAY_TRY(Outcome outcome, Simulate(requests, setting.deployment->policy, machine.pool, machine.steps, setting.clients,
                                        setting.watch ? watch : Watch()));
    const Summary summary = Summarise(outcome, setting.warm_up);
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
      forecast.basis = Weaker(Basis::kSimulated, machine.steps.timer().basis());
      forecast.notes = machine.steps.timer().notes();
      forecast.kernels_outside_coverage = machine.steps.timer().outside_coverage();
      if (forecast.stopped) return forecast;
    }
    if (i == 1) forecast.fast = summary;
    if (i == 2) forecast.slow = summary;
  }
  return forecast;
}

Quantity QuantityOf(const Forecast& forecast, double likely, double fast, double slow, std::string unit, std::string what) {
  std::string origin = std::move(what) + ", simulated; interval: all kernels and assumed parts fast, to all slow";
  for (const std::string& note : forecast.notes) origin += "; " + note;
  return {.value = likely, .low = std::min({likely, fast, slow}), .high = std::max({likely, fast, slow}), .unit = std::move(unit),
          .basis = forecast.basis, .origin = std::move(origin)};
}

Result<Capacity> FindCapacity(std::span<const Request> requests, const Slo& slo, const Setting& setting) {
  if (requests.size() < 2 || requests.back().arrival_ms <= 0) {
    return BadInput("capacity needs at least two requests that arrive at different times; a batch has no rate");
  }
  const double base_rate = static_cast<double>(requests.size() - 1) / (requests.back().arrival_ms / 1e3);
  Capacity capacity;
  std::array<double, 3> rates{};
  const auto draws = Draws(setting);
  Basis basis = Basis::kSimulated;
  std::string notes;
  for (size_t i = 0; i < draws.size(); ++i) {
    ASSAY_TRY(Machine machine, MakeMachine(setting, draws[i]));
    bool open_ended = false;
    ASSAY_TRY(const double scale, LargestScale(requests, slo, setting, &machine, &open_ended));
    rates[i] = scale * base_rate;
    if (i == 0) {
      capacity.open_ended = open_ended;
      basis = Weaker(basis, machine.steps.timer().basis());
      for (const std::string& note : machine.steps.timer().notes()) notes += "; " + note;
    }
  }
  std::string origin = fmt::format("largest rate that keeps the objectives, from replaying the traffic at other rates{}", notes);
  if (rates[0] == 0) origin = "the objectives do not hold even at a hundredth of the traffic's rate" + notes;
  capacity.requests_per_s = {.value = rates[0], .low = std::min({rates[0], rates[1], rates[2]}), .high = std::max({rates[0], rates[1], rates[2]}),
                             .unit = "requests/s", .basis = basis, .origin = std::move(origin)};
  return capacity;
}

}  // namespace assay::serving
