// Files to a deployment and its requests.
#include "serving/simulation.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "formats/trace.h"
#include "serving/platform_names.h"
#include "serving/traffic.h"
#include "serving/workload.h"

namespace assay::serving {

Result<formats::ModelSpec> FindModel(const std::string& preset_or_path) {
  const auto presets = formats::PresetNames();
  if (std::find(presets.begin(), presets.end(), preset_or_path) != presets.end()) return formats::ModelPreset(preset_or_path);
  return formats::ReadModelSpec(preset_or_path);
}

Result<Simulation> SimulationOf(const std::string& usecase_path, const UseCaseChoice& choice) {
  ASSAY_TRY(formats::UseCase usecase, formats::ReadUseCase(usecase_path));
  if (usecase.platform.is_this_cpu) {
    return Unsupported(fmt::format("{}: serving is simulated on accelerators with measured tables, not on this CPU", usecase_path));
  }
  ASSAY_RETURN_IF_ERROR(CheckPlatformNames(usecase));
  const formats::Candidate* candidate = choice.candidate.empty() ? &usecase.baseline() : usecase.Find(choice.candidate);
  if (candidate == nullptr) return BadInput(fmt::format("{}: no candidate '{}'", usecase_path, choice.candidate));
  if (choice.trace) {
    usecase.workload.trace_path = choice.trace;
    usecase.workload.arrivals = formats::Arrivals::kTrace;
    usecase.workload.requests = std::nullopt;  // of the traffic that is replaced
  }
  if (choice.requests) usecase.workload.requests = choice.requests;
  ASSAY_TRY(Traffic traffic, MakeTraffic(usecase, {.rate_factor = choice.rate_factor}, choice.seed));
  ASSAY_TRY(Deployment deployment, DeploymentOf(usecase, *candidate, Assumptions(usecase)));
  const auto replicas = static_cast<double>(choice.replicas.value_or(usecase.platform.parallel.data));
  const bool is_batch = traffic.requests_per_second <= 0;
  const double rate = is_batch ? 1 : traffic.requests_per_second / replicas;
  Simulation simulation{.deployment = std::move(deployment), .requests = traffic.At(rate), .replicas = replicas, .origin = traffic.origin,
                        .dropped = traffic.dropped, .beyond_context = traffic.beyond_context, .notes = std::move(traffic.notes)};
  simulation.notes.insert(simulation.notes.begin(), usecase.model.notes.begin(), usecase.model.notes.end());
  if (candidate->implementation_is_own) {
    simulation.notes.push_back(fmt::format("mixed: times of {} {}, against the baseline's {} {}; between two engines they decide nothing", candidate->implementation.engine,
                                           candidate->implementation.version, usecase.engine.name, usecase.engine.version));
  }
  if (!is_batch) simulation.origin += fmt::format(", {:.4g} requests/s to one of {:.0f} replica(s)", rate, replicas);
  return simulation;
}

Result<Simulation> SimulationOfTrace(const std::string& trace_path, double rate_factor, const DeploymentPlan& plan, std::string_view profile_name) {
  ASSAY_TRY(const formats::Trace trace, formats::ReadTrace(trace_path));
  ASSAY_TRY(Workload workload, FromTrace(trace, {.rate = rate_factor}));
  workload.notes.insert(workload.notes.begin(), trace.warnings.begin(), trace.warnings.end());
  NoteFewRequests(&workload);
  NoteBeyondContext(plan.model, &workload);
  workload.notes.insert(workload.notes.begin(), plan.model.notes.begin(), plan.model.notes.end());
  ASSAY_TRY(const platform::Profile profile, platform::LoadProfile(profile_name));
  ASSAY_TRY(Deployment deployment, MakeDeployment(plan, profile, "", Assumptions()));
  const std::string speed = rate_factor == 1 ? "" : fmt::format(" {:g} times as fast", rate_factor);
  return Simulation{.deployment = std::move(deployment), .requests = std::move(workload.requests), .replicas = 1,
                    .origin = fmt::format("{}, its own arrivals{}", trace_path, speed), .dropped = workload.dropped,
                    .beyond_context = workload.beyond_context, .notes = std::move(workload.notes)};
}

}  // namespace assay::serving
