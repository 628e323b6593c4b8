#include "advice/serving_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "serving/rate_limit.h"

namespace assay {
namespace {

using serving::Corner;
using serving::kCorners;
using serving::kFast;
using serving::kLikely;
using serving::kSlow;
using serving::TrafficShape;

constexpr double kIdleRate = 1e-3;              // requests/s: every request finds the service empty
constexpr size_t kFewestRequests = 100;         // a p95 of fewer is a guess, and a rate limit found with them is the length of the trace
constexpr double kDefaultTtftLimitMs = 10'000;  // without a TTFT objective a queue that keeps a person waiting longer counts as overload
// How thoroughly the rate limit is searched: requests replayed a trial, and the bracket at which bisection ends.
struct SearchEffort {
  size_t requests;
  double bracket;
};
constexpr SearchEffort kThorough = {2000, 1.005};
constexpr SearchEffort kQuick = {500, 1.03};

// Everything that one corner needs to simulate.
struct Service {
  serving::TimedSteps steps;
  serving::KvPool pool;
  serving::Policy policy;
  double outside_share = 0;  // of busy time, at the highest rate that was found to hold
};

Result<serving::Deployment> DeploymentFor(const ServingRequest& request) {
  return serving::DeploymentOf(*request.usecase, *request.plan->candidate, serving::Assumptions(*request.usecase, request.assume));
}

Result<Service> MakeService(const serving::Deployment& deployment, Corner corner) {
  ASSAY_TRY(serving::TimedSteps steps, deployment.Steps(corner));
  return Service{std::move(steps), deployment.pools[corner], deployment.policy};
}

constexpr const char* kNoTpot = "no answer has a second token, so there is no time between tokens";

serving::Slo SloOf(const formats::Objective& objective) {
  return {.ttft_ms_p95 = objective.ttft_ms_p95.value_or(kDefaultTtftLimitMs), .tpot_ms_p95 = objective.tpot_ms_p95, .e2e_ms_p95 = objective.e2e_ms_p95};
}

// The largest rate that holds; remembers what share of the time lay beyond the measured rows there.
Result<serving::RateLimit> MaxRate(const ServingRequest& request, Service& service, SearchEffort effort) {
  const serving::Slo slo = SloOf(request.usecase->objective);
  const auto holds = [&](double rate) -> Result<bool> {
    ASSAY_TRY(const serving::Outcome outcome, serving::Simulate(request.traffic->At(rate, effort.requests), service.policy, service.pool, service.steps));
    const serving::Summary summary = serving::Summarise(outcome);
    if (slo.tpot_ms_p95 && summary.requests > 0 && summary.tpot_ms.count == 0) {
      return Unsupported(fmt::format("{}; leave tpot_ms_p95 out of the objective", kNoTpot));
    }
    const bool fine = serving::Holds(slo, summary);
    if (fine) service.outside_share = platform::OutsideShare(outcome.ledger.busy);
    return fine;
  };
  return serving::LargestRate(holds, {.idle = kIdleRate, .bracket = effort.bracket});
}

// A search that ended at its highest rate found no limit: the rate is "at least" and open above.
void OpenAbove(const std::array<serving::RateLimit, 3>& limits, Quantity* rate) {
  if (std::none_of(limits.begin(), limits.end(), [](const serving::RateLimit& limit) { return limit.at_least; })) return;
  rate->high = std::numeric_limits<double>::infinity();
  rate->origin = fmt::format("at least: the search for a limit ends at {:.0f} requests/s; ", serving::RateSearch{}.most) + rate->origin;
  if (limits[kLikely].at_least) rate->basis = Weaker(rate->basis, Basis::kBounded);
}

// What the rows lack for a step whose extrapolated share is more than is tolerated; empty if it is not.
std::string OutsideNote(const platform::StepTimer& timer, double outside_share) {
  if (outside_share <= platform::kOutsideShareTolerated) return "";
  std::string note = fmt::format("{:.0f} % of the time is extrapolated beyond the measured rows; these rows would fill it: ", 100 * outside_share);
  const std::vector<std::string> missing = timer.MissingRows();
  for (size_t i = 0; i < missing.size(); ++i) note += (i > 0 ? "; " : "") + missing[i];
  return note;
}

// Where the truth lies beside a number made of steps of which a part is only a floor: above a time, below a rate.
enum class Grows { kWithTime, kAgainstTime };

// The one place where numbers are made of steps: the basis is that of the steps (the weakest among their parts), the interval that of the
// three corners, and where a step is a floor the end that nothing is known of stays open.
struct FromSteps {
  const platform::StepTimer& timer;
  std::string outside_note{};

  [[nodiscard]] Quantity Make(const std::array<double, 3>& values, Grows grows, std::string unit, std::string origin) const {
    constexpr double kOpen = std::numeric_limits<double>::infinity();
    const auto [low, high] = std::minmax({values[0], values[1], values[2]});
    for (const std::string& note : timer.notes()) origin += "; " + note;
    if (!outside_note.empty()) origin += "; " + outside_note;
    Quantity made{values[kLikely], low, high, std::move(unit), Weaker(Basis::kSimulated, timer.basis()), std::move(origin)};
    if (timer.is_floor() && grows == Grows::kWithTime) made.value = made.low, made.high = kOpen;
    if (timer.is_floor() && grows == Grows::kAgainstTime) made.value = made.high, made.low = -kOpen;
    return made;
  }
};

// Under a growing backlog a wait tells the length of the run: it is at least what the corner without one waits, and open above.
void OpenForOverload(const std::array<bool, 3>& overloaded, Quantity* waits) {
  if (!overloaded[kLikely] && !overloaded[kSlow]) return;
  waits->high = std::numeric_limits<double>::infinity();
  if (overloaded[kLikely]) {
    waits->value = waits->low;
    waits->basis = Weaker(waits->basis, Basis::kBounded);
  }
  waits->origin = fmt::format("{}{}; {}", serving::kOverloaded, overloaded[kLikely] ? "" : " (in the pessimistic corner)", waits->origin);
}

void Refuse(ServingFacts& facts, const std::string& reason) {
  facts.max_rate = Quantity::Refused("1/s", reason);
  for (Quantity* q : {&facts.ttft_ms_p50, &facts.ttft_ms_p95, &facts.ttft_ms_p99, &facts.tpot_ms_p50, &facts.tpot_ms_p95, &facts.tpot_ms_p99, &facts.e2e_ms_p95, &facts.decode_step_ms}) {
    *q = Quantity::Refused("ms", reason);
  }
  facts.kv_peak_bytes = Quantity::Refused("B", reason);
  facts.preemptions = Quantity::Refused("preemptions", reason);
  facts.batch_mean = Quantity::Refused("sequences", reason);
  facts.attention_share_decode = facts.attention_share_prefill = facts.outside_share = Quantity::Refused("fraction", reason);
}

// Attention's share of a step with the interval that both ends of both parts allow.
Quantity ShareOf(const FromSteps& from, const std::array<platform::StepParts, 3>& parts, std::string origin) {
  const auto share = [](double attention, double rest) { return attention / (attention + rest); };
  const auto rest = [&](Corner corner) { return parts[corner].total_ms() - parts[corner].attention_ms; };
  Quantity made = from.Make({share(parts[kFast].attention_ms, rest(kSlow)), platform::AttentionShare(parts[kLikely]),
                             share(parts[kSlow].attention_ms, rest(kFast))}, Grows::kWithTime, "fraction", std::move(origin));
  made.high = std::min(made.high, 1.0);  // a share, at most all of it
  return made;
}

// The likely run's latencies, ascending, for pictures.
void AddLatencies(const serving::Outcome& outcome, ServingFacts* facts) {
  for (const serving::RequestTimes& times : outcome.requests) {
    if (!times.served()) continue;
    facts->ttft_ms.push_back(times.ttft_ms());
    if (times.output_tokens > 1) facts->tpot_ms.push_back(times.tpot_ms());
  }
  std::sort(facts->ttft_ms.begin(), facts->ttft_ms.end());
  std::sort(facts->tpot_ms.begin(), facts->tpot_ms.end());
}

// Sampled points of (context, sequences running) over decoded tokens: where the traffic lies on the crossover map.
std::vector<ServingFacts::Load> SampleLoad(const std::vector<serving::Request>& requests, const serving::Outcome& outcome) {
  std::vector<std::pair<double, int>> changes;  // time, +1 or -1
  for (const serving::RequestTimes& times : outcome.requests) {
    if (!times.served()) continue;
    changes.emplace_back(times.first_token_ms, 1);
    changes.emplace_back(times.end_ms, -1);
  }
  std::sort(changes.begin(), changes.end());
  std::vector<double> at, running;
  double now = 0;
  for (const auto& [time, change] : changes) {
    now += change;
    at.push_back(time);
    running.push_back(now);
  }
  std::vector<ServingFacts::Load> load;
  for (size_t i = 0; i < outcome.requests.size(); ++i) {
    const serving::RequestTimes& times = outcome.requests[i];
    if (!times.served() || times.output_tokens < 2) continue;
    const int points = std::max(1, times.output_tokens / 32);
    for (int p = 0; p < points; ++p) {
      const double part = (p + 0.5) / points;
      const double time = times.first_token_ms + part * (times.end_ms - times.first_token_ms);
      const auto after = std::upper_bound(at.begin(), at.end(), time);
      const double concurrency = after == at.begin() ? 1 : running[static_cast<size_t>(after - at.begin()) - 1];
      load.push_back({requests[i].prompt_tokens + part * times.output_tokens, std::max(concurrency, 1.0)});
    }
  }
  return load;
}

}  // namespace

bool IsExtrapolated(const Quantity& outside_share) { return !outside_share.refused() && outside_share.value > platform::kOutsideShareTolerated; }

ServingFacts EvaluateServing(const ServingRequest& request) {
  ServingFacts facts;
  const auto deployment = DeploymentFor(request);
  if (!deployment.ok()) {
    Refuse(facts, deployment.error().message);
    return facts;
  }
  std::vector<Service> services;
  for (const Corner corner : kCorners) {
    auto service = MakeService(*deployment, corner);
    if (!service.ok()) {
      Refuse(facts, service.error().message);
      return facts;
    }
    services.push_back(std::move(service).value());
  }
  if (request.traffic->unit_rate.size() < kFewestRequests) {
    Refuse(facts, fmt::format("{} requests are too few for a 95th percentile; give at least {}", request.traffic->unit_rate.size(), kFewestRequests));
    return facts;
  }
  const std::string profile = deployment->profile.name();
  facts.rate_origin = fmt::format("kernel times of {}; {}; {}", profile, request.traffic->origin,
                                  "interval: optimistic and pessimistic corner of kernel errors and assumed parts; weakest part: norms, sampling and host time, declared ranges");

  std::array<double, 3> max_rate{};
  std::array<serving::RateLimit, 3> limits;
  std::array<double, 3> outside{};
  for (const Corner corner : kCorners) {
    const auto limit = MaxRate(request, services[corner], kThorough);
    if (!limit.ok()) {
      Refuse(facts, limit.error().message);
      return facts;
    }
    limits[corner] = *limit;
    max_rate[corner] = limit->requests_per_s;
    outside[corner] = services[corner].outside_share;
  }
  FromSteps from{.timer = services[kLikely].steps.timer()};
  facts.max_rate = from.Make(max_rate, Grows::kAgainstTime, "1/s", "largest rate at which the simulated p95 holds the objectives; " + facts.rate_origin);
  OpenAbove(limits, &facts.max_rate);

  // Sized for the pessimistic corner: whoever runs the service must hold the objective there too. If even an idle replica misses it,
  // the likely corner, and the misses show.
  const double planned = request.traffic->requests_per_second * (1 + request.usecase->platform.spare_share);
  const double sizing = facts.max_rate.low > 0 ? facts.max_rate.low : facts.max_rate.value > 0 ? facts.max_rate.value : facts.max_rate.high;
  facts.replicas = sizing > 0 ? std::max(1.0, std::ceil(planned / sizing)) : 1;
  // A replica that holds the objective at no rate is judged idle: its own latency misses, not a queue that more replicas would drain.
  const double shared_rate = planned / (1 + request.usecase->platform.spare_share) / facts.replicas;
  const double replica_rate = sizing > 0 ? std::max(shared_rate, kIdleRate) : kIdleRate;

  std::array<serving::Summary, 3> summaries;
  std::array<bool, 3> overloaded{};
  std::array<double, 3> kv_peak{}, preemptions{}, batch{}, step_ms{};
  std::array<platform::StepParts, 3> decode_parts, prefill_parts;
  const TrafficShape shape = ShapeOf(*request.traffic);
  const auto requests = request.traffic->At(replica_rate);
  for (const Corner corner : kCorners) {
    Service& service = services[corner];
    const auto outcome = serving::Simulate(requests, service.policy, service.pool, service.steps);
    if (!outcome.ok()) {
      Refuse(facts, outcome.error().message);
      return facts;
    }
    if (outcome->refused > 0) {
      Refuse(facts, fmt::format("{} of {} requests do not fit the cache of a replica alone; more ranks or a smaller cache type would let them", outcome->refused, requests.size()));
      return facts;
    }
    summaries[corner] = serving::Summarise(*outcome);
    overloaded[corner] = summaries[corner].backlog.grows;
    kv_peak[corner] = outcome->kv_peak_share * static_cast<double>(service.pool.pool_bytes);
    preemptions[corner] = static_cast<double>(outcome->preemptions);
    outside[corner] = std::max(outside[corner], platform::OutsideShare(outcome->ledger.busy));
    batch[corner] = outcome->ledger.steps > 0 ? static_cast<double>(outcome->ledger.decode_tokens) / static_cast<double>(outcome->ledger.steps) : 0;
    if (corner == kLikely) {
      AddLatencies(*outcome, &facts);
      facts.load = SampleLoad(requests, *outcome);
    }
  }
  // One step at the likely batch, timed in every corner, so that the interval is of time and not of batch size.
  const int sequences = std::max(1, static_cast<int>(std::lround(batch[kLikely])));
  for (const Corner corner : kCorners) {
    auto timer_or = platform::StepTimer::Make(deployment->profile, deployment->model, deployment->draws[corner], deployment->gpu.name);
    if (!timer_or.ok()) continue;  // it was made a moment ago for the same request
    platform::StepTimer& timer = *timer_or;
    decode_parts[corner] = timer.Step({}, sequences, shape.decode_context_mean);
    const platform::PrefillChunk chunk{.prefix_tokens = 0, .tokens = shape.prompt_p50};
    prefill_parts[corner] = timer.Step({&chunk, 1}, 0, 0);
    step_ms[corner] = decode_parts[corner].total_ms();
  }
  from.outside_note = OutsideNote(from.timer, outside[kLikely]);
  if (!from.outside_note.empty()) facts.max_rate.origin += "; " + from.outside_note;
  const std::string at_rate = fmt::format("simulated at {:.4g} requests/s a replica, {:.0f} replica(s); {}", replica_rate, facts.replicas, facts.rate_origin);
  const auto percentile = [&](const serving::Percentiles serving::Summary::*of, const serving::PercentileEstimate serving::Percentiles::*p) {
    std::array<double, 3> values{};
    for (const Corner corner : kCorners) {
      if ((summaries[corner].*of).count == 0) return Quantity::Refused("ms", kNoTpot);
      values[corner] = (summaries[corner].*of.*p).value;
    }
    return from.Make(values, Grows::kWithTime, "ms", at_rate);
  };
  using serving::Percentiles;
  using serving::Summary;
  facts.ttft_ms_p50 = percentile(&Summary::ttft_ms, &Percentiles::p50);
  facts.ttft_ms_p95 = percentile(&Summary::ttft_ms, &Percentiles::p95);
  facts.ttft_ms_p99 = percentile(&Summary::ttft_ms, &Percentiles::p99);
  facts.tpot_ms_p50 = percentile(&Summary::tpot_ms, &Percentiles::p50);
  facts.tpot_ms_p95 = percentile(&Summary::tpot_ms, &Percentiles::p95);
  facts.tpot_ms_p99 = percentile(&Summary::tpot_ms, &Percentiles::p99);
  facts.e2e_ms_p95 = percentile(&Summary::e2e_ms, &Percentiles::p95);
  for (Quantity* waits : {&facts.ttft_ms_p50, &facts.ttft_ms_p95, &facts.ttft_ms_p99, &facts.e2e_ms_p95}) OpenForOverload(overloaded, waits);
  facts.kv_peak_bytes = from.Make(kv_peak, Grows::kWithTime, "B", at_rate);
  facts.preemptions = from.Make(preemptions, Grows::kWithTime, "preemptions", at_rate);
  facts.batch_mean = from.Make(batch, Grows::kWithTime, "sequences", at_rate);
  const std::string step_origin = fmt::format("one step of {} sequences at {:.0f} tokens of context; {}; weakest part: norms, sampling and host time, declared ranges", sequences,
                                              shape.decode_context_mean, profile);
  facts.decode_step_ms = from.Make(step_ms, Grows::kWithTime, "ms", step_origin);
  facts.attention_share_decode = ShareOf(from, decode_parts, step_origin);
  facts.attention_share_prefill = ShareOf(from, prefill_parts, fmt::format("one step that prefills a prompt of {:.0f} tokens; {}; weakest part: norms and host time, declared ranges", shape.prompt_p50, profile));
  const auto [outside_low, outside_high] = std::minmax({outside[0], outside[1], outside[2]});
  facts.outside_share = {outside[kLikely], outside_low, outside_high, "fraction", Weaker(Basis::kSimulated, from.timer.basis()),
                         from.outside_note.empty() ? "kernel calls from beyond the measured region, of busy time; " + profile : from.outside_note};
  return facts;
}

Quantity QuickMaxRate(const ServingRequest& request) {
  std::array<double, 3> rates{};
  std::array<serving::RateLimit, 3> limits;
  const auto deployment = DeploymentFor(request);
  if (!deployment.ok()) return Quantity::Refused("1/s", deployment.error().message);
  std::vector<Service> services;
  for (const Corner corner : kCorners) {
    auto service = MakeService(*deployment, corner);
    if (!service.ok()) return Quantity::Refused("1/s", service.error().message);
    services.push_back(std::move(service).value());
    const auto limit = MaxRate(request, services.back(), kQuick);
    if (!limit.ok()) return Quantity::Refused("1/s", limit.error().message);
    limits[corner] = *limit;
    rates[corner] = limit->requests_per_s;
  }
  Quantity rate = FromSteps{.timer = services[kLikely].steps.timer()}.Make(rates, Grows::kAgainstTime, "1/s", "a short search for flips");
  OpenAbove(limits, &rate);
  return rate;
}

Result<DecodeStepModel> DecodeStepModel::Make(const ServingRequest& request) {
  ASSAY_TRY(const serving::Deployment deployment, DeploymentFor(request));
  std::vector<platform::StepTimer> timers;
  for (const Corner corner : kCorners) {
    platform::StepDraw draw = deployment.draws[kLikely];
    draw.attention_factor = deployment.draws[corner].attention_factor;
    draw.prefill_factor = deployment.draws[corner].prefill_factor;
    draw.outside_factor = deployment.draws[corner].outside_factor;
    ASSAY_TRY(platform::StepTimer timer, platform::StepTimer::Make(deployment.profile, deployment.model, draw, deployment.gpu.name));
    timers.push_back(std::move(timer));
  }
  return DecodeStepModel(std::move(timers[0]), std::move(timers[1]), std::move(timers[2]), deployment.pools[kLikely]);
}

DecodeStepModel::Step DecodeStepModel::At(double context_tokens, int sequences) {
  const int64_t bytes = pool_.BytesFor(static_cast<int64_t>(context_tokens));
  if (bytes * sequences > pool_.pool_bytes) return {.time = Quantity::Refused("ms", "the caches do not fit the memory"), .is_extrapolated = false};
  const platform::StepParts likely = likely_.Step({}, sequences, context_tokens);
  const std::array<double, 3> ms = {low_.Step({}, sequences, context_tokens).total_ms(), likely.total_ms(), high_.Step({}, sequences, context_tokens).total_ms()};
  const FromSteps from{.timer = likely_, .outside_note = OutsideNote(likely_, platform::OutsideShare(likely))};
  return {.time = from.Make(ms, Grows::kWithTime, "ms", "kernel-time profile; assumed parts at their likely values"), .is_extrapolated = !from.outside_note.empty()};
}

}  // namespace assay
