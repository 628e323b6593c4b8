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

// The services of all corners, and what was found of each.
struct Services {
  std::vector<Service> at;  // by corner
  std::array<serving::RateLimit, 3> limits{};
  std::array<serving::Outcome, 3> outcomes{};
  std::array<serving::Summary, 3> summaries{};
  std::array<double, 3> outside{};  // share of busy time beyond the measured region: at the limit or in the replay, whichever is more

  template <class Value>
  [[nodiscard]] std::array<double, 3> Of(const Value& value) const {
    return {value(kFast), value(kLikely), value(kSlow)};
  }
};

Result<Services> MakeServices(const serving::Deployment& deployment) {
  Services services;
  for (const Corner corner : kCorners) {
    ASSAY_TRY(Service service, MakeService(deployment, corner));
    services.at.push_back(std::move(service));
  }
  return services;
}

Status FindLimits(const ServingRequest& request, SearchEffort effort, Services* services) {
  for (const Corner corner : kCorners) {
    ASSAY_TRY(services->limits[corner], MaxRate(request, services->at[corner], effort));
    services->outside[corner] = services->at[corner].outside_share;
  }
  return Ok();
}

Quantity LimitOf(const Services& services, const FromSteps& from, std::string origin) {
  Quantity rate = from.Make(services.Of([&](Corner corner) { return services.limits[corner].requests_per_s; }), Grows::kAgainstTime, "1/s", std::move(origin));
  OpenAbove(services.limits, &rate);
  return rate;
}

Status Replay(const std::vector<serving::Request>& requests, Services* services) {
  for (const Corner corner : kCorners) {
    Service& service = services->at[corner];
    ASSAY_TRY(services->outcomes[corner], serving::Simulate(requests, service.policy, service.pool, service.steps));
    const serving::Outcome& outcome = services->outcomes[corner];
    if (outcome.refused > 0) {
      return Unsupported(fmt::format("{} of {} requests do not fit the cache of a replica alone; more ranks or a smaller cache type would let them", outcome.refused,
                                     requests.size()));
    }
    services->summaries[corner] = serving::Summarise(outcome);
    services->outside[corner] = std::max(services->outside[corner], platform::OutsideShare(outcome.ledger.busy));
  }
  return Ok();
}

// How many replicas the traffic needs, and the rate that one of them gets.
struct Sizing {
  double replicas = 1;
  double rate = 0;
};
Sizing SizeFor(const ServingRequest& request, const Quantity& max_rate) {
  // Sized for the pessimistic corner: whoever runs the service must hold the objective there too. If even an idle replica misses it,
  // the likely corner, and the misses show.
  const double planned = request.traffic->requests_per_second * (1 + request.usecase->platform.spare_share);
  const double sizing = max_rate.low > 0 ? max_rate.low : max_rate.value > 0 ? max_rate.value : max_rate.high;
  // A replica that holds the objective at no rate is judged idle: its own latency misses, not a queue that more replicas would drain.
  if (sizing <= 0) return {.replicas = 1, .rate = kIdleRate};
  const double replicas = std::max(1.0, std::ceil(planned / sizing));
  return {.replicas = replicas, .rate = std::max(request.traffic->requests_per_second / replicas, kIdleRate)};
}

double MeanBatch(const serving::Outcome& outcome) {
  const serving::Ledger& ledger = outcome.ledger;
  return ledger.steps > 0 ? static_cast<double>(ledger.decode_tokens) / static_cast<double>(ledger.steps) : 0;
}

// Percentiles of the replay, and what it says of the cache and the batch.
void FillReplay(const Services& services, const FromSteps& from, const std::string& origin, ServingFacts* facts) {
  using serving::Percentiles;
  using serving::Summary;
  const auto percentile = [&](const Percentiles Summary::*of, const serving::PercentileEstimate Percentiles::*p) {
    const auto none = [&](const Summary& summary) { return (summary.*of).count == 0; };
    if (std::any_of(services.summaries.begin(), services.summaries.end(), none)) return Quantity::Refused("ms", kNoTpot);
    return from.Make(services.Of([&](Corner corner) { return (services.summaries[corner].*of.*p).value; }), Grows::kWithTime, "ms", origin);
  };
  facts->ttft_ms_p50 = percentile(&Summary::ttft_ms, &Percentiles::p50);
  facts->ttft_ms_p95 = percentile(&Summary::ttft_ms, &Percentiles::p95);
  facts->ttft_ms_p99 = percentile(&Summary::ttft_ms, &Percentiles::p99);
  facts->tpot_ms_p50 = percentile(&Summary::tpot_ms, &Percentiles::p50);
  facts->tpot_ms_p95 = percentile(&Summary::tpot_ms, &Percentiles::p95);
  facts->tpot_ms_p99 = percentile(&Summary::tpot_ms, &Percentiles::p99);
  facts->e2e_ms_p95 = percentile(&Summary::e2e_ms, &Percentiles::p95);
  std::array<bool, 3> overloaded{};
  for (const Corner corner : kCorners) overloaded[corner] = services.summaries[corner].backlog.grows;
  for (Quantity* waits : {&facts->ttft_ms_p50, &facts->ttft_ms_p95, &facts->ttft_ms_p99, &facts->e2e_ms_p95}) OpenForOverload(overloaded, waits);
  const auto quantity = [&](std::string unit, auto&& value) { return from.Make(services.Of(value), Grows::kWithTime, std::move(unit), origin); };
  facts->kv_peak_bytes = quantity("B", [&](Corner corner) { return services.outcomes[corner].kv_peak_share * static_cast<double>(services.at[corner].pool.pool_bytes); });
  facts->preemptions = quantity("preemptions", [&](Corner corner) { return static_cast<double>(services.outcomes[corner].preemptions); });
  facts->batch_mean = quantity("sequences", [&](Corner corner) { return MeanBatch(services.outcomes[corner]); });
}

// One step of so many sequences, timed in every corner, so that the interval is of time and not of batch size.
Status FillStep(const serving::Deployment& deployment, int sequences, const TrafficShape& shape, const FromSteps& from, ServingFacts* facts) {
  std::array<platform::StepParts, 3> decode, prefill;
  for (const Corner corner : kCorners) {
    ASSAY_TRY(platform::StepTimer timer, platform::StepTimer::Make(deployment.profile, deployment.model, deployment.draws[corner], deployment.gpu.name));
    decode[corner] = timer.Step({}, sequences, shape.decode_context_mean);
    const platform::PrefillChunk chunk{.prefix_tokens = 0, .tokens = shape.prompt_p50};
    prefill[corner] = timer.Step({&chunk, 1}, 0, 0);
  }
  const std::string profile = deployment.profile.name();
  const std::string origin = fmt::format("one step of {} sequences at {:.0f} tokens of context; {}; weakest part: norms, sampling and host time, declared ranges", sequences,
                                         shape.decode_context_mean, profile);
  facts->decode_step_ms = from.Make({decode[kFast].total_ms(), decode[kLikely].total_ms(), decode[kSlow].total_ms()}, Grows::kWithTime, "ms", origin);
  facts->attention_share_decode = ShareOf(from, decode, origin);
  facts->attention_share_prefill = ShareOf(from, prefill, fmt::format("one step that prefills a prompt of {:.0f} tokens; {}; weakest part: norms and host time, declared ranges",
                                                                      shape.prompt_p50, profile));
  return Ok();
}

Status Evaluate(const ServingRequest& request, ServingFacts* facts) {
  ASSAY_TRY(const serving::Deployment deployment, DeploymentFor(request));
  ASSAY_TRY(Services services, MakeServices(deployment));
  if (request.traffic->unit_rate.size() < kFewestRequests) {
    return Unsupported(fmt::format("{} requests are too few for a 95th percentile; give at least {}", request.traffic->unit_rate.size(), kFewestRequests));
  }
  const std::string profile = deployment.profile.name();
  facts->rate_origin = fmt::format("kernel times of {}; {}; {}", profile, request.traffic->origin,
                                   "interval: optimistic and pessimistic corner of kernel errors and assumed parts; weakest part: norms, sampling and host time, declared ranges");
  ASSAY_RETURN_IF_ERROR(FindLimits(request, kThorough, &services));
  FromSteps from{.timer = services.at[kLikely].steps.timer()};
  facts->max_rate = LimitOf(services, from, "largest rate at which the simulated p95 holds the objectives; " + facts->rate_origin);
  const Sizing sizing = SizeFor(request, facts->max_rate);
  facts->replicas = sizing.replicas;
  const std::vector<serving::Request> requests = request.traffic->At(sizing.rate);
  ASSAY_RETURN_IF_ERROR(Replay(requests, &services));
  AddLatencies(services.outcomes[kLikely], facts);
  facts->load = SampleLoad(requests, services.outcomes[kLikely]);
  from.outside_note = OutsideNote(from.timer, services.outside[kLikely]);
  if (!from.outside_note.empty()) facts->max_rate.origin += "; " + from.outside_note;
  FillReplay(services, from, fmt::format("simulated at {:.4g} requests/s a replica, {:.0f} replica(s); {}", sizing.rate, facts->replicas, facts->rate_origin), facts);
  ASSAY_RETURN_IF_ERROR(FillStep(deployment, std::max(1, static_cast<int>(std::lround(MeanBatch(services.outcomes[kLikely])))), ShapeOf(*request.traffic), from, facts));
  const auto [low, high] = std::minmax({services.outside[0], services.outside[1], services.outside[2]});
  facts->outside_share = {services.outside[kLikely], low, high, "fraction", Weaker(Basis::kSimulated, from.timer.basis()),
                          from.outside_note.empty() ? "kernel calls from beyond the measured region, of busy time; " + profile : from.outside_note};
  return Ok();
}

}  // namespace

bool IsExtrapolated(const Quantity& outside_share) { return !outside_share.refused() && outside_share.value > platform::kOutsideShareTolerated; }

ServingFacts EvaluateServing(const ServingRequest& request) {
  ServingFacts facts;
  if (const Status evaluated = Evaluate(request, &facts); !evaluated.ok()) Refuse(facts, evaluated.error().message);
  return facts;
}

Quantity QuickMaxRate(const ServingRequest& request) {
  const auto quick = [&]() -> Result<Quantity> {
    ASSAY_TRY(const serving::Deployment deployment, DeploymentFor(request));
    ASSAY_TRY(Services services, MakeServices(deployment));
    ASSAY_RETURN_IF_ERROR(FindLimits(request, kQuick, &services));
    return LimitOf(services, {.timer = services.at[kLikely].steps.timer()}, "a short search for flips");
  }();
  return quick.ok() ? *quick : Quantity::Refused("1/s", quick.error().message);
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
