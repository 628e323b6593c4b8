// The one list of metrics. To add a metric: one line, in the group of its probe. Never change the unit of an existing one: files in
// the field hold it; add a new name instead.
#include "store/metrics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "fmt/format.h"
#include "store/nearest.h"

namespace assay {
namespace {

constexpr auto kUp = Direction::kHigherIsBetter;
constexpr auto kDown = Direction::kLowerIsBetter;
constexpr auto kNone = Direction::kNeither;
constexpr auto kMedian = Aggregation::kMedian;
constexpr auto kMean = Aggregation::kMean;
constexpr auto kMax = Aggregation::kMaximum;
constexpr auto kPct = Aggregation::kPercentile;
constexpr auto kSum = Aggregation::kSum;
constexpr auto kAsIs = Aggregation::kNone;

std::vector<Metric> BuildList() {
  std::vector<Metric> list = {
      // Arithmetic of a mechanism and of a model.
      {"kv_bytes_per_token", "B", kDown, kAsIs, "Bytes a token adds to the cache, all layers, scales and metadata included."},
      {"kv_bytes_per_token_layer", "B", kDown, kAsIs, "Bytes a token adds to the cache of one layer."},
      {"kv_bytes_per_sequence", "B", kDown, kAsIs, "Cache and state bytes of one sequence at its context."},
      {"state_bytes_per_sequence", "B", kDown, kAsIs, "Bytes of a sequence that do not grow with its context (recurrent and conv state)."},
      {"state_equivalent_tokens", "tokens", kNone, kAsIs, "Tokens of the baseline's cache that take the bytes of this state."},
      {"weight_bytes", "B", kDown, kAsIs, "Bytes of the model's weights on one device group."},
      {"useful_flops_per_token", "FLOP", kDown, kAsIs, "Useful operations for one decoded token."},
      {"bytes_read_per_token", "B", kDown, kAsIs, "Cache and state bytes read to decode one token."},
      {"arithmetic_intensity", "FLOP/B", kNone, kAsIs, "Operations per byte moved."},
      {"break_even_memory_tokens", "tokens", kNone, kAsIs, "Context from which the candidate keeps fewer bytes than the baseline."},
      {"break_even_traffic_tokens", "tokens", kNone, kAsIs, "Context from which the candidate moves fewer bytes per decoded token than the baseline."},
      {"kv_ratio", "ratio", kDown, kAsIs, "Cache bytes of the candidate over those of the baseline."},
      // Traffic of a use case.
      {"request_rate_per_second", "1/s", kNone, kMean, "Requests that arrive in a second."},
      {"request_count", "requests", kNone, kSum, "Requests in the trace or in the simulated window."},
      {"prompt_tokens", "tokens", kNone, kPct, "Prompt length of a request."},
      {"output_tokens", "tokens", kNone, kPct, "Output length of a request."},
      {"context_tokens", "tokens", kNone, kPct, "Context of a request at its end."},
      {"decode_context_tokens", "tokens", kNone, kPct, "Context under which a decoded token is computed, weighted by tokens."},
      {"outside_coverage_share", "fraction", kDown, kAsIs, "Share of a service's busy time from kernels beyond the measured region of their tables."},
      {"attention_share_decode", "fraction", kNone, kAsIs, "Share of a decode step that is attention."},
      {"attention_share_prefill", "fraction", kNone, kAsIs, "Share of a prefill step that is attention."},
      {"amdahl_bound", "fraction", kNone, kAsIs, "Largest share of TPOT that any attention mechanism could save."},
      // Cost measured on this machine.
      {"prefill_time_ms", "ms", kDown, kMedian, "Time of one prefill call of the attention kernel."},
      {"decode_time_ms", "ms", kDown, kMedian, "Time of one decode call of the attention kernel."},
      {"kernel_time_ms", "ms", kDown, kMedian, "Time of one kernel call."},
      {"time_ratio", "ratio", kDown, kMedian, "Time of the subject over the time of the baseline in the same round."},
      {"ceiling_share", "fraction", kUp, kMedian, "Share of this machine's ceiling, measured in the same round, that the kernel reaches."},
      {"achieved_flops_per_second", "FLOP/s", kUp, kMedian, "Useful operations per second."},
      {"achieved_bytes_per_second", "B/s", kUp, kMedian, "Bytes moved per second."},
      {"ceiling_flops_per_second", "FLOP/s", kUp, kMax, "Best burst of this machine's arithmetic."},
      {"ceiling_bytes_per_second", "B/s", kUp, kMax, "Best burst of this machine's memory level."},
      // Numerics.
      {"row_error", "ratio", kDown, kMax, "Largest error of an output row over the sum of p_j |v_j| of that row."},
      {"error_vs_twin", "ratio", kDown, kMax, "Error over the error of the same algorithm in the kernel's own precision."},
      {"probe_passed", "bool", kUp, kAsIs, "1 if the probe found nothing, 0 if it did."},
      {"finding_count", "findings", kDown, kSum, "Findings of a probe."},
      {"bitwise_mismatch_count", "values", kDown, kSum, "Values that changed when batch, split or threads changed."},
      {"error_growth_exponent", "exponent", kDown, kAsIs, "Exponent of the growth of error with length."},
      // Quality of the user's model and text.
      {"quality_loss_points", "points", kDown, kMean, "Points lost on the user's task."},
      // Serving.
      {"ttft_ms", "ms", kDown, kPct, "Time to first token."},
      {"tpot_ms", "ms", kDown, kPct, "Time per output token after the first."},
      {"e2e_ms", "ms", kDown, kPct, "Time from arrival to last token."},
      {"ttft_ms_p50", "ms", kDown, kPct, "Median time to first token."},
      {"ttft_ms_p95", "ms", kDown, kPct, "95th percentile of time to first token."},
      {"ttft_ms_p99", "ms", kDown, kPct, "99th percentile of time to first token."},
      {"tpot_ms_p50", "ms", kDown, kPct, "Median time per output token."},
      {"tpot_ms_p95", "ms", kDown, kPct, "95th percentile of time per output token."},
      {"tpot_ms_p99", "ms", kDown, kPct, "99th percentile of time per output token."},
      {"e2e_ms_p95", "ms", kDown, kPct, "95th percentile of time from arrival to last token."},
      {"step_time_ms", "ms", kDown, kMedian, "Time of one engine step."},
      {"max_rate_per_second", "1/s", kUp, kAsIs, "Largest request rate at which the objective holds."},
      {"slo_headroom", "ratio", kUp, kAsIs, "Objective over the value reached: above 1 it holds."},
      {"preemption_count", "preemptions", kDown, kSum, "Requests pushed out of the cache and restarted."},
      {"kv_memory_peak_bytes", "B", kDown, kMax, "Peak cache memory of the simulated service."},
      {"batch_size_mean", "sequences", kNone, kMean, "Sequences decoded together, on average."},
      {"cost_usd_per_month", "USD/month", kDown, kAsIs, "Price of the devices for a month."},
      {"batch_hours", "h", kDown, kAsIs, "Hours until the last document of a batch is done."},
      {"cost_usd_per_document", "USD", kDown, kAsIs, "Price of one document of a batch."},
      {"replica_count", "replicas", kDown, kAsIs, "Copies of the model that carry the traffic."},
      {"net_usd_over_horizon", "USD", kUp, kAsIs, "Savings over the horizon less the switching cost."},
      {"switching_effort_days", "days", kDown, kAsIs, "Engineer days that switching takes."},
      // Claims and switching.
      {"claim_figure", "as claimed", kNone, kAsIs, "The figure of a claim, re-derived or re-measured."},
      {"switching_cost_usd", "USD", kDown, kAsIs, "What switching takes in engineering effort and training."},
      {"break_even_months", "months", kDown, kAsIs, "Months until the switch has paid for itself."},
  };
  std::sort(list.begin(), list.end(), [](const Metric& a, const Metric& b) { return a.name < b.name; });
  for (size_t i = 1; i < list.size(); ++i)
    ASSAY_CHECK(list[i - 1].name != list[i].name, "a metric is registered twice: " + list[i].name);
  return list;
}

const std::vector<Metric>& List() {
  static const std::vector<Metric> list = BuildList();
  return list;
}

}  // namespace

std::span<const Metric> AllMetrics() { return List(); }

const Metric* FindMetric(std::string_view name) {
  const auto& list = List();
  const auto at = std::lower_bound(list.begin(), list.end(), name,
                                   [](const Metric& metric, std::string_view wanted) { return metric.name < wanted; });
  return at != list.end() && at->name == name ? &*at : nullptr;
}

std::string_view NameOf(Direction direction) {
  switch (direction) {
    case Direction::kHigherIsBetter: return "higher is better";
    case Direction::kLowerIsBetter: return "lower is better";
    case Direction::kNeither: return "neither";
  }
  return "?";
}

std::string_view NameOf(Aggregation aggregation) {
  switch (aggregation) {
    case Aggregation::kMedian: return "median";
    case Aggregation::kMean: return "mean";
    case Aggregation::kMinimum: return "minimum";
    case Aggregation::kMaximum: return "maximum";
    case Aggregation::kPercentile: return "percentile";
    case Aggregation::kSum: return "sum";
    case Aggregation::kNone: return "none";
  }
  return "?";
}

Status CheckMeasurement(const Measurement& m) {
  const Metric* metric = FindMetric(m.metric);
  if (metric == nullptr) {
    std::vector<std::string_view> names;
    for (const Metric& known : AllMetrics()) names.push_back(known.name);
    const std::string nearest = NearestName(m.metric, names);
    return BadInput(fmt::format("metric \"{}\" is not registered{}; metrics are declared in src/store/metrics.cc", m.metric,
                                nearest.empty() ? "" : ", did you mean \"" + nearest + "\"?"));
  }
  if (m.run_id.empty() || m.cell_key.empty() || m.probe.empty())
    return BadInput(fmt::format("metric \"{}\": run_id, cell_key and probe must be set", m.metric));
  const Quantity& q = m.quantity;
  if (metric->unit != "as claimed" && q.unit != metric->unit)
    return BadInput(fmt::format("metric \"{}\" is in {}, the measurement is in \"{}\"; convert it before storing", m.metric,
                                metric->unit, q.unit));
  if (q.refused()) {
    if (q.origin.empty())
      return BadInput(fmt::format("metric \"{}\" is refused without a reason; the origin must say why", m.metric));
    return Ok();
  }
  if (std::isnan(q.value) || std::isnan(q.low) || std::isnan(q.high))
    return BadInput(fmt::format("metric \"{}\" is NaN; store it as refused with its reason", m.metric));
  if (q.low > q.value || q.value > q.high)
    return BadInput(fmt::format("metric \"{}\": the interval [{}, {}] does not hold the value {}", m.metric, q.low, q.high, q.value));
  return Ok();
}

}  // namespace assay
