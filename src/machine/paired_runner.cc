#include "machine/paired_runner.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/random.h"
#include "machine/clock.h"
#include "machine/small_files.h"

namespace assay::machine {
namespace {

// Eighth number of the first line of /proc/stat, in ticks.
double StolenSeconds() {
  const std::string text = ReadSmallFile("/proc/stat");
  const char* cursor = text.c_str();
  while (*cursor != '\0' && *cursor != ' ') ++cursor;
  unsigned long long value = 0;
  for (int field = 0; field < 8; ++field) {
    char* end = nullptr;
    value = std::strtoull(cursor, &end, 10);
    if (end == cursor) return 0;
    cursor = end;
  }
  const long ticks = sysconf(_SC_CLK_TCK);
  return ticks > 0 ? static_cast<double>(value) / static_cast<double>(ticks) : 0;
}

int64_t InvoluntarySwitches() {
  rusage usage{};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}

struct Snapshot {
  int64_t wall_ns = NowNs();
  int64_t cpu_ns = ThreadCpuNs();
  int64_t switches = InvoluntarySwitches();
  double stolen_s = StolenSeconds();
};

RoundFlags Judge(const Snapshot& before, const Snapshot& after, int threads) {
  RoundFlags flags;
  flags.involuntary_switches = after.switches - before.switches;
  flags.cpu_share = static_cast<double>(after.cpu_ns - before.cpu_ns) /
                    static_cast<double>(std::max<int64_t>(1, after.wall_ns - before.wall_ns));
  flags.stolen_s = after.stolen_s - before.stolen_s;
  flags.flagged = flags.involuntary_switches > 0 || flags.stolen_s > 0 || (threads == 1 && flags.cpu_share < 0.98);
  return flags;
}

double SecondsPerCall(const TimedSubject& subject, int64_t calls) {
  if (subject.time_itself) return subject.time_itself(calls);
  const int64_t start = NowNs();
  for (int64_t call = 0; call < calls; ++call) subject.run();
  return 1e-9 * static_cast<double>(NowNs() - start) / static_cast<double>(calls);
}

// Calls that fill a sample. Doubling from one also warms caches, page tables and branch predictors up.
int64_t CallsPerSample(const TimedSubject& subject, double min_sample_s) {
  constexpr int64_t kMostCalls = 1 << 20;
  for (int64_t calls = 1; calls < kMostCalls; calls *= 2)
    if (const double seconds = SecondsPerCall(subject, calls) * static_cast<double>(calls); std::isnan(seconds) || seconds >= min_sample_s) return calls;
  return kMostCalls;
}

Status CheckAnswers(const std::vector<TimedSubject>& subjects) {
  for (const TimedSubject& subject : subjects) {
    if (subject.time_itself) continue;
    if (!subject.run) return Error{ErrorKind::kInternal, fmt::format("{} has nothing to run", subject.name)};
    subject.run();
    if (!subject.check) continue;
    if (Status status = subject.check(); !status.ok())
      return NotHeld(
          fmt::format("{} gives a wrong answer, so it is not timed: {}", subject.name, status.error().message));
  }
  return Ok();
}

std::vector<int> ShuffledOrder(size_t subjects, bool with_ceilings, Rng& rng) {
  std::vector<int> order(subjects);
  std::iota(order.begin(), order.end(), 0);
  if (with_ceilings) order.push_back(-1);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.Below(i)]);
  return order;
}

Round RunRound(const std::vector<TimedSubject>& subjects, const std::vector<SubjectTimes>& times, Ceilings* ceilings,
               const PairedOptions& options, Rng& rng) {
  Round round;
  round.order = ShuffledOrder(subjects.size(), ceilings != nullptr, rng);
  round.samples_s.resize(subjects.size());
  for (std::vector<double>& samples : round.samples_s) samples.reserve(static_cast<size_t>(options.repeats));
  const Snapshot before;
  for (const int turn : round.order) {
    if (turn < 0) {
      round.ceilings = ceilings->Measure();
      continue;
    }
    const auto subject = static_cast<size_t>(turn);
    for (int repeat = 0; repeat < options.repeats; ++repeat)
      round.samples_s[subject].push_back(SecondsPerCall(subjects[subject], times[subject].calls_per_sample));
  }
  round.flags = Judge(before, Snapshot(), options.threads);
  if (ceilings != nullptr)
    for (const CeilingInfo& info : ceilings->infos())
      if (info.refusal.empty() && std::isnan(round.ceilings[info.kind]))
        round.flags.ceiling_missing = round.flags.flagged = true;
  return round;
}

}  // namespace

double Round::best_s(size_t subject) const {
  return *std::min_element(samples_s[subject].begin(), samples_s[subject].end());
}

Result<PairedResult> RunPaired(const std::vector<TimedSubject>& subjects, Ceilings* ceilings,
                               const PairedOptions& options) {
  ASSAY_CHECK(!subjects.empty() && options.repeats >= 1 && options.min_rounds >= 0,
              "a run needs a subject, a repeat and rounds");
  ASSAY_RETURN_IF_ERROR(CheckAnswers(subjects));
  PairedResult result;
  for (const TimedSubject& subject : subjects) {
    SubjectTimes times;
    times.name = subject.name;
    times.calls_per_sample = CallsPerSample(subject, options.min_sample_us * 1e-6);
    result.subjects.push_back(std::move(times));
  }

  Rng rng(options.seed);
  const int64_t start = NowNs();
  const int most = std::max(options.max_rounds, options.min_rounds);
  for (int round = 0; round < most; ++round) {
    result.elapsed_s = 1e-9 * static_cast<double>(NowNs() - start);
    if (round >= options.min_rounds && result.elapsed_s >= options.budget_s) break;
    if (options.stop && options.stop()) {
      result.stopped = true;
      break;
    }
    result.rounds.push_back(RunRound(subjects, result.subjects, ceilings, options, rng));
    if (result.rounds.back().flags.flagged) ++result.flagged_rounds;
    if (options.progress) options.progress(round + 1, 1e-9 * static_cast<double>(NowNs() - start));
  }
  result.elapsed_s = 1e-9 * static_cast<double>(NowNs() - start);

  for (size_t subject = 0; subject < subjects.size(); ++subject) {
    std::vector<double> all;
    for (const Round& round : result.rounds) {
      all.insert(all.end(), round.samples_s[subject].begin(), round.samples_s[subject].end());
      result.subjects[subject].best_s.push_back(round.best_s(subject));
    }
    result.subjects[subject].seconds = stats::Summarize(all);
  }
  return result;
}

Result<stats::PairedRatio> PairedResult::Compare(size_t numerator, size_t denominator, uint64_t seed) const {
  ASSAY_CHECK(numerator < subjects.size() && denominator < subjects.size(), "no such subject");
  return stats::ComparePaired(subjects[numerator].best_s, subjects[denominator].best_s, {.seed = seed});
}

std::string PairedResult::flags() const {
  std::string text;
  if (4 * static_cast<size_t>(flagged_rounds) > rounds.size()) text = "noisy";
  if (stopped) text += text.empty() ? "stopped" : ",stopped";
  return text;
}

nlohmann::json RawSamplesJson(const PairedResult& result) {
  nlohmann::json subjects = nlohmann::json::array();
  for (const SubjectTimes& subject : result.subjects)
    subjects.push_back({{"name", subject.name}, {"calls_per_sample", subject.calls_per_sample}});
  nlohmann::json rounds = nlohmann::json::array();
  for (const Round& round : result.rounds) {
    nlohmann::json ceilings = nlohmann::json::object();
    for (const CeilingKind kind : AllCeilings())
      if (!std::isnan(round.ceilings[kind])) ceilings[std::string(NameOf(kind))] = round.ceilings[kind];
    rounds.push_back({{"order", round.order},
                      {"seconds_per_call", round.samples_s},
                      {"ceilings_per_s", std::move(ceilings)},
                      {"involuntary_switches", round.flags.involuntary_switches},
                      {"cpu_share", round.flags.cpu_share},
                      {"stolen_s", round.flags.stolen_s},
                      {"ceiling_missing", round.flags.ceiling_missing},
                      {"flagged", round.flags.flagged}});
  }
  return {{"schema_version", 1}, {"subjects", std::move(subjects)}, {"rounds", std::move(rounds)}};
}

}  // namespace assay::machine
