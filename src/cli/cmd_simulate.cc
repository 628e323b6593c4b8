// assay simulate: serving under the user's traffic, in virtual time.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/command.h"
#include "core/dtype.h"
#include "platform/model_steps.h"
#include "platform/step_time.h"
#include "serving/forecast.h"
#include "serving/metrics.h"
#include "serving/simulation.h"
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
  std::optional<int64_t> replicas;
  std::string profile = "h100_sxm/vllm/0.24.0";
  std::string kv_dtype = "bf16";
  std::string weight_dtype;
  double rate_scale = 1;
  int tensor_parallel = 1;
  int max_batched_tokens = 8192;
  int max_sequences = 256;
  bool whole_prompts = false;
  double memory_fraction = 0.9;
};

constexpr double kLeastRateScale = 1e-6;
constexpr double kMostRateScale = 1e6;

// Percentiles of the likely run; `interval`: the same percentile with everything fast and everything slow; `sampling`: of finite requests.
// What has no sample is null, never 0; of a floor the value is the fast end, and the other end, of which nothing is known, is null.
// `waits`: a time that a growing backlog makes longer and longer, so that an overloaded run has no figure of it.
json ToJson(const Forecast& forecast, const Percentiles Summary::*of, bool waits) {
  const auto sample = [&](const Summary& summary) { return waits && summary.backlog.grows ? Percentiles() : summary.*of; };
  const Percentiles p = sample(forecast.likely), fast = sample(forecast.fast), slow = sample(forecast.slow);
  json out = {{"mean", json()}, {"count", p.count}, {"interval", json::object()}, {"sampling", json::object()}};
  if (p.count > 0) out["mean"] = p.mean;
  const auto value = [](const Percentiles& from, double number) { return from.count > 0 ? json(number) : json(); };
  const auto add = [&](const char* name, const PercentileEstimate Percentiles::*member) {
    out[name] = forecast.is_floor ? value(fast, (fast.*member).value) : value(p, (p.*member).value);
    out["interval"][name] = {value(fast, (fast.*member).value), forecast.is_floor ? json() : value(slow, (slow.*member).value)};
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

void PrintText(const Simulation& simulation, const Forecast& forecast) {
  const Outcome& o = forecast.likely_outcome;
  const Summary& s = forecast.likely;
  fmt::print("{} requests in {:.0f} s of virtual time, {}; {} preemptions, {} refused; simulated in {:.2f} CPU s\n", s.requests, o.virtual_ms / 1e3,
             s.requests > 0 ? fmt::format("{:.1f} tokens/s", s.output_tokens_per_s) : "no tokens", o.preemptions, s.refused, forecast.likely_cpu_seconds);
  fmt::print("  {}\n", simulation.origin);
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
      if (forecast.is_floor) return fmt::format(">= {}", end(forecast.fast, member));
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
             NameOf(forecast.basis), simulation.deployment.profile.name());
  if (forecast.is_floor) fmt::print("  bound: a part of the time is only known from below, so these can rule a candidate out, never in\n");
  for (const std::string& note : forecast.notes) fmt::print("  note: {}\n", note);
}

Result<DType> ParseDType(std::string_view option, const std::string& name) {
  if (const auto dtype = DTypeFromName(name)) return *dtype;
  return BadInput(fmt::format("{} '{}' is no dtype; bf16 and fp8 are measured", option, name));
}

Result<Simulation> FromOptions(const Options& o) {
  DeploymentPlan plan;
  ASSAY_TRY(plan.model, FindModel(o.model));
  ASSAY_TRY(plan.step.kv.dtype, ParseDType("--kv-dtype", o.kv_dtype));
  if (o.weight_dtype.empty()) {
    ASSAY_TRY(plan.step.weights, platform::TimedWeights(plan.model));
  } else {
    ASSAY_TRY(plan.step.weights, ParseDType("--weight-dtype", o.weight_dtype));
  }
  plan.step.tensor_parallel = o.tensor_parallel;
  plan.policy = {.max_batched_tokens = o.max_batched_tokens, .max_sequences = o.max_sequences,
                 .prefill = o.whole_prompts ? PrefillMode::kWhole : PrefillMode::kChunked};
  plan.memory_fraction = o.memory_fraction;
  return SimulationOfTrace(o.trace, o.rate_scale, plan, o.profile);
}

Result<Simulation> FromUseCase(const Options& o, uint64_t seed) {
  return SimulationOf(o.use_case, {.candidate = o.candidate, .trace = o.trace.empty() ? std::nullopt : std::optional(o.trace), .requests = o.requests,
                                   .replicas = o.replicas, .rate_factor = o.rate_scale, .seed = seed});
}

void PrintJson(const Simulation& simulation, const Forecast& forecast) {
  const Outcome& outcome = forecast.likely_outcome;
  const Summary& summary = forecast.likely;
  const KvPool& pool = simulation.deployment.pools[kLikely];
  json assumed = json::array();
  const auto& draws = simulation.deployment.draws;
  for (const auto& range : platform::StepAssumptions()) {
    const double low = draws[kFast].*range.part, likely = draws[kLikely].*range.part, high = draws[kSlow].*range.part;
    const bool is_own = low == range.low && likely == range.likely && high == range.high;
    assumed.push_back({{"name", range.name}, {"unit", range.unit}, {"low", low}, {"likely", likely}, {"high", high},
                       {"source", is_own ? std::string(range.source) : "[assume] of the use case"}});
  }
  const json out = {{"schema_version", 1},
                    {"requests", summary.requests},
                    {"refused", summary.refused},
                    {"dropped", simulation.dropped},
                    {"beyond_context", simulation.beyond_context},
                    {"traffic", simulation.origin},
                    {"traffic_notes", simulation.notes},
                    {"replicas", simulation.replicas},
                    {"stopped", forecast.stopped},
                    {"overloaded", summary.backlog.grows},
                    {"virtual_seconds", outcome.virtual_ms / 1e3},
                    {"ttft_ms", ToJson(forecast, &Summary::ttft_ms, true)},
                    {"tpot_ms", ToJson(forecast, &Summary::tpot_ms, false)},
                    {"e2e_ms", ToJson(forecast, &Summary::e2e_ms, true)},
                    {"output_tokens_per_s", summary.requests > 0 ? json(summary.output_tokens_per_s) : json()},
                    {"ledger", LedgerJson(outcome)},
                    {"kv", {{"mean_share", outcome.kv_mean_share}, {"peak_share", outcome.kv_peak_share}, {"pool_bytes", pool.pool_bytes},
                             {"peak_bytes", outcome.kv_peak_share * static_cast<double>(pool.pool_bytes)}}},
                    {"preemptions", outcome.preemptions},
                    {"running_peak", outcome.running_peak},
                    {"profile", simulation.deployment.profile.name()},
                    {"model", simulation.deployment.model.name},
                    {"basis", NameOf(forecast.basis)},
                    {"is_floor", forecast.is_floor},
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
  ASSAY_TRY(const Simulation simulation, options.use_case.empty() ? FromOptions(options) : FromUseCase(options, common.seed));
  for (const std::string& note : simulation.notes) fmt::print(stderr, "{}\n", note);

  const StopOnSignal stop;
  const auto forecast_or = [&] {
    Progress progress(stderr, common.quiet, 1, 0);
    return MakeForecast(simulation.requests, {.deployment = &simulation.deployment, .watch = [&](double share) {
                          progress.Share(share, fmt::format("of {} requests, at three draws", simulation.requests.size()));
                          return !StopRequested();
                        }});
  }();
  ASSAY_TRY(const Forecast& forecast, forecast_or);
  if (common.json) {
    PrintJson(simulation, forecast);
  } else {
    PrintText(simulation, forecast);
  }
  if (forecast.stopped) {
    fmt::print(stderr, "assay: stopped; {} of {} requests had ended{}\n", forecast.likely.requests, simulation.requests.size(),
               forecast.likely_outcome.stopped ? ": what is shown is of those alone, and short ones end first" : ", their intervals are missing");
    return kStoppedExitCode;
  }
  if (forecast.likely.requests == 0) {
    return Error{ErrorKind::kNotHeld, fmt::format("no request was served, so there is no sample: each of the {} needs more cache than the pool of {:.2f} GiB "
                                                  "holds; use more ranks, a larger GPU or a smaller cache type", forecast.likely.refused,
                                                  static_cast<double>(simulation.deployment.pools[kLikely].pool_bytes) / 0x1p30)};
  }
  return static_cast<int>(kFine);
}

}  // namespace

void Register_simulate(CLI::App& app, const Common& common, int& exit_code) {
  auto options = std::make_shared<Options>();
  app.add_option("--trace", options->trace, "requests: Azure CSV, Mooncake JSONL or arrival_s,prompt_tokens,output_tokens");
  CLI::Option* usecase = app.add_option("--usecase", options->use_case, "a use case file: model, traffic, platform and policy from it; --trace then replaces its traffic");
  app.add_option("--candidate", options->candidate, "of the use case; default: its baseline")->needs(usecase);
  app.add_option("--requests", options->requests, "of a use case: how many to draw, or the first so many of its trace; default: what the file says, or 4,000")->needs(usecase);
  app.add_option("--replicas", options->replicas, "of a use case: how many share its traffic, of which one is simulated; default: its parallel.data")
      ->needs(usecase)->check(CLI::Range(int64_t{1}, int64_t{1'000'000}));
  app.add_option("--rate-scale", options->rate_scale, "play the trace this many times as fast")->capture_default_str();
  // What the use case says, an option must not say too: neither would be the file's answer.
  for (CLI::Option* alone : {app.add_option("--model", options->model, "a preset, a config.json, a GGUF or TOML file")->capture_default_str(),
                             app.add_option("--profile", options->profile, "platform profile: GPU/ENGINE/VERSION or a .toml file")->capture_default_str(),
                             app.add_option("--kv-dtype", options->kv_dtype, "of the KV cache: bf16 or fp8")->capture_default_str(),
                             app.add_option("--weight-dtype", options->weight_dtype, "of the matrices: bf16 or fp8; default: as the model says"),
                             app.add_option("--tensor-parallel", options->tensor_parallel, "ranks")->capture_default_str(),
                             app.add_option("--max-batched-tokens", options->max_batched_tokens, "token budget of a step")->capture_default_str(),
                             app.add_option("--max-sequences", options->max_sequences, "running sequences at most")->capture_default_str(),
                             app.add_option("--memory-fraction", options->memory_fraction, "of the accelerator's memory for weights and cache")->capture_default_str(),
                             app.add_flag("--whole-prompts", options->whole_prompts, "do not cut prompts at the token budget (no chunked prefill)")}) {
    alone->excludes(usecase);
  }
  app.callback([options, &common, &exit_code] {
    const auto result = Run(*options, common);
    exit_code = result.ok() ? *result : Fail(result.error());
  });
}

}  // namespace assay::cli
