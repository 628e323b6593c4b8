#include "advice/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "core/thread_pool.h"

namespace assay {
namespace {

Quantity EffortDays(const formats::UseCase& usecase, const CandidatePlan& plan) {
  if (plan.candidate->is_baseline) return Quantity::Exact(0, "days", "the baseline: nothing to do");
  const std::optional<formats::Interval>* range = &plan.candidate->switch_days;
  if (!*range) {
    switch (plan.candidate->availability) {
      case Availability::kDropIn: range = &usecase.effort.drop_in_days; break;
      case Availability::kConvert: range = &usecase.effort.convert_days; break;
      case Availability::kPretrain: range = &usecase.effort.pretrain_days; break;
    }
  }
  if (!*range) {
    return Quantity::Refused("days", fmt::format("the use case gives no days for '{}'; add {}_days = [low, high] to [effort]", plan.candidate->id,
                                                 NameOf(plan.candidate->availability)));
  }
  const formats::Interval days = **range;
  return {(days.low + days.high) / 2, days.low, days.high, "days", Basis::kAssumed, "the use case's own estimate of the effort"};
}

// Facts of every candidate, its service as `serve` says of the candidate of that index; candidates are shared out over the processors.
std::vector<CandidateFacts> FactsOfAll(const FlipSearch& search, const std::function<ServingFacts(size_t)>& serve) {
  std::vector<CandidateFacts> facts(search.plans->size());
  ThreadPool pool(static_cast<int>(AllowedCpus().size()));
  pool.ParallelFor(facts.size(), [&](size_t begin, size_t end, int) {
    for (size_t i = begin; i < end; ++i) facts[i] = FactsOf(*search.usecase, (*search.plans)[i], (*search.plans)[0], serve(i));
  });
  return facts;
}

ServingRequest RequestFor(const FlipSearch& search, size_t candidate, const Conditions& conditions, const serving::Traffic& traffic) {
  return {.usecase = search.usecase, .plan = &(*search.plans)[candidate], .traffic = &traffic, .assume = conditions.assume};
}

// Facts under other conditions, cheaply: the rate limit searched anew, latencies as today's unless the limit is gone.
std::vector<CandidateFacts> QuickFacts(const FlipSearch& search, const Conditions& conditions, const serving::Traffic& traffic) {
  return FactsOfAll(search, [&](size_t i) {
    ServingFacts serving = (*search.serving)[i];
    if (!serving.max_rate.refused()) serving.max_rate = QuickMaxRate(RequestFor(search, i, conditions, traffic));
    return serving;
  });
}

bool SameAdvice(const Advice& a, const Advice& b) { return a.verb == b.verb && a.letter == b.letter; }

std::string Summary(const Advice& advice, const std::vector<CandidatePlan>& plans) {
  if (advice.verb == Advice::Verb::kCannotTell) return fmt::format("cannot tell: {} is {}", advice.letter, NameOf(advice.assessments[0].standing));
  const auto plan = std::find_if(plans.begin(), plans.end(), [&](const CandidatePlan& p) { return p.letter == advice.letter; });
  return fmt::format("{} {} ({})", advice.verb == Advice::Verb::kKeep ? "keep" : "switch to", advice.letter, plan->candidate->id);
}

constexpr double kFlipPrecision = 0.02;  // of the value at which the advice turns

// One number that the search may vary.
struct Knob {
  std::string name;
  double today;
  std::vector<double> trials;  // moving away from today, nearest first, in one direction
  std::function<void(Conditions&, double)> set;
  // What must be computed anew: nothing but the decision, latencies at another rate, or the whole service.
  enum class Needs { kDecision, kLatencies, kService } needs;
  bool today_is_a_value = true;  // false: a range of which `today` is the middle
};

std::vector<Knob> KnobsOf(const FlipSearch& search) {
  std::vector<Knob> knobs;
  const auto both_ways = [&](const std::string& name, double today, std::vector<double> factors, auto&& set, Knob::Needs needs) {
    for (const bool up : {true, false}) {
      Knob knob{.name = name, .today = today, .trials = {}, .set = set, .needs = needs};
      for (const double factor : factors) knob.trials.push_back(up ? today * factor : today / factor);
      knobs.push_back(std::move(knob));
    }
  };
  both_ways("rate_factor", search.conditions.scenario.rate_factor, {1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64},
            [](Conditions& c, double v) { c.scenario.rate_factor = v; }, Knob::Needs::kLatencies);
  both_ways("price_factor", search.conditions.scenario.price_factor, {1.25, 1.5, 2, 3, 4, 6, 8}, [](Conditions& c, double v) { c.scenario.price_factor = v; }, Knob::Needs::kDecision);
  both_ways("prompt_length_factor", search.conditions.scenario.prompt_length_factor, {1.5, 2, 4, 8}, [](Conditions& c, double v) { c.scenario.prompt_length_factor = v; }, Knob::Needs::kService);
  // An assumption is tried at both ends of its range.
  for (const formats::Assumption& assumption : search.usecase->assume) {
    if (search.conditions.assume.contains(assumption.name) || !serving::UsesAssumption(assumption.name)) continue;
    const double middle = (assumption.range.low + assumption.range.high) / 2;
    for (const double end : {assumption.range.low, assumption.range.high}) {
      knobs.push_back({.name = "assume." + assumption.name, .today = middle, .trials = {end},
                       .set = [name = assumption.name](Conditions& c, double v) { c.assume[name] = {v, v}; }, .needs = Knob::Needs::kService, .today_is_a_value = false});
    }
  }
  return knobs;
}

// The advice under `conditions`, cheaply; `cached` holds today's facts for knobs that do not touch a replica's limit.
Advice QuickAdvice(const FlipSearch& search, const Conditions& conditions, Knob::Needs needs) {
  const auto traffic = serving::MakeTraffic(*search.usecase, conditions.scenario, search.seed);
  if (!traffic.ok()) return search.today;
  std::vector<CandidateFacts> facts;
  if (needs == Knob::Needs::kService) {
    facts = QuickFacts(search, conditions, *traffic);
  } else {
    for (size_t i = 0; i < search.plans->size(); ++i) facts.push_back(FactsOf(*search.usecase, (*search.plans)[i], (*search.plans)[0], (*search.serving)[i]));
  }
  return Decide(facts, ObjectivesOf(*search.usecase), EconomicsOf(*search.usecase, conditions, traffic->requests_per_second));
}

Advice FullAdvice(const FlipSearch& search, const Conditions& conditions) {
  const auto traffic = serving::MakeTraffic(*search.usecase, conditions.scenario, search.seed);
  if (!traffic.ok()) return search.today;
  const std::vector<CandidateFacts> facts = FactsOfAll(search, [&](size_t i) { return EvaluateServing(RequestFor(search, i, conditions, *traffic)); });
  return Decide(facts, ObjectivesOf(*search.usecase), EconomicsOf(*search.usecase, conditions, traffic->requests_per_second));
}

// The advice at one value of a knob, from the quick form or in full.
class Trials {
 public:
  Trials(const FlipSearch& search, const Knob& knob) : search_(search), knob_(knob) {}
  [[nodiscard]] bool QuickSame(double value) const { return SameAdvice(QuickAdvice(search_, At(value), knob_.needs), search_.today); }
  [[nodiscard]] Advice Full(double value) const {
    return knob_.needs == Knob::Needs::kDecision ? QuickAdvice(search_, At(value), knob_.needs) : FullAdvice(search_, At(value));
  }
  [[nodiscard]] bool FullSame(double value) const { return SameAdvice(Full(value), search_.today); }

 private:
  [[nodiscard]] Conditions At(double value) const {
    Conditions conditions = search_.conditions;
    knob_.set(conditions, value);
    return conditions;
  }
  const FlipSearch& search_;
  const Knob& knob_;
};

// Two digits behind the first are enough for a reader, rounded away from `same` so that the flip still holds.
double Shown(double value, double same) {
  const double power = std::pow(10, std::floor(std::log10(std::max(value, 1e-9))) - 2);
  return (value > same ? std::ceil(value / power - 1e-9) : std::floor(value / power + 1e-9)) * power;
}

using OutOfTime = std::function<bool()>;

// Halves the bracket in ratio until its ends are within kFlipPrecision, or time is over; `same` keeps today's advice, `far` does not, by the quick form or in full.
template <class Same>
void Bisect(double* same, double* far, const OutOfTime& out_of_time, const Same& is_same) {
  while (!out_of_time() && std::fabs(std::log(*far / *same)) > std::log(1 + kFlipPrecision)) {
    const double middle = std::sqrt(*same * *far);
    (is_same(middle) ? *same : *far) = middle;
  }
}

// The nearest value of a knob, in its direction, at which the advice differs: the quick form finds the bracket, and both of its ends are then
// confirmed by full evaluation, which takes over where it disagrees.
std::optional<Flip> FindFlip(const FlipSearch& search, const Knob& knob, const OutOfTime& out_of_time) {
  const Trials trials(search, knob);
  double same = knob.today;
  for (const double trial : knob.trials) {
    if (out_of_time()) break;
    if (trials.QuickSame(trial)) {
      same = trial;
      continue;
    }
    double near = same, far = trial;
    Advice there = trials.Full(trial);
    if (SameAdvice(there, search.today)) {
      same = trial;
      continue;
    }
    // An assumption's today is a range: its middle alone may flip already, and then there is no bracket.
    const bool bracketed = near > 0 && far > 0 && (near != knob.today || knob.today_is_a_value || (trials.QuickSame(near) && trials.FullSame(near)));
    const auto search_in_full = [&](double from, double to) {
      near = from, far = to;
      Bisect(&near, &far, out_of_time, [&](double value) { return trials.FullSame(value); });
      far = Shown(far, near);
      there = trials.Full(far);
    };
    if (bracketed) {
      Bisect(&near, &far, out_of_time, [&](double value) { return trials.QuickSame(value); });
      far = Shown(far, near);
      there = trials.Full(far);
      if (SameAdvice(there, search.today)) search_in_full(far, trial);
      else if (!trials.FullSame(near)) search_in_full(same, near);
    }
    // Rounding outwards may have stepped over a second turn of the advice.
    if (SameAdvice(there, search.today)) far = trial, there = trials.Full(trial);
    return Flip{.factor = knob.name, .at = far, .today = knob.today, .same_at = bracketed ? near : knob.today, .advice_there = Summary(there, *search.plans),
                .command = fmt::format("{} --set {}={:g}", search.command, knob.name, far)};
  }
  return std::nullopt;
}

}  // namespace

Objectives ObjectivesOf(const formats::UseCase& usecase) {
  const formats::Objective& o = usecase.objective;
  return {.ttft_ms_p95 = o.ttft_ms_p95,
          .tpot_ms_p95 = o.tpot_ms_p95,
          .e2e_ms_p95 = o.e2e_ms_p95,
          .budget_usd_per_month = o.budget_usd_per_month,
          .quality_loss_max_points = o.quality_loss_max_points,
          .deadline_hours = o.deadline_hours,
          .cost_usd_per_document = o.usd_per_document};
}

Economics EconomicsOf(const formats::UseCase& usecase, const Conditions& conditions, double requests_per_second) {
  return {.requests_per_second = requests_per_second,
          .spare_share = usecase.platform.spare_share,
          .usd_per_accelerator_hour = usecase.platform.usd_per_device_hour
                                          ? std::optional(*usecase.platform.usd_per_device_hour * conditions.scenario.price_factor)
                                          : std::nullopt,
          .accelerators_per_replica = static_cast<double>(usecase.platform.parallel.tensor * usecase.platform.parallel.pipeline * usecase.platform.parallel.context),
          .engineer_usd_per_day = usecase.effort.engineer_usd_per_day,
          .horizon_months = usecase.effort.horizon_months.value_or(12)};
}

CandidateFacts FactsOf(const formats::UseCase& usecase, const CandidatePlan& plan, const CandidatePlan& baseline, const ServingFacts& serving) {
  CandidateFacts facts;
  facts.letter = plan.letter;
  facts.id = plan.candidate->id;
  facts.changes_outputs = !plan.candidate->is_baseline;
  facts.ttft_ms_p95 = serving.ttft_ms_p95;
  facts.tpot_ms_p95 = serving.tpot_ms_p95;
  facts.e2e_ms_p95 = serving.e2e_ms_p95;
  facts.max_rate_per_replica = serving.max_rate;
  facts.batch_hours = Quantity::Refused("h", "the traffic is not a batch");
  if (plan.candidate->is_baseline) facts.quality_loss_points = Quantity::Exact(0, "points", "the baseline itself");
  else if (plan.same_as == baseline.letter) facts.quality_loss_points = Quantity::Exact(0, "points", "the same design as the baseline");
  else if (plan.candidate->quality_loss_points) {
    const formats::Interval loss = *plan.candidate->quality_loss_points;
    facts.quality_loss_points = {(loss.low + loss.high) / 2, loss.low, loss.high, "points", Basis::kCited, plan.candidate->quality_source.value_or("the use case")};
  } else {
    facts.quality_loss_points = Quantity::Refused("points", "not measured on this model and text; measure it and write quality_loss_points = [low, high] beside the candidate");
  }
  facts.effort_days = EffortDays(usecase, plan);
  if (plan.candidate->implementation_is_own) {
    facts.mixed_mark = fmt::format("{} {} against the baseline's {} {}", plan.candidate->implementation.engine, plan.candidate->implementation.version,
                                   usecase.engine.name, usecase.engine.version);
  }
  if (IsExtrapolated(serving.outside_share)) facts.extrapolated = serving.outside_share.origin;
  facts.same_as = plan.same_as;
  // What the baseline has too is no argument against leaving it.
  const std::vector<const FeatureRisk*> shared = RisksOf(baseline, usecase);
  for (const FeatureRisk* risk : RisksOf(plan, usecase)) {
    if (std::find(shared.begin(), shared.end(), risk) != shared.end() && &plan != &baseline) continue;
    facts.breaks.push_back(fmt::format("{} ({}, {})", risk->what, risk->feature, risk->date));
  }
  return facts;
}

FlipsFound FindFlips(const FlipSearch& search) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(search.seconds);
  const OutOfTime out_of_time = [end] { return std::chrono::steady_clock::now() >= end; };
  FlipsFound found;
  for (const Knob& knob : KnobsOf(search)) {
    if (const auto flip = FindFlip(search, knob, out_of_time)) found.flips.push_back(*flip);
    else if (out_of_time() && (found.not_searched.empty() || found.not_searched.back() != knob.name)) found.not_searched.push_back(knob.name);
  }
  return found;
}

}  // namespace assay
