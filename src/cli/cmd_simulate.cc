// assay simulate: serving under the user's traffic, in virtual time.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/command.h"
#include "formats/model_spec.h"
#include "formats/trace.h"
#include "formats/usecase.h"
#include "platform/model_steps.h"
#include "platform/profile.h"
#include "platform/step_time.h"
#include "serving/forecast.h"
#include "serving/deployment.h"
#include "serving/metrics.h"
#include "serving/workload.h"
#include "study/progress.h"
#include "study/runner.h"

namespace assay::cli {
namespace {

using nlohmann::json;
using namespace serving;

struct Options {
  std::string trace;
  std::string use_case;
  std::string candidate;
  std::string model = "llama-3.1-8b";
  std::optional<int64_t> requests;
  std::string profile = "h100_sxm/vllm/0.24.0";
  std::string kv_dtype = "bf16";
  std::string weight_dtype = "bf16";
  double rate_scale = 1;
  int tensor_parallel = 1;
  int max_batched_tokens = 8192;
  int max_sequences = 256;
  bool whole_prompts = false;
  double memory_fraction = 0.9;
};

constexpr int64_t kDrawnRequests = 10'000;  // of a use case that does not say how many
constexpr double kLeastRateScale = 1e-6;
constexpr double kMostRateScale = 1e6;

// Percentiles of the likely run; `interval`: the same percentile with everything fast and everything slow; `sampling`: of finite requests.
// What has no sample is null, never 0.
// `waits`: a time that a growing backlog makes longer and longer, so that an overloaded run has no figure of it.
json ToJson(const Forecast& forecast, const Percentiles Summary::*of, bool waits) {
  const auto sample = [&](const Summary& summary) { return waits && summary.backlog.grows ? Percentiles() : summary.*of; };
  const Percentiles p = sample(forecast.likely), fast = sample(forecast.fast), slow = sample(forecast.slow);
  json out = {{"mean", json()}, {"count", p.count}, {"interval", json::object()}, {"sampling", json::object()}};
  if (p.count > 0) out["mean"] = p.mean;
  const auto value = [](const Percentiles& from, double number) { return from.count > 0 ? json(number) : json(); };
  const auto add = [&](const char* name, const PercentileEstimate Percentiles::*member) {
    out[name] = value(p, (p.*member).value);
    out["interval"][name] = {value(fast, (fast.*member).value), value(slow, (slow.*member).value)};
    out["sampling"][name] = {value(p, (p.*member).low), value(p, (p.*member).high)};
  };
  add("p50", &Percentiles::p50);
  add("p90", &Percentiles::p90);
  add("p95", &Percentiles::p95);
  add("p99", &Percentiles::p99);
  return out;
}

json LedgerJson(const Outcome& o) {
  const auto& b = o.ledger.busy;
  const double total = o.virtual_ms > 0 ? o.virtual_ms : 1;
  return {{"attention_ms", b.attention_ms}, {"gemm_ms", b.gemm_ms}, {"collective_ms", b.collective_ms}, {"other_ms", b.other_ms},
          {"host_ms", b.host_ms}, {"idle_ms", o.ledger.idle_ms}, {"steps", o.ledger.steps}, {"decode_only_steps", o.ledger.decode_only_steps},
          {"prefill_tokens", o.ledger.prefill_tokens}, {"decode_tokens", o.ledger.decode_tokens},
          {"shares", {{"attention", b.attention_ms / total}, {"gemm", b.gemm_ms / total}, {"collective", b.collective_ms / total},
                      {"other", b.other_ms / total}, {"host", b.host_ms / total}, {"idle", o.ledger.idle_ms / total}}}};
}

void PrintText(const std::string& profile, const Forecast& forecast) {
  const Outcome& o = forecast.likely_outcome;
  const Summary& s = forecast.likely;
  fmt::print("{} requests in {:.0f} s of virtual time, {}; {} preemptions, {} refused; simulated in {:.2f} CPU s\n", s.requests, o.virtual_ms / 1e3,
             s.requests > 0 ? fmt::format("{:.1f} tokens/s", s.output_tokens_per_s) : "no tokens", o.preemptions, s.refused, forecast.likely_cpu_seconds);
  fmt::print("  {:<6} {:>22} {:>22} {:>22}\n", "ms", "p50", "p95", "p99");
  const auto row = [&](const char* name, const Percentiles Summary::*of, bool waits) {
    const Percentiles& p = s.*of;
    if (p.count == 0 || (waits && s.backlog.grows)) {
      fmt::print("  {:<6} {}\n", name, p.count == 0 ? "no sample" : kOverloaded);
      return;
    }
    const auto end = [&](const Summary& summary, const PercentileEstimate Percentiles::*member) {
      if ((summary.*of).count == 0) return std::string("?");
      return waits && summary.backlog.grows ? "overloaded" : fmt::format("{:.1f}", (summary.*of.*member).value);
    };
    const auto cell = [&](const PercentileEstimate Percentiles::*member) {
      return fmt::format("{:.1f} ({}-{})", (p.*member).value, end(forecast.fast, member), end(forecast.slow, member));
    };
    fmt::print("  {:<6} {:>22} {:>22} {:>22}\n", name, cell(&Percentiles::p50), cell(&Percentiles::p95), cell(&Percentiles::p99));
  };
  row("TTFT", &Summary::ttft_ms, true);
  row("TPOT", &Summary::tpot_ms, false);
  row("E2E", &Summary::e2e_ms, true);
  if (s.backlog.grows) {
    fmt::print("  overloaded: {:.0f} requests waited on average in the first quarter of the run, {:.0f} in the last; it serves {:.3g} requests/s\n",
               s.backlog.first_quarter, s.backlog.last_quarter, s.requests_per_s);
  }
  const auto& b = o.ledger.busy;
  const double total = std::max(o.virtual_ms, 1e-9) / 100;
  fmt::print("  time: attention {:.1f} %, matmul {:.1f} %, collectives {:.1f} %, other {:.1f} %, host {:.1f} %, idle {:.1f} %\n", b.attention_ms / total,
             b.gemm_ms / total, b.collective_ms / total, b.other_ms / total, b.host_ms / total, o.ledger.idle_ms / total);
  fmt::print("  KV pool: mean {:.1f} %, peak {:.1f} %\n", 100 * o.kv_mean_share, 100 * o.kv_peak_share);
  fmt::print("  basis: {}; kernels from {}; brackets: everything uncertain fast, to everything slow (norms, host and HTTP are assumed ranges)\n",
             NameOf(forecast.basis), profile);
  for (const std::string& note : forecast.notes) fmt::print("  note: {}\n", note);
}

// What is to be simulated, from a use case's baseline or from the options alone.
struct Plan {
  formats::ModelSpec spec;
  std::vector<formats::MechanismCall> layers;
  platform::StepModelOptions step;
  Policy policy;
  int32_t block_tokens = 16;
  double memory_fraction = 0.9;
  Workload workload;
  std::string profile;
};

Result<DType> ParseDType(std::string_view option, const std::string& name) {
  if (const auto dtype = DTypeFromName(name)) return *dtype;
  return BadInput(fmt::format("{} '{}' is no dtype; bf16 and fp8 are measured", option, name));
}

Result<formats::ModelSpec> FindModel(const std::string& model) {
  const auto presets = formats::PresetNames();
  if (std::find(presets.begin(), presets.end(), model) != presets.end()) return formats::ModelPreset(model);
  return formats::ReadModelSpec(model);
}

Result<Plan> PlanFromOptions(const Options& o) {
  Plan plan;
  ASSAY_TRY(plan.spec, FindModel(o.model));
  ASSAY_TRY(plan.step.cache, ParseDType("--kv-dtype", o.kv_dtype));
  ASSAY_TRY(plan.step.weights, ParseDType("--weight-dtype", o.weight_dtype));
  plan.step.tensor_parallel = o.tensor_parallel;
  plan.policy = {.max_batched_tokens = o.max_batched_tokens, .max_sequences = o.max_sequences,
                 .prefill = o.whole_prompts ? PrefillMode::kWhole : PrefillMode::kChunked};
  plan.memory_fraction = o.memory_fraction;
  plan.profile = o.profile;
  ASSAY_TRY(const formats::Trace trace, formats::ReadTrace(o.trace));
  ASSAY_TRY(plan.workload, FromTrace(trace, {.rate = o.rate_scale}));
  plan.workload.notes.insert(plan.workload.notes.begin(), trace.warnings.begin(), trace.warnings.end());
  return plan;
}

Result<Plan> PlanFromUseCase(const Options& o, uint64_t seed) {
  ASSAY_TRY(formats::UseCase use_case, formats::ReadUseCase(o.use_case));
  if (use_case.platform.is_this_cpu || !use_case.platform.gpu) {
    return Unsupported(fmt::format("{}: serving is simulated on accelerators with measured tables, not on this CPU", o.use_case));
  }
  if (use_case.platform.parallel.pipeline > 1 || use_case.platform.parallel.context > 1) {
    return Unsupported("pipeline and context parallelism are not simulated yet; set them to 1");
  }
  const formats::Candidate* candidate = o.candidate.empty() ? &use_case.baseline() : use_case.Find(o.candidate);
  if (candidate == nullptr) return BadInput(fmt::format("{}: no candidate '{}'", o.use_case, o.candidate));
  if (!o.trace.empty()) {
    use_case.workload.trace_path = o.trace;
    use_case.workload.arrivals = formats::Arrivals::kTrace;
  }
  if (o.requests) use_case.workload.requests = o.requests;
  Plan plan;
  plan.spec = use_case.model;
  plan.layers = candidate->layers;
  plan.step.tensor_parallel = static_cast<int>(use_case.platform.parallel.tensor);
  ASSAY_TRY(plan.step.weights, platform::TimedWeights(use_case.model));
  plan.step.cache = candidate->kv.dtype;
  plan.step.read = candidate->read;
  const formats::EnginePolicy& policy = use_case.engine.policy;
  plan.policy = {.max_batched_tokens = static_cast<int>(policy.max_batched_tokens.value_or(o.max_batched_tokens)),
                 .max_sequences = static_cast<int>(policy.max_sequences.value_or(o.max_sequences)),
                 .prefill = policy.chunked_prefill.value_or(true) ? PrefillMode::kChunked : PrefillMode::kWhole};
  plan.block_tokens = static_cast<int32_t>(policy.block_tokens.value_or(16));
  plan.memory_fraction = use_case.platform.memory_fraction;
  if (use_case.platform.memory_gib) {
    const platform::Gpu* gpu = platform::FindGpu(*use_case.platform.gpu);
    if (gpu == nullptr) return Unsupported(fmt::format("no datasheet of '{}'; `assay platform list` names those known", *use_case.platform.gpu));
    plan.memory_fraction *= *use_case.platform.memory_gib * 0x1p30 / gpu->memory_bytes;
  }
  const formats::Implementation& engine = candidate->implementation;
  plan.profile = use_case.platform.profile_path.value_or(
      fmt::format("{}/{}/{}", *use_case.platform.gpu, engine.engine.empty() ? use_case.engine.name : engine.engine,
                  engine.engine.empty() ? use_case.engine.version : engine.version));
  ASSAY_TRY(plan.workload, FromUseCase(use_case.workload, kDrawnRequests, seed, {.rate = o.rate_scale}));
  return plan;
}

void PrintJson(const Plan& plan, const std::string& profile, const std::string& model, const KvPool& pool, const Forecast& forecast) {
  const Outcome& outcome = forecast.likely_outcome;
  const Summary& summary = forecast.likely;
  json assumed = json::array();
  for (const auto& range : platform::StepAssumptions()) {
    assumed.push_back({{"name", range.name}, {"unit", range.unit}, {"low", range.low}, {"likely", range.likely}, {"high", range.high}, {"source", range.source}});
  }
  const json out = {{"schema_version", 1},
                    {"requests", summary.requests},
                    {"refused", summary.refused},
                    {"dropped", plan.workload.dropped},
                    {"beyond_context", plan.workload.beyond_context},
                    {"traffic_notes", plan.workload.notes},
                    {"stopped", forecast.stopped},
                    {"overloaded", summary.backlog.grows},
                    {"virtual_seconds", outcome.virtual_ms / 1e3},
                    {"ttft_ms", ToJson(forecast, &Summary::ttft_ms, true)},
                    {"tpot_ms", ToJson(forecast, &Summary::tpot_ms, false)},
                    {"e2e_ms", ToJson(forecast, &Summary::e2e_ms, true)},
                    {"output_tokens_per_s", summary.requests > 0 ? json(summary.output_tokens_per_s) : json()},
                    {"ledger", LedgerJson(outcome)},
                    {"kv", {{"mean_share", outcome.kv_mean_share}, {"peak_share", outcome.kv_peak_share}, {"pool_bytes", pool.pool_bytes}}},
                    {"preemptions", outcome.preemptions},
                    {"running_peak", outcome.running_peak},
                    {"profile", profile},
                    {"model", model},
                    {"basis", NameOf(forecast.basis)},
                    {"notes", forecast.notes},
                    {"kernels_outside_coverage", forecast.kernels_outside_coverage},
                    {"assumed", assumed},
                    {"simulator_cpu_seconds", forecast.likely_cpu_seconds}};
  fmt::print("{}\n", out.dump());
}

Result<int> Run(const Options& options, const Common& common) {
  if (options.trace.empty() && options.use_case.empty()) return BadInput("--trace FILE or --usecase FILE is needed");
  if (!(options.rate_scale >= kLeastRateScale && options.rate_scale <= kMostRateScale)) {
    return BadInput(fmt::format("--rate-scale is {:g}; it must be between {:g} and {:g}", options.rate_scale, kLeastRateScale, kMostRateScale));
  }
  if (!(options.memory_fraction > 0) || options.memory_fraction > 1) return BadInput("--memory-fraction must be in (0, 1]");
  ASSAY_TRY(Plan plan, options.use_case.empty() ? PlanFromOptions(options) : PlanFromUseCase(options, common.seed));
  NoteBeyondContext(plan.spec, &plan.workload);
  for (const std::string& note : plan.workload.notes) fmt::print(stderr, "{}\n", note);
  ASSAY_TRY(const platform::Profile profile, platform::LoadProfile(plan.profile));
  const platform::Gpu* gpu = platform::FindGpu(profile.gpu);
  if (gpu == nullptr) return Unsupported(fmt::format("no datasheet of {}", profile.gpu));
  Deployment deployment;
  ASSAY_TRY(deployment.model, platform::MakeStepModel(plan.spec, plan.layers, plan.step));
  deployment.weight_bytes = platform::RankWeightBytes(deployment.model, plan.spec);
  deployment.memory_fraction = plan.memory_fraction;
  deployment.block_tokens = plan.block_tokens;
  deployment.policy = plan.policy;

  const StopOnSignal stop;
  const auto forecast_or = [&] {
    Progress progress(stderr, common.quiet, 1, 0);
    return MakeForecast(plan.workload.requests, {.profile = &profile, .deployment = &deployment, .watch = [&](double share) {
                          progress.Share(share, fmt::format("of {} requests, at three draws", plan.workload.requests.size()));
                          return !StopRequested();
                        }});
  }();
  ASSAY_TRY(const Forecast& forecast, forecast_or);
  const KvPool pool = PoolOf(deployment, *gpu);
  if (common.json) {
    PrintJson(plan, profile.name(), deployment.model.name, pool, forecast);
  } else {
    PrintText(profile.name(), forecast);
  }
  if (forecast.stopped) {
    fmt::print(stderr, "assay: stopped; {} of {} requests had ended{}\n", forecast.likely.requests, plan.workload.requests.size(),
               forecast.likely_outcome.stopped ? ": what is shown is of those alone, and short ones end first" : ", their intervals are missing");
    return kStoppedExitCode;
  }
  if (forecast.likely.requests == 0) {
    return Error{ErrorKind::kNotHeld, fmt::format("no request was served, so there is no sample: each of the {} needs more cache than the pool of {:.2f} GiB "
                                                  "holds; use more ranks, a larger GPU or a smaller cache type", forecast.likely.refused,
                                                  static_cast<double>(pool.pool_bytes) / 0x1p30)};
  }
  return static_cast<int>(kFine);
}

}  // namespace

void Register_simulate(CLI::App& app, const Common& common, int& exit_code) {
  auto options = std::make_shared<Options>();
  app.add_option("--trace", options->trace, "requests: Azure CSV, Mooncake JSONL or arrival_s,prompt_tokens,output_tokens");
  app.add_option("--usecase", options->use_case, "a use case file: model, traffic, platform and policy from it; --trace then replaces its traffic");
  app.add_option("--candidate", options->candidate, "of the use case; default: its baseline");
  app.add_option("--requests", options->requests, "to draw from a use case's distribution; default: what the file says, or 10,000");
  app.add_option("--model", options->model, "a preset, a config.json, a GGUF or TOML file")->capture_default_str();
  app.add_option("--profile", options->profile, "platform profile: GPU/ENGINE/VERSION or a .toml file")->capture_default_str();
  app.add_option("--rate-scale", options->rate_scale, "play the trace this many times as fast")->capture_default_str();
  app.add_option("--kv-dtype", options->kv_dtype, "of the KV cache: bf16 or fp8")->capture_default_str();
  app.add_option("--weight-dtype", options->weight_dtype, "of the matrices: bf16 or fp8")->capture_default_str();
  app.add_option("--tensor-parallel", options->tensor_parallel, "ranks")->capture_default_str();
  app.add_option("--max-batched-tokens", options->max_batched_tokens, "token budget of a step")->capture_default_str();
  app.add_option("--max-sequences", options->max_sequences, "running sequences at most")->capture_default_str();
  app.add_option("--memory-fraction", options->memory_fraction, "of the accelerator's memory for weights and cache")->capture_default_str();
  app.add_flag("--whole-prompts", options->whole_prompts, "do not cut prompts at the token budget (no chunked prefill)");
  app.callback([options, &common, &exit_code] {
    const auto result = Run(*options, common);
    exit_code = result.ok() ? *result : Fail(result.error());
  });
}

}  // namespace assay::cli
