// Three runs: likely, everything fast, everything slow.
#include "serving/forecast.h"

#include <algorithm>
#include <array>
#include <ctime>

#include <fmt/format.h>

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

}  // namespace

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

}  // namespace assay::serving
