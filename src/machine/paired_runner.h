// The paired runner: how anything is timed here. Subjects run in interleaved rounds, in a new random order each round,
// with the machine's ceilings measured in the same round; what disturbs the machine then disturbs all of them, and
// ratios stay true where times do not. Answers are checked before anything is timed. Nothing is dropped and nothing is
// repeated until it looks right: a disturbed round is flagged and kept.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/result.h"
#include "machine/ceilings.h"
#include "stats/descriptive.h"
#include "stats/paired.h"

namespace assay::machine {

struct TimedSubject {
  std::string name;
  std::function<void()> run;  // one call; no allocation, no set-up
  std::function<Status()> check =
      {};  // whether the answer is right, after one call of run; empty only where there is no answer
  // Where the subject times itself, since it runs in another process: seconds a call over `calls` calls, NaN once it has failed. Then
  // `run` is not used, and the answer was checked before.
  std::function<double(int64_t calls)> time_itself = {};
};

struct PairedOptions {
  int min_rounds = 20;  // run even if the budget is used up
  int max_rounds = 200;
  double budget_s = 2;         // of wall time for the rounds
  int repeats = 3;             // samples of a subject in a row within a round
  double min_sample_us = 200;  // a shorter call is repeated within a sample until it fills this
  int threads = 1;             // that the subjects use; decides which flags make sense
  uint64_t seed = 0;
  std::function<bool()> stop = {};  // asked between rounds: Ctrl-C
  std::function<void(int rounds, double elapsed_s)> progress = {};
};

// What the operating system says about one round.
struct RoundFlags {
  int64_t involuntary_switches = 0;  // of all threads of this process
  double cpu_share = 1;  // thread CPU time over wall time of the calling thread; judged for single-threaded subjects
                         // only, since a caller that waits for its workers sleeps
  double stolen_s = 0;           // by the hypervisor, all processors, in ticks of 10 ms
  bool ceiling_missing = false;  // the threads were never all running during some ceiling's bursts
  bool flagged = false;
};

struct Round {
  CeilingSample ceilings;  // NaN where none were asked for
  RoundFlags flags;
  std::vector<int> order;                             // subjects as they ran; -1 stands for the ceilings
  std::vector<std::vector<double>> samples_s;         // [subject][repeat], seconds per call
  [[nodiscard]] double best_s(size_t subject) const;  // like the ceilings, the best of the round's repeats
};

struct SubjectTimes {
  std::string name;
  int64_t calls_per_sample = 1;
  stats::Summary seconds;      // of all samples, flagged rounds included
  std::vector<double> best_s;  // one per round
};

struct PairedResult {
  std::vector<SubjectTimes> subjects;
  std::vector<Round> rounds;
  int flagged_rounds = 0;
  bool stopped = false;  // by options.stop: what was measured until then is here
  double elapsed_s = 0;

  // Time of `numerator` over time of `denominator`, round by round. Needs two rounds for a bounded interval.
  [[nodiscard]] Result<stats::PairedRatio> Compare(size_t numerator, size_t denominator, uint64_t seed) const;
  // "" or e.g. "noisy": for Measurement::flags. Noisy when more than a quarter of the rounds is flagged.
  [[nodiscard]] std::string flags() const;
};

// Fails without timing anything if a check fails (kNotHeld: a wrong answer has no speed). `ceilings` may be nullptr.
Result<PairedResult> RunPaired(const std::vector<TimedSubject>& subjects, Ceilings* ceilings,
                               const PairedOptions& options);

// Every sample, order, flag and ceiling: the artifact behind a measurement.
nlohmann::json RawSamplesJson(const PairedResult& result);

}  // namespace assay::machine
