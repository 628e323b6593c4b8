#include "advice/audit_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "advice/audit_cells.h"
#include "advice/audit_claims.h"
#include "advice/audit_figures.h"
#include "advice/batch_bound.h"
#include "advice/evaluate.h"
#include "advice/unused_keys.h"
#include "formats/text.h"
#include "machine/fingerprint.h"
#include "serving/platform_names.h"
#include "store/time.h"
#include "study/runner.h"

namespace assay {
namespace {

Result<AuditSetting> MakeSetting(Store& store, const AuditRequest& request, const machine::Fingerprint& fingerprint) {
  AuditSetting setting;
  ASSAY_TRY(setting.usecase, formats::ReadUseCase(request.usecase_path));
  ASSAY_RETURN_IF_ERROR(serving::CheckPlatformNames(setting.usecase));
  if (request.trace_path) {
    setting.usecase.workload.trace_path = request.trace_path;
    setting.usecase.workload.arrivals = formats::Arrivals::kTrace;
    setting.usecase.workload.requests = std::nullopt;  // of the traffic that is replaced
  }
  ASSAY_TRY(const Settings settings, ParseSettings(request.settings, setting.usecase));
  setting.conditions = {settings.scenario, settings.assume};
  setting.seed = request.seed;
  setting.store = &store;
  setting.measure_seconds = request.measure_seconds;
  setting.machine_id = fingerprint.Id();
  setting.command = request.command;
  ASSAY_TRY(setting.traffic, serving::MakeTraffic(setting.usecase, setting.conditions.scenario, request.seed));
  // Contents, not names: an edited trace or model is another audit.
  std::string all = setting.usecase.text + request.version + request.trace_path.value_or("") + std::to_string(request.seed) + setting.machine_id;
  all += fmt::format("{} {} {}", formats::CountParameters(setting.usecase.model).total, formats::WeightBytes(setting.usecase.model), setting.usecase.model.layers);
  const auto& requests = setting.traffic.unit_rate;
  all.append(reinterpret_cast<const char*>(requests.data()), requests.size() * sizeof(requests[0]));
  for (const std::string& text : request.settings) all += "\n" + text;
  all += request.effort == AuditRequest::Effort::kFull ? fmt::format("measured {}", request.measure_seconds) : "not measured";
  setting.identity = fmt::format("{:016x}", HashText(all));
  return setting;
}

// The tightest latency objective over the value reached: above 1 it holds. Refused as soon as one objective has no time.
Quantity Headroom(const CandidateFacts& facts, const Objectives& objectives) {
  std::optional<Quantity> tightest;
  const auto consider = [&](const std::optional<double>& limit, const Quantity& reached, std::string_view name) {
    if (!limit || (tightest && tightest->refused())) return;
    if (reached.refused()) {
      tightest = Quantity::Refused("ratio", reached.origin);
      return;
    }
    // A time that is only a floor leaves the headroom open below.
    const double low = std::isinf(reached.high) ? -std::numeric_limits<double>::infinity() : *limit / reached.high;
    const Quantity ratio{*limit / reached.value, low, *limit / reached.low, "ratio", reached.basis,
                         fmt::format("{} objective {:g} ms over the simulated p95; {}", name, *limit, reached.origin)};
    if (!tightest || ratio.value < tightest->value) tightest = ratio;
  };
  consider(objectives.ttft_ms_p95, facts.ttft_ms_p95, "TTFT");
  consider(objectives.tpot_ms_p95, facts.tpot_ms_p95, "TPOT");
  consider(objectives.e2e_ms_p95, facts.e2e_ms_p95, "end-to-end");
  return tightest.value_or(Quantity::Refused("ratio", "the use case has no latency objective"));
}

// Money and standing become rows too, so that `assay explain` knows them.
void AddDecisionRows(const AuditSetting& setting, const std::vector<CandidateFacts>& facts, const Advice& advice, std::vector<Measurement>& rows) {
  for (size_t i = 0; i < facts.size(); ++i) {
    const Assessment& assessment = advice.assessments[i];
    const auto add = [&](const char* metric, const Quantity& quantity) {
      rows.push_back(AuditRow(setting, assessment.letter, metric, "advice", quantity));
      if (!facts[i].mixed_mark.empty()) rows.back().flags = "mixed";
    };
    add("replica_count", assessment.replicas);
    if (!setting.usecase.platform.is_this_cpu) add("slo_headroom", Headroom(facts[i], ObjectivesOf(setting.usecase)));
    add("cost_usd_per_month", assessment.usd_per_month);
    add("quality_loss_points", facts[i].quality_loss_points);
    add("switching_effort_days", facts[i].effort_days);
    add("switching_cost_usd", assessment.switching_usd);
    if (i > 0) add("break_even_months", assessment.break_even_months);
    if (i > 0) add("net_usd_over_horizon", assessment.net_usd_over_horizon);
  }
}

std::string NextCommand(const AuditSetting& setting, const Advice& advice) {
  const std::string_view first_number = setting.usecase.platform.is_this_cpu ? "batch_hours" : "max_rate_per_second";
  for (const Assessment& assessment : advice.assessments) {
    if (assessment.letter != advice.next_letter) continue;
    if (assessment.missing == Missing::kQuality) {
      return fmt::format("measure {} on your task, write quality_loss_points beside it in {}, and run the audit again", assessment.letter, setting.usecase.path);
    }
    return fmt::format("assay explain {}.{}", assessment.letter, first_number);
  }
  return fmt::format("assay explain {}.{}", advice.letter, first_number);
}

std::vector<std::string> NotesOf(const AuditSetting& setting) {
  const formats::UseCase& usecase = setting.usecase;
  std::vector<std::string> notes = usecase.model.notes;
  notes.insert(notes.end(), setting.traffic.notes.begin(), setting.traffic.notes.end());
  if (usecase.engine.policy.prefix_cache.value_or(false) && usecase.workload.shared_prefix.has_value() == false) {
    notes.push_back("Prefix-cache hits are taken as 0: the traffic declares no shared prefix. Real hits would lower TTFT for every candidate whose cache can be shared.");
  }
  if (const std::vector<std::string> unused = UnusedKeys(usecase); !unused.empty()) {
    notes.push_back(fmt::format("Read but not modelled yet, so they change nothing here: {}.", fmt::join(unused, ", ")));
  }
  return notes;
}

}  // namespace

using serving::Scenario;

Result<Settings> ParseSettings(const std::vector<std::string>& settings, const formats::UseCase& usecase) {
  Settings out;
  struct Named {
    std::string_view name;
    double Scenario::*field;
  };
  constexpr Named kScenario[] = {{"rate_factor", &Scenario::rate_factor}, {"prompt_length_factor", &Scenario::prompt_length_factor},
                                 {"output_length_factor", &Scenario::output_length_factor}, {"price_factor", &Scenario::price_factor}};
  std::vector<std::string> known;
  for (const Named& named : kScenario) known.emplace_back(named.name);
  for (const formats::AssumptionRow& row : formats::KnownAssumptions()) known.push_back("assume." + std::string(row.name));
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    const std::string name = setting.substr(0, equals);
    const std::string_view value = equals == std::string::npos ? std::string_view() : std::string_view(setting).substr(equals + 1);
    const size_t colon = value.find(':');
    const auto low = formats::ParseDouble(value.substr(0, colon));
    const auto high = colon == std::string_view::npos ? low : formats::ParseDouble(value.substr(colon + 1));
    if (!low || !high || !std::isfinite(*low) || !std::isfinite(*high) || *low > *high) {
      return BadInput(fmt::format("--set {}: write name=number, or assume.NAME=low:high", formats::Printable(setting)));
    }
    bool found = false;
    for (const Named& named : kScenario) {
      if (named.name != name) continue;
      if (*low != *high || *low <= 0 || *low > 1000) return BadInput(fmt::format("--set {}: must be one number above 0, at most 1000", name));
      out.scenario.*named.field = *low;
      found = true;
    }
    for (const formats::AssumptionRow& row : formats::KnownAssumptions()) {
      if (name != "assume." + std::string(row.name)) continue;
      if (!(usecase.platform.is_this_cpu ? BatchUsesAssumption(row.name) : serving::UsesAssumption(row.name))) return BadInput(fmt::format("--set {}: nothing here depends on it yet", name));
      if (*low < row.low || *high > row.high) return BadInput(fmt::format("--set {}: must lie between {:g} and {:g}", name, row.low, row.high));
      out.assume[std::string(row.name)] = {*low, *high};
      found = true;
      // An override beside what the file says: together they must not say one thing twice.
      std::vector<std::string> names = {std::string(row.name)};
      for (const formats::Assumption& assumption : usecase.assume) names.push_back(assumption.name);
      for (const auto& [earlier, range] : out.assume) names.push_back(earlier);
      if (auto together = formats::CheckAssumedTogether(names); !together.ok()) return std::move(together).TakeError().In(fmt::format("--set {}: layer_overhead_us", name));
    }
    if (!found) {
      const std::vector<std::string_view> names(known.begin(), known.end());
      return BadInput(fmt::format("--set {}: unknown name{}", formats::Printable(name), formats::DidYouMean(name, names)));
    }
  }
  return out;
}

Result<AuditOutcome> RunAudit(Store& store, const AuditRequest& request) {
  const machine::Fingerprint fingerprint = machine::TakeFingerprint();
  ASSAY_TRY(const AuditSetting original, MakeSetting(store, request, fingerprint));
  // Cells hold references into the setting, and plans point into its use case: it stays where it is from here on.
  AuditSetting setting = original;
  ASSAY_TRY(setting.plans, PlanCandidates(setting.usecase));

  std::vector<StudyCell> cells = ArithmeticCells(setting);
  const auto append = [&](std::vector<StudyCell> more) { std::move(more.begin(), more.end(), std::back_inserter(cells)); };
  if (setting.usecase.platform.is_this_cpu) {
    if (request.effort == AuditRequest::Effort::kFull) append(BatchCells(setting));
  } else {
    append(ServingCells(setting));
  }
  if (request.effort == AuditRequest::Effort::kFull) append(MachineCells(setting));
  StudyOptions options;
  options.start = {.command_line = request.command, .use_case_hash = fmt::format("{:016x}", HashText(setting.usecase.text)),
                   .machine_json = machine::ToJson(fingerprint).dump(), .program_version = request.version};
  options.resume = request.resume;
  options.quiet = request.quiet;
  ASSAY_TRY(const StudyOutcome study, RunStudy(store, cells, options));
  AuditOutcome outcome;
  if (study.stopped) {
    outcome.stopped = true;
    outcome.stop_message = study.Summary();
    return outcome;
  }

  AuditResult& audit = outcome.audit;
  ASSAY_TRY(audit.rows, store.Find({.run_id = study.run_id}));
  for (const StudyFailure& failure : study.failures) audit.notes.push_back(fmt::format("{} failed: {}", failure.label, failure.error.message));

  std::vector<ServingFacts> serving;
  std::vector<CandidateFacts> facts;
  for (const CandidatePlan& plan : setting.plans) {
    serving.push_back(ServingFactsFromRows(audit.rows, plan.letter));
    facts.push_back(FactsOf(setting.usecase, plan, setting.plans[0], serving.back()));
    if (setting.usecase.platform.is_this_cpu) {
      const Measurement* hours = audit.Find(plan.letter, "batch_hours");
      facts.back().batch_hours = hours != nullptr ? hours->quantity : Quantity::Refused("h", "nothing was measured on this machine; run the audit without --no-measure");
      const Measurement* per_document = audit.Find(plan.letter, "cost_usd_per_document");
      facts.back().usd_per_document = per_document != nullptr ? per_document->quantity : Quantity::Refused("USD", facts.back().batch_hours.origin);
    }
  }
  audit.advice = Decide(facts, ObjectivesOf(setting.usecase), EconomicsOf(setting.usecase, setting.conditions, setting.traffic.requests_per_second));
  audit.advice.next_command = NextCommand(setting, audit.advice);
  std::vector<Measurement> decided;
  AddDecisionRows(setting, facts, audit.advice, decided);
  for (Measurement& row : decided) row.run_id = study.run_id;
  // After a failed cell the rows would be provisional, and the run that completes it would meet other values under the same names.
  if (study.failures.empty()) ASSAY_RETURN_IF_ERROR(store.Put(decided));
  std::move(decided.begin(), decided.end(), std::back_inserter(audit.rows));
  if (setting.usecase.platform.is_this_cpu) audit.flips_refused = "not searched: a CPU use case has no serving model to vary";
  else if (!request.search_flips) audit.flips_refused = "not searched (--no-flips)";
  else {
    const FlipSearch search{.usecase = &setting.usecase, .plans = &setting.plans, .serving = &serving, .conditions = setting.conditions,
                      .today = audit.advice, .seed = request.seed, .command = request.command, .seconds = request.flip_seconds};
    if (!request.quiet) fmt::print(stderr, "what would flip the advice: at most {:g} s\n", search.seconds);
    FlipsFound found = FindFlips(search);
    audit.flips = std::move(found.flips);
    if (!found.not_searched.empty()) {
      audit.notes.push_back(fmt::format("The search for flips ended after its {:g} s, so these may flip the advice where it did not look: {}.", search.seconds, fmt::join(found.not_searched, ", ")));
      if (audit.flips.empty()) audit.flips_refused = "none found before the search's time was over";
    }
  }
  ASSAY_TRY(audit.claims, JudgeClaims(setting, audit.rows, &audit.notes));
  for (const CandidatePlan& plan : setting.plans) audit.candidates.push_back(Describe(plan, setting.usecase));
  audit.figures = MakeFigures(setting, audit.rows);
  audit.crossover = setting.usecase.platform.is_this_cpu ? CrossoverMap{.context_tokens = {}, .concurrency = {}, .cells = {}, .refused = "a CPU use case has no serving model"}
                                                         : MakeCrossover(setting, audit.rows);
  audit.probes = MakeProbes(setting, audit.rows);
  for (std::string& note : NotesOf(setting)) audit.notes.push_back(std::move(note));
  audit.title = formats::Printable(setting.usecase.name);
  audit.run_id = study.run_id;
  audit.usecase_path = request.usecase_path;
  audit.command = request.command;
  audit.date = UtcNow();
  audit.version = request.version;
  audit.machine = fingerprint.Line();
  audit.seed = request.seed;
  return outcome;
}

}  // namespace assay
