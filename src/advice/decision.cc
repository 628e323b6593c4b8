#include "advice/decision.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/check.h"

namespace assay {
namespace {

constexpr double kHoursPerMonth = 730;

// One objective against one quantity: how it stands, and a clause that says so.
struct Finding {
  Standing standing;
  std::string clause;
};

// Three digits are what a reader compares; whole from a thousand on.
std::string Digits(double value) { return std::fabs(value) >= 1000 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value); }

std::string Range(const Quantity& q) {
  if (q.low == q.high) return Digits(q.value);
  if (std::isinf(q.high)) return "at least " + Digits(q.low);
  if (std::isinf(q.low)) return "at most " + Digits(q.high);
  return fmt::format("{} to {}", Digits(q.low), Digits(q.high));
}

Finding AtMost(std::string_view name, const Quantity& q, double limit) {
  if (q.refused()) return {Standing::kRefused, fmt::format("{}: {}", name, q.origin)};
  // A bound can rule a candidate out; it never lets one in.
  if (q.high <= limit && q.basis == Basis::kBounded) {
    return {Standing::kUndecided, fmt::format("{} {} {} would hold {:.4g}, but it is a bound, not a time: {}", name, Range(q), q.unit, limit, q.origin)};
  }
  if (q.high <= limit) return {Standing::kFeasible, fmt::format("{} {} {} within {:.4g}", name, Range(q), q.unit, limit)};
  if (q.low > limit) return {Standing::kInfeasible, fmt::format("{} {} {} misses {:.4g}", name, Range(q), q.unit, limit)};
  if (std::isinf(q.high)) return {Standing::kUndecided, fmt::format("{} {} {}: a bound, which cannot say that it holds {:.4g}", name, Range(q), q.unit, limit)};
  return {Standing::kUndecided, fmt::format("{} {} {} straddles {:.4g}", name, Range(q), q.unit, limit)};
}

// Replicas are whole machines: the interval of the rate becomes an interval of counts.
Quantity Replicas(const CandidateFacts& candidate, const Economics& economics) {
  const Quantity& rate = candidate.max_rate_per_replica;
  if (rate.refused()) return Quantity::Refused("replicas", rate.origin);
  if (rate.high <= 0) return Quantity::Refused("replicas", "a replica holds the objectives at no rate, so no number of replicas does; " + rate.origin);
  const double needed = economics.requests_per_second * (1 + economics.spare_share);
  const auto count = [&](double per_replica) {
    return per_replica > 0 ? std::max(1.0, std::ceil(needed / per_replica)) : std::numeric_limits<double>::infinity();
  };
  // What is deployed, and what latencies are shown for, holds at the pessimistic end; where that end is open, the other is all there is.
  const double deployed = count(rate.low);
  return {std::isinf(deployed) ? count(rate.value) : deployed, count(rate.high), deployed, "replicas", rate.basis,
          fmt::format("ceil({:.4g} requests/s with spare / maximum rate of a replica, at its pessimistic end); {}", needed, rate.origin)};
}

Quantity MonthlyCost(const CandidateFacts& candidate, const Quantity& replicas, const Economics& economics) {
  if (!economics.usd_per_accelerator_hour) {
    return Quantity::Refused("USD/month", "the use case names no price; add usd_per_device_hour to [platform]");
  }
  const double usd_per_replica = *economics.usd_per_accelerator_hour * economics.accelerators_per_replica;
  if (!candidate.batch_hours.refused()) {
    Quantity cost = Scale(candidate.batch_hours, usd_per_replica);
    cost.unit = "USD/month";  // one batch a month
    return cost;
  }
  if (replicas.refused()) return Quantity::Refused("USD/month", replicas.origin);
  Quantity cost = Scale(replicas, usd_per_replica * kHoursPerMonth);
  cost.unit = "USD/month";
  cost.origin = fmt::format("{:.4g} USD an hour and device x {:.0f} h x devices; {}", *economics.usd_per_accelerator_hour, kHoursPerMonth, replicas.origin);
  return cost;
}

// Objectives other than quality, the worst first.
Finding JudgeService(const CandidateFacts& candidate, const Quantity& cost, const Objectives& objectives) {
  std::vector<Finding> findings;
  if (objectives.ttft_ms_p95) findings.push_back(AtMost("TTFT p95", candidate.ttft_ms_p95, *objectives.ttft_ms_p95));
  if (objectives.tpot_ms_p95) findings.push_back(AtMost("TPOT p95", candidate.tpot_ms_p95, *objectives.tpot_ms_p95));
  if (objectives.e2e_ms_p95) findings.push_back(AtMost("end-to-end p95", candidate.e2e_ms_p95, *objectives.e2e_ms_p95));
  if (objectives.deadline_hours) findings.push_back(AtMost("batch", candidate.batch_hours, *objectives.deadline_hours));
  if (objectives.cost_usd_per_document) findings.push_back(AtMost("document", candidate.usd_per_document, *objectives.cost_usd_per_document));
  if (objectives.budget_usd_per_month) findings.push_back(AtMost("cost", cost, *objectives.budget_usd_per_month));
  if (findings.empty()) return {Standing::kFeasible, "no objective to miss"};
  constexpr std::array kOrder = {Standing::kInfeasible, Standing::kRefused, Standing::kUndecided};
  for (const Standing worst : kOrder) {
    for (const Finding& finding : findings) {
      if (finding.standing == worst) return finding;
    }
  }
  std::string all = findings[0].clause;
  for (size_t i = 1; i < findings.size(); ++i) all += "; " + findings[i].clause;
  return {Standing::kFeasible, all};
}

Finding JudgeQuality(const CandidateFacts& candidate, const Objectives& objectives) {
  if (!candidate.changes_outputs || !objectives.quality_loss_max_points) return {Standing::kFeasible, ""};
  if (candidate.quality_loss_points.refused()) {
    return {Standing::kNotDecidable, fmt::format("quality: {}", candidate.quality_loss_points.origin)};
  }
  return AtMost("quality loss", candidate.quality_loss_points, *objectives.quality_loss_max_points);
}

// Both sides are simulated at the same three points of what is uncertain, and most of that (host time, norms, matrix products, arrivals) is
// common to them: the ends are paired, optimistic with optimistic, or every difference would drown in what cancels.
Quantity PairedDifference(const Quantity& a, const Quantity& b) {
  if (a.refused()) return a;
  if (b.refused()) return b;
  if (std::isinf(a.high) || std::isinf(b.high) || std::isinf(a.low) || std::isinf(b.low)) return Quantity::Refused(a.unit, "a cost is known from one side only, and bounds do not subtract");
  const auto [low, high] = std::minmax({a.low - b.low, a.value - b.value, a.high - b.high});
  return {a.value - b.value, low, high, a.unit, Weaker(a.basis, b.basis), a.basis >= b.basis ? a.origin : b.origin};
}

// Months until savings have paid for the switch. Never, if the saving may be zero or less at every point of its interval.
Quantity BreakEven(const Quantity& switching, const Quantity& saving) {
  if (switching.refused()) return Quantity::Refused("months", switching.origin);
  if (saving.refused()) return Quantity::Refused("months", saving.origin);
  if (saving.high <= 0) return Quantity::Refused("months", "never: it does not save money");
  const double never = std::numeric_limits<double>::infinity();
  return {saving.value > 0 ? switching.value / saving.value : never, switching.low / saving.high,
          saving.low > 0 ? switching.high / saving.low : never, "months", Weaker(switching.basis, saving.basis),
          "switching cost / monthly saving"};
}

Assessment Assess(const CandidateFacts& candidate, const Objectives& objectives, const Economics& economics) {
  Assessment assessment;
  assessment.letter = candidate.letter;
  assessment.replicas = Replicas(candidate, economics);
  assessment.usd_per_month = MonthlyCost(candidate, assessment.replicas, economics);
  if (economics.engineer_usd_per_day) {
    assessment.switching_usd = Scale(candidate.effort_days, *economics.engineer_usd_per_day);
    assessment.switching_usd.unit = "USD";
  } else {
    assessment.switching_usd = Quantity::Refused("USD", "the use case names no engineer's rate; add engineer_usd_per_day to [effort]");
  }

  const Finding service = JudgeService(candidate, assessment.usd_per_month, objectives);
  const Finding quality = JudgeQuality(candidate, objectives);
  if (!candidate.same_as.empty()) {
    assessment.standing = Standing::kSame;
    assessment.same_as = candidate.same_as;
    assessment.reason = fmt::format("the same layers, cache, reads and implementation as {}", candidate.same_as);
    return assessment;
  }
  // A candidate that misses a service objective is out whatever its quality; one that holds them still needs its quality known.
  if (service.standing == Standing::kInfeasible) {
    assessment.standing = service.standing;
    assessment.reason = service.clause;
  } else if (quality.standing == Standing::kInfeasible) {
    assessment.standing = quality.standing;
    assessment.reason = quality.clause;
  } else if (service.standing == Standing::kRefused) {
    assessment.standing = service.standing;
    assessment.reason = service.clause;
    assessment.missing = Missing::kTimes;
  } else if (quality.standing != Standing::kFeasible) {
    assessment.standing = quality.standing;
    assessment.reason = quality.clause;
    assessment.missing = Missing::kQuality;
  } else if (!candidate.mixed_mark.empty()) {
    assessment.standing = Standing::kNotDecidable;
    assessment.reason = "times not comparable: " + candidate.mixed_mark;
    assessment.missing = Missing::kComparableTimes;
  } else if (service.standing == Standing::kFeasible && !candidate.extrapolated.empty()) {
    assessment.standing = Standing::kUndecided;
    assessment.reason = candidate.extrapolated;
    assessment.missing = Missing::kTimes;
  } else {
    assessment.standing = service.standing;
    assessment.reason = service.clause;
  }
  return assessment;
}

void AddMoney(Assessment& assessment, const Assessment& baseline, const CandidateFacts& facts, const Economics& economics) {
  assessment.saving_usd_per_month = PairedDifference(baseline.usd_per_month, assessment.usd_per_month);
  if (!facts.mixed_mark.empty()) assessment.saving_usd_per_month = Quantity::Refused("USD/month", "not comparable with the baseline's cost: " + facts.mixed_mark);
  if (assessment.letter == baseline.letter) assessment.saving_usd_per_month = Quantity::Exact(0, "USD/month", "the baseline itself");
  assessment.break_even_months = BreakEven(assessment.switching_usd, assessment.saving_usd_per_month);
  const Quantity& saving = assessment.saving_usd_per_month;
  const Quantity& switching = assessment.switching_usd;
  if (saving.refused() || switching.refused()) {
    assessment.net_usd_over_horizon = Quantity::Refused("USD", saving.refused() ? saving.origin : switching.origin);
    return;
  }
  const double months = economics.horizon_months;
  assessment.net_usd_over_horizon = {saving.value * months - switching.value, saving.low * months - switching.high,
                                     saving.high * months - switching.low, "USD", Weaker(saving.basis, switching.basis),
                                     fmt::format("saving * {:.4g} months - switching cost", months)};
}

// The strongest case against the advice: the candidate with most to gain at its optimistic end among those not chosen.
const Assessment* StrongestRival(const Advice& advice) {
  const Assessment* rival = nullptr;
  for (const Assessment& assessment : advice.assessments) {
    if (assessment.letter == advice.letter || assessment.standing == Standing::kInfeasible || assessment.standing == Standing::kSame) continue;
    if (assessment.net_usd_over_horizon.refused()) continue;
    if (rival == nullptr || assessment.net_usd_over_horizon.high > rival->net_usd_over_horizon.high) rival = &assessment;
  }
  return rival;
}

const CandidateFacts& FactsOf(const std::vector<CandidateFacts>& candidates, std::string_view letter) {
  const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const CandidateFacts& c) { return c.letter == letter; });
  ASSAY_CHECK(found != candidates.end(), "an assessment of no candidate");
  return *found;
}

void Argue(Advice& advice, const std::vector<CandidateFacts>& candidates, const Economics& economics) {
  const Assessment* rival = StrongestRival(advice);
  const bool keeps = advice.letter == candidates[0].letter;
  if (rival != nullptr && rival->net_usd_over_horizon.high > 0 && rival->letter != candidates[0].letter) {
    advice.counter_argument = fmt::format("{} ({}) could be worth up to {:.0f} USD over {:.4g} months; what stands against it today is only this: {}.", rival->letter,
                                          FactsOf(candidates, rival->letter).id, rival->net_usd_over_horizon.high, economics.horizon_months,
                                          rival->reason);
    if (keeps && rival->standing != Standing::kFeasible) advice.next_letter = rival->letter;
  } else if (!keeps) {
    const Assessment& winner = *std::find_if(advice.assessments.begin(), advice.assessments.end(),
                                             [&](const Assessment& a) { return a.letter == advice.letter; });
    const std::string breaks = FactsOf(candidates, advice.letter).breaks.empty()
                                   ? "no feature is known to break, which is not proof that none does"
                                   : "it has broken before: " + FactsOf(candidates, advice.letter).breaks[0];
    const std::string money = winner.net_usd_over_horizon.refused()
                                  ? fmt::format("what {} saves is not known", winner.letter)
                                  : fmt::format("at the pessimistic end {} pays back {:.0f} USD over {:.4g} months", winner.letter,
                                                winner.net_usd_over_horizon.low, economics.horizon_months);
    advice.counter_argument = fmt::format("{}; {}.", money, breaks);
  } else if (rival == nullptr) {
    const bool all_miss = std::all_of(advice.assessments.begin(), advice.assessments.end(),
                                      [&](const Assessment& a) { return a.letter == advice.letter || a.standing == Standing::kInfeasible || a.standing == Standing::kSame; });
    advice.counter_argument = all_miss ? "Every other candidate misses an objective." : "No candidate's gain could be computed, so none is known to be worse either.";
  } else {
    advice.counter_argument = "No candidate gains anything even at its optimistic end; only other traffic or other prices would change that.";
  }
}

}  // namespace

std::string_view NameOf(Standing standing) {
  constexpr std::array<std::string_view, 6> kNames = {"feasible", "infeasible", "undecided", "not decidable", "refused", "same"};
  return kNames[static_cast<size_t>(standing)];
}

std::string StandingText(const Assessment& assessment) {
  return assessment.standing == Standing::kSame ? "same as " + assessment.same_as : std::string(NameOf(assessment.standing));
}

Advice Decide(const std::vector<CandidateFacts>& candidates, const Objectives& objectives, const Economics& economics) {
  ASSAY_CHECK(!candidates.empty(), "a use case has a baseline");
  Advice advice;
  for (const CandidateFacts& candidate : candidates) advice.assessments.push_back(Assess(candidate, objectives, economics));
  for (size_t i = 0; i < candidates.size(); ++i) AddMoney(advice.assessments[i], advice.assessments[0], candidates[i], economics);
  const Assessment& baseline = advice.assessments[0];

  const Assessment* best = nullptr;  // of the feasible candidates, at the pessimistic end
  for (const Assessment& assessment : advice.assessments) {
    if (assessment.letter == baseline.letter || assessment.standing != Standing::kFeasible) continue;
    const bool pays = !assessment.net_usd_over_horizon.refused() && assessment.net_usd_over_horizon.low > 0;
    // A baseline that misses the objectives must go, so a rival need not save money.
    if (!pays && baseline.standing != Standing::kInfeasible) continue;
    // A net that is not known never beats one that is, even a loss.
    const auto rank = [](const Assessment& a) { return a.net_usd_over_horizon.refused() ? -std::numeric_limits<double>::infinity() : a.net_usd_over_horizon.low; };
    if (best == nullptr || rank(assessment) > rank(*best)) best = &assessment;
  }

  // Candidates that wait for the same thing are named together.
  std::vector<std::pair<std::string, std::string>> unknown;  // reason, letters
  for (const Assessment& assessment : advice.assessments) {
    const Standing standing = assessment.standing;
    if (standing != Standing::kRefused && standing != Standing::kNotDecidable && standing != Standing::kUndecided) continue;
    const auto same = std::find_if(unknown.begin(), unknown.end(), [&](const auto& entry) { return entry.first == assessment.reason; });
    if (same == unknown.end()) unknown.emplace_back(assessment.reason, assessment.letter);
    else same->second += ", " + assessment.letter;
  }
  for (size_t i = 1; i < candidates.size(); ++i) {
    if (best != nullptr && best->letter == candidates[i].letter && candidates[i].quality_loss_points.refused()) {
      advice.unknown.push_back(fmt::format("{}: what it does to quality; no objective asks for it and nobody measured it", best->letter));
    }
  }
  for (const auto& [reason, letters] : unknown) advice.unknown.push_back(fmt::format("{}: {}", letters, reason));

  if (best != nullptr) {
    advice.verb = Advice::Verb::kSwitch;
    advice.letter = best->letter;
    const std::string why = baseline.standing == Standing::kInfeasible
                                ? fmt::format("the baseline does not hold ({}) and this does ({})", baseline.reason, best->reason)
                                : fmt::format("it meets every objective and saves {} USD a month, paid back in {} months",
                                              Range(best->saving_usd_per_month), Range(best->break_even_months));
    advice.sentence = fmt::format("Switch to {} ({}): {}.", best->letter, FactsOf(candidates, best->letter).id, why);
  } else if (baseline.standing == Standing::kFeasible) {
    advice.verb = Advice::Verb::kKeep;
    advice.letter = baseline.letter;
    const bool rival_unknown = !advice.unknown.empty();
    advice.sentence = fmt::format("Keep {} ({}): it meets every objective ({}), and no candidate is known to pay for the switch{}.", baseline.letter,
                                  candidates[0].id, baseline.reason, rival_unknown ? "; some are not decidable here" : "");
  } else {
    advice.verb = Advice::Verb::kCannotTell;
    advice.letter = baseline.letter;
    advice.sentence = fmt::format("Cannot tell: {} ({}) is {} ({}), and no candidate is known to hold every objective.", baseline.letter,
                                  candidates[0].id, NameOf(baseline.standing), baseline.reason);
  }
  Argue(advice, candidates, economics);
  return advice;
}

}  // namespace assay
