// Decide: from what is known of each candidate to a piece of advice. Pure: no clock, no store, no simulation, so that every rule can be
// tested and so that what would flip the advice is found by calling it again.
//
// The baseline is what runs today. A switch is advised only if it holds at the pessimistic end of every interval: "keep" is the answer
// whenever the case for moving rests on a number that is not known.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/quantity.h"
#include "mechanisms/mechanism.h"

namespace assay {

// What a change may cost and must hold. Absent: not asked for.
struct Objectives {
  std::optional<double> ttft_ms_p95;
  std::optional<double> tpot_ms_p95;
  std::optional<double> e2e_ms_p95;
  std::optional<double> budget_usd_per_month;
  std::optional<double> quality_loss_max_points;
  std::optional<double> deadline_hours;         // offline work: the whole batch
  std::optional<double> cost_usd_per_document;  // offline work
};

struct Economics {
  double requests_per_second = 0;  // mean of the traffic at the use case's scale
  double spare_share = 0;          // capacity kept free: 0.2 means 20 % above the mean rate
  std::optional<double> usd_per_accelerator_hour;  // absent: costs are refused, never zero
  double accelerators_per_replica = 1;
  std::optional<double> engineer_usd_per_day;
  double horizon_months = 12;
};

// What is known of one candidate. A refused quantity says why; it never counts as good news.
struct CandidateFacts {
  std::string letter;  // "A" is the baseline
  std::string id;
  bool changes_outputs = true;     // false only for the baseline itself: everything else needs a quality measurement
  Quantity ttft_ms_p95;            // at the use case's rate, on the replicas it needs
  Quantity tpot_ms_p95;
  Quantity e2e_ms_p95;
  Quantity max_rate_per_replica;   // requests/s within the objectives
  Quantity batch_hours;            // offline work: the whole batch on one replica
  Quantity usd_per_document;       // offline work
  Quantity quality_loss_points;    // against the baseline, measured on the user's model; refused if nobody measured
  Quantity effort_days;            // engineer days to switch
  std::string mixed_mark;          // why its times may not be compared with the baseline's (another engine or version); empty: they may
  std::string extrapolated;        // why its times let nobody in: which rows they lack; empty: measured rows hold its kernels
  std::string same_as;             // letter of an earlier candidate with the same layers, cache, reads and implementation; empty: none
  std::vector<std::string> breaks; // features with dated sources, of this candidate's own properties and not the baseline's
};

enum class Standing {
  kFeasible,      // holds every objective at the pessimistic end
  kInfeasible,    // misses one at the optimistic end
  kUndecided,     // the interval straddles an objective
  kNotDecidable,  // a quality objective and no measurement, or times that may not be compared
  kRefused,       // no time is known here
  kSame,          // another candidate under another name
};
std::string_view NameOf(Standing standing);

// What keeps a candidate from being judged: what to do next depends on it.
enum class Missing { kNothing, kQuality, kComparableTimes, kTimes };

struct Assessment {
  std::string letter;
  Standing standing = Standing::kRefused;
  std::string reason;  // one clause: "TTFT p95 312..401 ms misses 300 ms"
  Missing missing = Missing::kNothing;
  std::string same_as;
  Quantity replicas;
  Quantity usd_per_month;
  Quantity saving_usd_per_month;  // against the baseline; negative: dearer
  Quantity switching_usd;
  Quantity break_even_months;     // refused if it never pays
  Quantity net_usd_over_horizon;  // saving * months - switching
};

// "feasible", or "same as A".
std::string StandingText(const Assessment& assessment);

struct Advice {
  enum class Verb { kKeep, kSwitch, kCannotTell } verb = Verb::kKeep;
  std::string letter;    // of the winner; the baseline's for keep
  std::string sentence;  // what to do and the reason, one sentence
  std::string counter_argument;     // the strongest case against the advice
  std::vector<std::string> unknown; // what was not known
  std::string next_letter;          // the candidate whose missing number matters most; empty if none
  std::string next_command;         // what to run next to know more; filled by the audit, which knows the files
  std::vector<Assessment> assessments;  // in the order of the candidates
};

// `candidates[0]` is the baseline.
Advice Decide(const std::vector<CandidateFacts>& candidates, const Objectives& objectives, const Economics& economics);

}  // namespace assay
