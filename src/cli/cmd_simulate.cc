// assay simulate: serving under the user's traffic, in virtual time.
#include <CLI/CLI.hpp>
#include <ctime>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "platform/profile.h"
#include "platform/step_time.h"
#include "serving/arrivals.h"
#include "serving/deployment.h"
#include "serving/metrics.h"
#include "serving/trace_requests.h"

namespace assay::cli {
namespace {

using nlohmann::json;
using namespace serving;

struct Options {
  std::string trace;
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

json ToJson(const PercentileEstimate& p) { return {{"value", p.value}, {"low", p.low}, {"high", p.high}}; }

json ToJson(const Percentiles& p) {
  return {{"p50", p.p50.value}, {"p90", p.p90.value}, {"p95", p.p95.value}, {"p99", p.p99.value}, {"mean", p.mean}, {"count", p.count},
          {"intervals", {{"p50", ToJson(p.p50)}, {"p90", ToJson(p.p90)}, {"p95", ToJson(p.p95)}, {"p99", ToJson(p.p99)}}}};
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

void PrintText(const Options& options, const Outcome& o, const Summary& s, const platform::StepTimer& timer, double cpu_seconds) {
  fmt::print("{} requests in {:.0f} s of virtual time, {:.1f} tokens/s; {} preemptions, {} refused; simulated in {:.2f} CPU s\n", s.requests,
             o.virtual_ms / 1e3, s.output_tokens_per_s, o.preemptions, s.refused, cpu_seconds);
  fmt::print("  {:<9} {:>10} {:>10} {:>10} {:>10}\n", "ms", "p50", "p90", "p95", "p99");
  for (const auto& [name, p] : {std::pair{"TTFT", s.ttft_ms}, std::pair{"TPOT", s.tpot_ms}, std::pair{"E2E", s.e2e_ms}}) {
    fmt::print("  {:<9} {:>10.1f} {:>10.1f} {:>10.1f} {:>10.1f}\n", name, p.p50.value, p.p90.value, p.p95.value, p.p99.value);
  }
  const auto& b = o.ledger.busy;
  const double total = o.virtual_ms / 100;
  fmt::print("  time: attention {:.1f} %, matmul {:.1f} %, collectives {:.1f} %, other {:.1f} %, host {:.1f} %, idle {:.1f} %\n", b.attention_ms / total,
             b.gemm_ms / total, b.collective_ms / total, b.other_ms / total, b.host_ms / total, o.ledger.idle_ms / total);
  fmt::print("  KV pool: mean {:.1f} %, peak {:.1f} %; kernels from {}; norms, host and HTTP assumed (--json lists the ranges)\n",
             100 * o.kv_mean_share, 100 * o.kv_peak_share, options.profile);
  for (const std::string& note : timer.notes()) fmt::print("  note: {}\n", note);
}

Result<int> Run(const Options& options, const Common& common) {
  const auto cache = DTypeFromName(options.kv_dtype);
  const auto weights = DTypeFromName(options.weight_dtype);
  if (!cache) return BadInput(fmt::format("--kv-dtype '{}' is no dtype; bf16 and fp8 are measured", options.kv_dtype));
  if (!weights) return BadInput(fmt::format("--weight-dtype '{}' is no dtype; bf16 and fp8 are measured", options.weight_dtype));
  if (!(options.rate_scale > 0) || options.rate_scale > 1e6) return BadInput("--rate-scale must be above 0");
  if (!(options.memory_fraction > 0) || options.memory_fraction > 1) return BadInput("--memory-fraction must be in (0, 1]");
  ASSAY_TRY(const TraceRequests trace, ReadTraceRequests(options.trace));
  ASSAY_TRY(const platform::Profile profile, platform::LoadProfile(options.profile));
  const platform::Gpu* gpu = platform::FindGpu(profile.gpu);
  if (gpu == nullptr) return Unsupported(fmt::format("no datasheet of {}", profile.gpu));

  const platform::DenseShape shape{.name = "llama-3.1-8b", .tensor_parallel = options.tensor_parallel, .weights = *weights, .cache = *cache};
  Deployment deployment;
  ASSAY_TRY(deployment.model, platform::DenseStepModel(shape));
  deployment.weight_bytes = WeightBytes(deployment.model, shape.vocabulary);
  deployment.memory_fraction = options.memory_fraction;
  deployment.policy = {.max_batched_tokens = options.max_batched_tokens, .max_sequences = options.max_sequences,
                       .prefill = options.whole_prompts ? PrefillMode::kWhole : PrefillMode::kChunked};
  ASSAY_TRY(platform::StepTimer timer, platform::StepTimer::Make(profile, deployment.model, platform::LikelyDraw()));
  TimedSteps cost(std::move(timer));
  const std::vector<Request> requests = Rescale(trace.requests, options.rate_scale);
  const std::clock_t start = std::clock();
  ASSAY_TRY(const Outcome outcome, Simulate(requests, deployment.policy, PoolOf(deployment, *gpu), cost));
  const double cpu_seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  const Summary summary = Summarise(outcome);
  if (!common.json) {
    PrintText(options, outcome, summary, cost.timer(), cpu_seconds);
    return static_cast<int>(kFine);
  }
  json assumed = json::array();
  for (const auto& range : platform::StepAssumptions()) {
    assumed.push_back({{"name", range.name}, {"unit", range.unit}, {"low", range.low}, {"likely", range.likely}, {"high", range.high}, {"source", range.source}});
  }
  const json out = {{"schema_version", 1},
                    {"requests", summary.requests},
                    {"refused", summary.refused},
                    {"dropped", trace.dropped},
                    {"virtual_seconds", outcome.virtual_ms / 1e3},
                    {"ttft_ms", ToJson(summary.ttft_ms)},
                    {"tpot_ms", ToJson(summary.tpot_ms)},
                    {"e2e_ms", ToJson(summary.e2e_ms)},
                    {"output_tokens_per_s", summary.output_tokens_per_s},
                    {"ledger", LedgerJson(outcome)},
                    {"kv", {{"mean_share", outcome.kv_mean_share}, {"peak_share", outcome.kv_peak_share}}},
                    {"preemptions", outcome.preemptions},
                    {"running_peak", outcome.running_peak},
                    {"profile", profile.name()},
                    {"model", deployment.model.name},
                    {"basis", NameOf(Basis::kSimulated)},
                    {"kernels_outside_coverage", cost.timer().outside_coverage()},
                    {"assumed", assumed},
                    {"simulator_cpu_seconds", cpu_seconds}};
  fmt::print("{}\n", out.dump());
  return static_cast<int>(kFine);
}

}  // namespace

void Register_simulate(CLI::App& app, const Common& common, int& exit_code) {
  auto options = std::make_shared<Options>();
  app.add_option("--trace", options->trace, "requests: the Azure LLM inference CSV")->required();
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
