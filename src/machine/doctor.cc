#include "machine/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/thread_pool.h"
#include "machine/clock.h"
#include "stats/descriptive.h"

namespace assay::machine {
namespace {

constexpr long kUsualPairs = 30;
constexpr long kPatientPairs = 100;
// A machine on which a hundred pairs do not show a tenth is no place to compare kernels.
constexpr double kCoarsestUsefulRatio = 1.10;
constexpr int64_t kLeastMemoryBytes = int64_t{1} << 30;

std::string Percent(double ratio) {
  return fmt::format("{:.2g} %", 100 * (ratio - 1));
}

Check JudgeProcessors(const Fingerprint& f) {
  Check check{.name = "processors", .finding = fmt::format("{} allowed of {} online", f.allowed_cpus, f.online_cpus)};
  if (f.quota_cpus > 0) check.finding += fmt::format(", container quota {:.2f}", f.quota_cpus);
  if (f.usable_cpus() < 1) {
    check.fitness = Fitness::kUnfit;
    check.remedy =
        "the quota stops the process within every 100 ms; raise it to a whole processor or more (docker run --cpus=1)";
  } else if (f.quota_cpus > 0 && f.quota_cpus < f.allowed_cpus) {
    check.fitness = Fitness::kLimited;
    check.remedy = fmt::format("use at most {} threads, or pin the container to whole processors (--cpuset-cpus)",
                               static_cast<int>(f.quota_cpus));
  }
  return check;
}

Check JudgeBackend(const Fingerprint& f) {
  Check check{.name = "kernel_backend", .finding = f.best_backend};
  if (f.best_backend == "generic") {
    check.fitness = f.architecture == "x86_64" ? Fitness::kUnfit : Fitness::kLimited;
    check.finding = "generic: no AVX2 with FMA; kernel times would say little about deployed CPUs";
    check.remedy =
        "use a machine with AVX2 (any x86 server since 2015); under an emulator, pass the host CPU through (-cpu host)";
  } else if (std::find(f.simd.begin(), f.simd.end(), "amx_bf16") != f.simd.end()) {
    check.finding += "; AMX is present and not used, so bf16 and int8 ceilings are those of AVX-512";
  }
  return check;
}

Check JudgeNoise(const NoiseFloor& noise) {
  const double usual = noise.DetectableRatio(kUsualPairs);
  Check check{.name = "paired_cpu_ratios", .finding = {}};
  check.finding = fmt::format("a difference of {} shows in {} pairs, {} in {}", Percent(usual), kUsualPairs,
                              Percent(noise.DetectableRatio(kPatientPairs)), kPatientPairs);
  if (std::isnan(noise.log_deviation())) {
    check.fitness = Fitness::kUnfit;
    check.finding = fmt::format("the noise is unknown: {} rounds were measured", noise.rounds);
    check.remedy = "run the doctor again and let it finish";
  } else if (noise.DetectableRatio(kPatientPairs) > kCoarsestUsefulRatio) {
    check.fitness = Fitness::kUnfit;
    check.remedy =
        fmt::format("stop other work on this machine or take a quieter one; a 5 % difference would need {} pairs here",
                    noise.PairsFor(1.05));
  } else if (usual > kCoarsestUsefulRatio) {
    check.fitness = Fitness::kLimited;
    check.remedy = fmt::format("noisy now: for a 5 % difference ask for {} rounds", noise.PairsFor(1.05));
  }
  return check;
}

Check JudgeDisturbance(const Fingerprint& f, const NoiseFloor& noise) {
  Check check{.name = "absolute_cpu_times", .finding = {}};
  check.finding = fmt::format("{} of {} rounds disturbed (switches, stolen time)", noise.flagged_rounds, noise.rounds);
  if (!f.hypervisor.empty()) check.finding += fmt::format("; virtual machine ({})", f.hypervisor);
  if (!f.governor.empty()) check.finding += fmt::format("; governor {}", f.governor);
  const bool slow_governor = !f.governor.empty() && f.governor != "performance";
  if (!f.hypervisor.empty() || slow_governor || 4 * noise.flagged_rounds > noise.rounds) {
    check.fitness = Fitness::kLimited;
    check.remedy =
        slow_governor ? "set the governor to performance (cpupower frequency-set -g performance); until then compare "
                        "only within a run"
                      : "times of different runs are not comparable; compare within one run, as shares of its ceilings";
  }
  return check;
}

Check JudgeCounters(const Fingerprint& f) {
  if (f.counters.available) return {.name = "hardware_counters", .finding = "cycles and instructions are readable"};
  return {.name = "hardware_counters",
          .fitness = Fitness::kLimited,
          .finding = f.counters.reason,
          .remedy = "count instructions with valgrind --tool=callgrind instead"};
}

Check JudgeMemory(const Fingerprint& f, const std::vector<CeilingRow>& ceilings) {
  const double gib = static_cast<double>(f.usable_memory_bytes()) / (int64_t{1} << 30);
  Check check{.name = "memory", .finding = fmt::format("{:.1f} GiB usable", gib)};
  if (!f.huge_pages.empty()) check.finding += fmt::format("; huge pages: {}", f.huge_pages);
  if (f.usable_memory_bytes() < kLeastMemoryBytes) {
    check.fitness = Fitness::kUnfit;
    check.remedy = "free at least 1 GiB, or raise the container's memory limit";
    return check;
  }
  if (f.huge_pages == "never" || f.huge_pages.empty()) {
    check.fitness = Fitness::kLimited;
    check.remedy =
        "reads lose a few percent to page tables: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
  }
  for (const CeilingRow& row : ceilings)
    if (!row.info.refusal.empty()) {
      check.fitness = Fitness::kLimited;
      check.remedy = fmt::format("no {} ceiling with {} thread{}: {}", NameOf(row.info.kind), row.threads,
                                 row.threads == 1 ? "" : "s", row.info.refusal);
    }
  return check;
}

Check JudgeBuild(const Fingerprint& f) {
  Check check{.name = "build", .finding = fmt::format("{} {} {}", f.compiler, f.build_type, f.build_flags)};
  if (!f.sanitizers.empty() || f.build_type == "Debug") {
    check.fitness = Fitness::kUnfit;
    check.finding += f.sanitizers.empty() ? "" : fmt::format(", sanitizers {}", f.sanitizers);
    check.remedy = "measure with the release build: ./dev build";
  }
  return check;
}

Result<std::vector<CeilingRow>> MeasureCeilings(const Fingerprint& fingerprint, int threads,
                                                const DoctorOptions& options) {
  constexpr int kLeastRounds = 3;
  constexpr int kMostRounds = 10;
  constexpr int64_t kBudgetNs = 500'000'000;  // a quiet machine needs a tenth of it
  ThreadPool pool({.workers = threads, .pinning = ThreadPool::Pinning::kOneCpuEach});
  ASSAY_TRY(const std::unique_ptr<Ceilings> ceilings, Ceilings::Make(fingerprint, pool, {}));
  std::vector<CeilingSample> samples;
  const int64_t end_ns = NowNs() + kBudgetNs;
  for (int round = 0; round < kMostRounds && (round < kLeastRounds || NowNs() < end_ns); ++round) {
    if (options.stop && options.stop()) break;
    samples.push_back(ceilings->Measure());
  }
  std::vector<CeilingRow> rows;
  for (const CeilingInfo& info : ceilings->infos()) {
    std::vector<double> rates;
    for (const CeilingSample& sample : samples)
      if (!std::isnan(sample[info.kind])) rates.push_back(sample[info.kind]);
    CeilingRow row{.info = info, .threads = threads, .median = stats::Median(rates), .best = stats::Quantile(rates, 1)};
    if (rates.empty() && info.refusal.empty()) row.info.refusal = "the machine was too busy to run all threads at once";
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::string_view NameOf(Fitness fitness) {
  switch (fitness) {
    case Fitness::kFit:
      return "fit";
    case Fitness::kLimited:
      return "limited";
    case Fitness::kUnfit:
      return "unfit";
  }
  return "unfit";
}

bool DoctorReport::fit() const {
  return std::none_of(checks.begin(), checks.end(),
                      [](const Check& check) { return check.fitness == Fitness::kUnfit; });
}

std::vector<Check> Judge(const Fingerprint& fingerprint, const std::vector<CeilingRow>& ceilings,
                         const NoiseFloor& noise) {
  return {JudgeNoise(noise),         JudgeDisturbance(fingerprint, noise), JudgeProcessors(fingerprint),
          JudgeBackend(fingerprint), JudgeMemory(fingerprint, ceilings),   JudgeCounters(fingerprint),
          JudgeBuild(fingerprint)};
}

Result<DoctorReport> RunDoctor(const DoctorOptions& options) {
  const int64_t start = NowNs();
  DoctorReport report;
  report.fingerprint = TakeFingerprint();
  report.backend = report.fingerprint.best_backend;
  const int most_threads = std::max(1, static_cast<int>(report.fingerprint.usable_cpus()));
  std::vector<int> thread_counts = {1};
  if (most_threads > 1) thread_counts.push_back(most_threads);
  for (const int threads : thread_counts) {
    ASSAY_TRY(const std::vector<CeilingRow> rows, MeasureCeilings(report.fingerprint, threads, options));
    report.ceilings.insert(report.ceilings.end(), rows.begin(), rows.end());
  }
  ASSAY_TRY(report.noise, MeasureNoise({.seed = options.seed, .stop = options.stop}));
  report.checks = Judge(report.fingerprint, report.ceilings, report.noise);
  report.elapsed_s = 1e-9 * static_cast<double>(NowNs() - start);
  return report;
}

}  // namespace assay::machine
