// Builds the calls, checks and times them in groups (one group a phase and length), and writes what was found as rows and measurements.
#include "probes/cost/cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/thread_pool.h"
#include "machine/ceilings.h"
#include "machine/fingerprint.h"
#include "machine/paired_runner.h"
#include "machine/roofline.h"
#include "probes/cost/row_check.h"
#include "stats/interval.h"
#include "stats/multiplicity.h"
#include "stats/power.h"
#include "store/sha256.h"

namespace assay {
namespace cost {
namespace {

// Elements of K and V that a call may have: beyond, filling them with random numbers takes longer than measuring.
constexpr double kMostElements = 1.5e8;
constexpr int kFewestRounds = 6;  // fewer do not bound a median at 95 %

constexpr double kFamilyError = 0.05;  // that any comparison of a family finds a difference in nothing

// One kernel on one prepared problem.
struct Call {
  const CostSubject* subject = nullptr;
  const Kernel* kernel = nullptr;
  DType dtype = DType::kF32;
  std::shared_ptr<OwnedProblem> problem;
  std::unique_ptr<Plan> plan;
  CostQuery query;
  bool baseline = false;
};

// The calls of one phase and length, timed together.
struct Group {
  Phase phase = Phase::kDecode;
  int64_t tokens = 0;
  std::vector<Call> calls;
  [[nodiscard]] std::string where() const { return fmt::format("{} at {} tokens", phase == Phase::kDecode ? "decode" : "prefill", tokens); }
};

double ElementBytes(DType dtype) { return BitsOf(dtype) / 8.0; }

CostQuery QueryOf(const CostOptions& options, const CostSubject& subject, DType dtype, const Group& group) {
  const bool decode = group.phase == Phase::kDecode;
  return {.shape = subject.shape.value_or(options.shape),
          .parameters = subject.parameters,
          .new_tokens = decode ? 1 : group.tokens,
          .context_tokens = decode ? group.tokens : 0,
          .sequences = 1,
          .cache_bytes_per_element = ElementBytes(dtype)};
}

Result<OwnedProblem> ExampleOf(const CostOptions& options, const CostSubject& subject, DType dtype, const Group& group) {
  const bool decode = group.phase == Phase::kDecode;
  ExampleSpec spec;
  spec.query_tokens = {decode ? 1 : group.tokens};
  spec.key_tokens = {decode ? group.tokens + 1 : group.tokens};
  const LayerShape shape = subject.shape.value_or(options.shape);
  spec.query_heads = shape.query_heads;
  spec.kv_heads = shape.kv_heads;
  spec.head_dim = shape.head_dim;
  spec.v_head_dim = shape.v_head_dim;
  spec.dtype = dtype;
  spec.with_lse = false;
  Rng rng(DeriveSeed(options.seed, fmt::format("cost/{}/{}/{}", subject.mechanism->id, NameOf(dtype), group.where())));
  return subject.mechanism->example(spec, subject.parameters, rng);
}

// A bootstrap interval of few pairs can lie beside its estimate; what is stored holds it.
Quantity Measured(const stats::Interval& interval, double factor, std::string_view unit, std::string origin) {
  const double value = factor * interval.estimate;
  return {.value = value,
          .low = std::min(value, factor * interval.low),
          .high = std::max(value, factor * interval.high),
          .unit = std::string(unit),
          .basis = Basis::kMeasured,
          .origin = std::move(origin)};
}

class Probe {
 public:
  explicit Probe(const CostOptions& options) : options_(options), fingerprint_(machine::TakeFingerprint()) {
    threads_ = options.threads > 0 ? options.threads : std::max(1, static_cast<int>(fingerprint_.usable_cpus()));
    pool_ = std::make_unique<ThreadPool>(ThreadPool::Options{.workers = threads_});
  }

  Result<CostReport> Run() {
    machine::CeilingOptions ceiling_options;
    ceiling_options.kinds = {machine::CeilingKind::kFp32, machine::CeilingKind::kBf16, machine::CeilingKind::kL2Read, machine::CeilingKind::kL3Read, machine::CeilingKind::kDramRead};
    ASSAY_TRY(ceilings_, machine::Ceilings::Make(fingerprint_, *pool_, ceiling_options));
    start_ = std::chrono::steady_clock::now();
    std::vector<Group> groups;
    for (const int64_t tokens : options_.decode_contexts) groups.push_back({Phase::kDecode, tokens, {}});
    for (const int64_t tokens : options_.prefill_tokens) groups.push_back({Phase::kPrefill, tokens, {}});
    for (size_t i = 0; i < groups.size(); ++i) {
      if (Stop()) {
        report_.stopped = true;
        break;
      }
      // What earlier groups left unused goes to the later ones.
      const double left_s = options_.budget_s - Elapsed();
      if (left_s <= 0) {
        Refuse("all", groups[i].where(), fmt::format("the budget of {:g} s was used up before this length", options_.budget_s));
        continue;
      }
      Measure(&groups[i], left_s / static_cast<double>(groups.size() - i));
      groups[i].calls.clear();
    }
    const std::string rounds = AddArtifact(nlohmann::json{{"lengths", raw_}}.dump());
    for (Measurement& row : report_.measurements)
      if (row.samples_artifact.empty()) row.samples_artifact = rounds;
    return std::move(report_);
  }

 private:
  [[nodiscard]] bool Stop() const { return options_.stop && options_.stop(); }
  [[nodiscard]] double Elapsed() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  std::string AddArtifact(std::string json) {
    report_.artifacts.push_back(std::move(json));
    return Sha256Hex(report_.artifacts.back());
  }
  void Refuse(std::string_view mechanism, std::string where, std::string reason) { report_.refusals.push_back({std::string(mechanism), std::move(where), std::move(reason)}); }

  // Every kernel in prefill; the default alone in decode, where a chunked form is the same call.
  void Prepare(Group* group) {
    for (const CostSubject& subject : options_.subjects) {
      for (const DType dtype : subject.dtypes) {
        const CostQuery query = QueryOf(options_, subject, dtype, *group);
        const ResidentBytes resident = subject.mechanism->resident(query.shape, query.parameters, query);
        const double elements = resident.At(static_cast<double>(group->tokens)) * static_cast<double>(query.sequences) / ElementBytes(dtype);
        if (elements > kMostElements) {
          Refuse(subject.mechanism->id, group->where(), fmt::format("{:.3g} cache elements; at most {:.2g} are filled for a measurement", elements, kMostElements));
          continue;
        }
        Result<OwnedProblem> example = ExampleOf(options_, subject, dtype, *group);
        if (!example.ok()) {
          Refuse(subject.mechanism->id, group->where(), example.error().message);
          continue;
        }
        const auto problem = std::make_shared<OwnedProblem>(std::move(example).value());
        std::string reason = "no kernel here serves it";
        bool any = false;
        for (const Kernel& kernel : subject.mechanism->kernels) {
          if (any && group->phase == Phase::kDecode) break;
          if (const Status status = kernel.check(problem->problem, kernel); !status.ok()) {
            reason = status.error().message;
            continue;
          }
          auto plan = kernel.prepare(problem->problem, kernel, {.pool = pool_.get()});
          if (!plan.ok()) {
            reason = plan.error().message;
            continue;
          }
          (*plan)->Pack();
          group->calls.push_back({&subject, &kernel, dtype, problem, std::move(plan).value(), query, &subject == &options_.subjects.front() && !any});
          any = true;
        }
        if (!any) Refuse(subject.mechanism->id, fmt::format("{}, {}", group->where(), NameOf(dtype)), reason);
      }
    }
  }

  static void PoisonOutputs(const Problem& problem) {
    for (const Role role : {Role::kO, Role::kLse, Role::kStateOut}) {
      const TensorView* out = problem.Find(role);
      if (out == nullptr || !out->is_contiguous()) continue;
      for (int64_t i = 0; i < out->count(); ++i) StoreElement(out->data, out->dtype, static_cast<size_t>(i), std::numeric_limits<double>::quiet_NaN());
    }
  }

  // Calls that are so slow that the budget allows too few rounds are refused before they eat the others' time.
  void DropSlowCalls(Group* group, double budget_s) {
    std::vector<Call> kept;
    const double share_s = budget_s / static_cast<double>(std::max<size_t>(1, group->calls.size()));
    for (Call& call : group->calls) {
      // Kernels of a subject share a problem: without this, one that writes nothing would be judged by what the one before it wrote.
      PoisonOutputs(call.problem->problem);
      const double before = Elapsed();
      call.plan->Run();
      const double seconds = Elapsed() - before;
      const Status right = CheckRows(*call.subject->mechanism, call.dtype, call.problem->problem);
      const std::string where = fmt::format("{}, {}, {}", group->where(), call.kernel->id, NameOf(call.dtype));
      if (!right.ok()) {
        Refuse(call.subject->mechanism->id, where, "a wrong answer has no speed: " + right.error().message);
      } else if (seconds * kFewestRounds > share_s) {
        Refuse(call.subject->mechanism->id, where, fmt::format("one call takes {:.3g} s; {} rounds do not fit into its {:.3g} s of the budget", seconds, kFewestRounds, share_s));
      } else {
        kept.push_back(std::move(call));
      }
    }
    group->calls = std::move(kept);
  }

  void Measure(Group* group, double budget_s) {
    const double begin = Elapsed();
    Prepare(group);
    // Set-up counts, but a length keeps a third of its share for measuring.
    DropSlowCalls(group, std::max(budget_s / 3, budget_s - (Elapsed() - begin)));
    if (group->calls.empty()) return;
    std::vector<machine::TimedSubject> subjects;
    for (const Call& call : group->calls) {
      Plan* plan = call.plan.get();
      // Answers were checked a moment ago, on these very plans.
      subjects.push_back({.name = fmt::format("{}/{}/{}", call.subject->mechanism->id, call.kernel->id, NameOf(call.dtype)), .run = [plan] { plan->Run(); }, .check = [] { return Ok(); }});
    }
    machine::PairedOptions paired;
    paired.min_rounds = kFewestRounds;
    paired.max_rounds = std::max(kFewestRounds, options_.max_rounds);
    paired.repeats = 1;
    paired.budget_s = std::max(budget_s / 3, budget_s - (Elapsed() - begin));
    paired.threads = threads_;
    paired.seed = DeriveSeed(options_.seed, group->where());
    paired.stop = options_.stop;
    const auto result = machine::RunPaired(subjects, ceilings_.get(), paired);
    if (!result.ok()) {
      Refuse("all", group->where(), result.error().message);
      return;
    }
    report_.stopped = report_.stopped || result->stopped;
    if (result->rounds.empty()) return;
    raw_.push_back({{"where", group->where()}, {"paired", machine::RawSamplesJson(*result)}});
    const std::vector<Quantity> ratios = Ratios(*group, *result);
    for (size_t i = 0; i < group->calls.size(); ++i) AddRow(*group, i, *result, ratios[i]);
  }

  // Of every call to its baseline. Intervals hold together: each is as wide as the number of comparisons asks for.
  [[nodiscard]] std::vector<Quantity> Ratios(const Group& group, const machine::PairedResult& result) const {
    std::vector<Quantity> ratios(group.calls.size(), Quantity::Exact(1, "ratio", "it is the baseline"));
    std::vector<size_t> compared;
    for (size_t i = 0; i < ratios.size(); ++i) {
      if (BaselineOf(group, i) != i) compared.push_back(i);
    }
    std::vector<stats::PairedRatio> pairs;
    const double confidence = 1 - kFamilyError * options_.family_share / static_cast<double>(std::max<size_t>(1, compared.size()));
    for (const size_t i : compared) {
      const auto ratio = stats::ComparePaired(result.subjects[i].best_s, result.subjects[BaselineOf(group, i)].best_s, {.confidence = confidence, .seed = options_.seed});
      if (!ratio.ok()) {
        for (const size_t j : compared) ratios[j] = Quantity::Refused("ratio", ratio.error().message);
        return ratios;
      }
      pairs.push_back(*ratio);
    }
    const std::vector<CorrectedComparison> corrected = CorrectComparisons(pairs, options_.family_share);
    for (size_t n = 0; n < compared.size(); ++n) {
      const CorrectedComparison& c = corrected[n];
      ratios[compared[n]] =
          Measured(pairs[n].ratio, 1, "ratio",
                   fmt::format("time over that of {} in the same round, {} pairs, one of {:.0f} comparisons: Holm-adjusted p = {:.2g}, so {}; these pairs show ratios of {:.3g} or more",
                               result.subjects[BaselineOf(group, compared[n])].name, pairs[n].pairs, static_cast<double>(compared.size()) / options_.family_share, c.p_value,
                               c.told_apart ? "told apart" : "not told apart", c.detectable));
    }
    return ratios;
  }

  // The call that the others are compared with: of the first subject, and of the same element type where it has one.
  static size_t BaselineOf(const Group& group, size_t index) {
    size_t baseline = index;
    for (size_t i = group.calls.size(); i-- > 0;) {
      if (!group.calls[i].baseline) continue;
      if (baseline == index || group.calls[i].dtype == group.calls[index].dtype) baseline = i;
    }
    return baseline;
  }

  void AddRow(const Group& group, size_t index, const machine::PairedResult& result, const Quantity& ratio) {
    const Call& call = group.calls[index];
    CostRow row;
    row.mechanism = call.subject->mechanism->id;
    row.parameters = call.subject->parameters.Canonical();
    row.implementation = fmt::format("assay/{}", call.plan->target());
    row.phase = group.phase;
    row.tokens = group.tokens;
    row.flags = result.flags();
    const std::vector<double>& seconds = result.subjects[index].best_s;
    const stats::Interval median = stats::QuantileInterval(seconds, 0.5);
    const std::string origin = fmt::format("{} interleaved rounds on {} threads; the answer was checked against the fp64 reference first", seconds.size(), threads_);
    row.time = Measured(median, 1e3, "ms", origin);

    const LayerCost work = call.subject->mechanism->cost(call.query);
    const double bytes = work.bytes_read + work.bytes_written;
    machine::UsefulWork useful = {.ops = work.flops, .bytes = bytes};
    // The arithmetic that ran, not the type of the operands: a recurrence widens bf16 and multiplies in fp32.
    useful.arithmetic = OperandsOf(call.plan->target()) == DType::kBf16 ? machine::CeilingKind::kBf16 : machine::CeilingKind::kFp32;
    useful.bandwidth = machine::ReadLevelFor(fingerprint_, bytes, threads_);
    auto share = machine::ShareOfCeiling(result, index, useful);
    if (!share.ok() && useful.arithmetic == machine::CeilingKind::kBf16) {
      // No bf16 arithmetic here: kernels widen, and fp32 is their ceiling.
      useful.arithmetic = machine::CeilingKind::kFp32;
      share = machine::ShareOfCeiling(result, index, useful);
    }
    if (share.ok()) {
      row.ceiling_share = Measured(share->share_interval, 1, "fraction",
                                   fmt::format("useful work over {} = {:.4g} {} in the same rounds", machine::NameOf(share->ceiling), share->ceiling_rate, machine::UnitOf(share->ceiling)));
    } else {
      row.ceiling_share = Quantity::Refused("fraction", share.error().message);
    }
    row.ratio_to_baseline = ratio;
    AddMeasurements(group, call, row, seconds, share.ok() ? &*share : nullptr);
    report_.rows.push_back(std::move(row));
  }

  void AddMeasurements(const Group& group, const Call& call, const CostRow& row, const std::vector<double>& seconds, const machine::CeilingShare* share) {
    Measurement base;
    base.subject = {.mechanism = row.mechanism, .parameters = row.parameters, .implementation = row.implementation, .revision = call.subject->mechanism->revision};
    base.factors = {{"dtype", std::string(NameOf(call.dtype))},
                    {"head_dim", fmt::format("{}", call.query.shape.head_dim)},
                    {"kernel", std::string(call.kernel->id)},
                    {"kv_heads", fmt::format("{}", call.query.shape.kv_heads)},
                    {"phase", group.phase == Phase::kDecode ? "decode" : "prefill"},
                    {"query_heads", fmt::format("{}", call.query.shape.query_heads)},
                    {"threads", fmt::format("{}", threads_)},
                    {"tokens", fmt::format("{}", group.tokens)}};
    base.probe = "cost";
    base.sample_count = static_cast<int64_t>(seconds.size());
    base.command = options_.command;
    base.machine = fingerprint_.Id();
    base.flags = row.flags;
    base.seed = options_.seed;
    base.cell_key = CellKey(base.subject, base.factors, base.machine);
    const auto add = [&](std::string_view metric, const Quantity& quantity) {
      Measurement measurement = base;
      measurement.metric = metric;
      measurement.quantity = quantity;
      report_.measurements.push_back(std::move(measurement));
    };
    add(group.phase == Phase::kDecode ? "decode_time_ms" : "prefill_time_ms", row.time);
    nlohmann::json samples_ms = nlohmann::json::array();
    for (const double sample : seconds) samples_ms.push_back(1e3 * sample);
    report_.measurements.back().samples_artifact = AddArtifact(samples_ms.dump());
    add("ceiling_share", row.ceiling_share);
    add("time_ratio", row.ratio_to_baseline);
    if (share == nullptr) return;
    const bool flops = share->arithmetic_bound;
    const auto rate = [&](double value, double low, double high) {
      return Quantity{.value = value, .low = low, .high = high, .unit = flops ? "FLOP/s" : "B/s", .basis = Basis::kMeasured, .origin = row.ceiling_share.origin};
    };
    // Work is counted, so a rate is as uncertain as its time. The ceiling is the best burst seen: a value, not an estimate.
    const double done = share->rate * row.time.value;
    add(flops ? "achieved_flops_per_second" : "achieved_bytes_per_second", rate(share->rate, done / row.time.high, done / std::max(row.time.low, 1e-12)));
    add(flops ? "ceiling_flops_per_second" : "ceiling_bytes_per_second", rate(share->ceiling_rate, share->ceiling_rate, share->ceiling_rate));
    // Beside the share: how many operations a byte carries, for the roofline.
    const LayerCost work = call.subject->mechanism->cost(call.query);
    add("arithmetic_intensity", Quantity::Exact(work.flops / (work.bytes_read + work.bytes_written), "FLOP/B", "useful operations over minimal traffic, counted"));
  }

  const CostOptions& options_;
  machine::Fingerprint fingerprint_;
  int threads_ = 1;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<machine::Ceilings> ceilings_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  CostReport report_;
  nlohmann::json raw_ = nlohmann::json::array();
};

}  // namespace
}  // namespace cost

std::optional<DType> OperandsOf(std::string_view target) {
  const size_t slash = target.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view type = target.substr(slash + 1);
  return DTypeFromName(type.substr(0, type.find('-')));
}

std::vector<CorrectedComparison> CorrectComparisons(std::span<const stats::PairedRatio> comparisons, double family_share) {
  std::vector<double> p_values;
  for (const stats::PairedRatio& one : comparisons) p_values.push_back(one.wilcoxon.p_value);
  const std::vector<double> adjusted = stats::HolmAdjust(p_values);
  std::vector<CorrectedComparison> corrected;
  for (size_t i = 0; i < comparisons.size(); ++i) {
    const double p = std::min(1.0, adjusted[i] / family_share);
    const double alpha = cost::kFamilyError * family_share / static_cast<double>(comparisons.size());
    corrected.push_back({.p_value = p, .detectable = stats::MinimumDetectableRatio(comparisons[i].log_deviation, comparisons[i].pairs, {.alpha = alpha}), .told_apart = p <= cost::kFamilyError});
  }
  return corrected;
}

Status CheckCostOptions(const CostOptions& options) {
  if (options.subjects.empty()) return BadInput("cost: no mechanism to measure");
  for (const CostSubject& subject : options.subjects) {
    if (subject.mechanism == nullptr || subject.dtypes.empty()) return BadInput("cost: a subject needs a mechanism and an element type");
  }
  const LayerShape& shape = options.shape;
  if (shape.query_heads < 1 || shape.kv_heads < 1 || shape.head_dim < 1) {
    return BadInput(fmt::format("cost: a layer of {} query heads, {} key/value heads, width {}; each must be at least 1", shape.query_heads, shape.kv_heads, shape.head_dim));
  }
  if (options.prefill_tokens.empty() && options.decode_contexts.empty()) return BadInput("cost: no prefill length and no decode context to measure at");
  for (const auto* lengths : {&options.prefill_tokens, &options.decode_contexts}) {
    for (const int64_t tokens : *lengths) {
      if (tokens < 1) return BadInput(fmt::format("cost: a length of {} tokens; it must be at least 1", tokens));
    }
  }
  if (!(options.budget_s > 0)) return BadInput("cost: budget_s must be above 0");
  return Ok();
}

Result<CostReport> RunCost(const CostOptions& options) {
  ASSAY_RETURN_IF_ERROR(CheckCostOptions(options));
  return cost::Probe(options).Run();
}

}  // namespace assay
