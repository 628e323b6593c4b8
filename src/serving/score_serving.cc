// One row at a time: configuration, simulation at three draws, errors.
#include "serving/score_serving.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "formats/model_spec.h"
#include "platform/regimes.h"
#include "serving/arrivals.h"
#include "serving/forecast.h"

namespace assay::serving {
namespace {

struct Point {
  std::string model, gpu, engine, mode, gemm_quantisation, source;
  double prompt_tokens = 0, output_tokens = 0, batch = 0, tensor_parallel = 0, pipeline = 1;
  double ttft_ms = 0, tpot_ms = 0;
};

struct Columns {
  size_t model, system, backend, mode, isl, osl, gemm, batch, tp, pp, ttft, tpot;
  std::optional<size_t> source;
};

Result<Columns> Find(const formats::Table& t) {
  Columns c{};
  ASSAY_TRY(c.model, t.Column("model_path"));
  ASSAY_TRY(c.system, t.Column("system"));
  ASSAY_TRY(c.backend, t.Column("backend"));
  ASSAY_TRY(c.mode, t.Column("mode"));
  ASSAY_TRY(c.isl, t.Column("isl"));
  ASSAY_TRY(c.osl, t.Column("osl"));
  ASSAY_TRY(c.gemm, t.Column("gemm_quant_mode"));
  ASSAY_TRY(c.batch, t.Column("batch_size"));
  ASSAY_TRY(c.tp, t.Column("tp_size"));
  ASSAY_TRY(c.pp, t.Column("pp_size"));
  ASSAY_TRY(c.ttft, t.Column("silicon_ttft_ms"));
  ASSAY_TRY(c.tpot, t.Column("silicon_tpot_ms"));
  if (t.Has("silicon_data_source")) {
    ASSAY_TRY(c.source, t.Column("silicon_data_source"));
  }
  return c;
}

// Empty fields are common (disaggregated rows lack batch and workers): 0 then.
double NumberOr0(const formats::Table& t, size_t row, size_t column) {
  const auto value = t.Number(row, column);
  return value.ok() ? *value : 0;
}

std::string_view PresetOf(std::string_view model) {
  if (model.find("Llama-3.1-8B") != std::string_view::npos) return "llama-3.1-8b";
  if (model.find("Llama-3.1-70B") != std::string_view::npos) return "llama-3.1-70b";
  if (model == "Qwen/Qwen3-32B" || model == "Qwen/Qwen3-32B-FP8") return "qwen3-32b";
  return {};
}

struct Predicted {
  Quantity ttft, tpot;
};

// The policy of the engines' own benchmark settings: what the rows do not say.
constexpr int kBatchedTokens = 8192;
constexpr double kPublishedLengthFloor = 0.8;

class Predictor {
 public:
  explicit Predictor(uint64_t seed) : seed_(seed) {}

  // The reason if the row is refused.
  Result<Predicted> Predict(const Point& p) {
    if (p.mode != "agg") return Unsupported("disaggregated: most rows lack batch and workers");
    if (p.batch < 1) return Unsupported("no batch size given");
    if (p.tensor_parallel < 1 || p.tensor_parallel > 8 || p.pipeline > 1) return Unsupported("pipeline parallel, or more than 8 ranks");
    const std::string_view preset = PresetOf(p.model);
    if (preset.empty()) return Unsupported("a model with experts or latent attention: not modelled yet");
    ASSAY_TRY(const platform::Profile* profile, ProfileOf(p));
    DeploymentPlan plan;
    ASSAY_TRY(plan.model, formats::ModelPreset(preset));
    plan.step = {.tensor_parallel = static_cast<int>(p.tensor_parallel), .weights = p.gemm_quantisation.starts_with("fp8") ? DType::kE4m3 : DType::kBf16};
    plan.policy = {.max_batched_tokens = kBatchedTokens, .max_sequences = std::max(256, static_cast<int>(p.batch))};
    ASSAY_TRY(const Deployment deployment, MakeDeployment(plan, *profile, p.gpu, Assumptions()));
    // The client of published dashboards draws lengths from [0.8 L, L]. Collections that name no client may as well have sent one length,
    // so that all clients move in step: both are simulated, the value lies between and the interval holds both.
    std::optional<Predicted> predicted;
    for (double length_floor : {kPublishedLengthFloor, 1.0}) {
      if (length_floor == 1.0 && !p.source.starts_with("unpublished")) break;
      ASSAY_TRY(const Predicted one, Run(p, deployment, length_floor));
      predicted = predicted ? Predicted{.ttft = Between(predicted->ttft, one.ttft), .tpot = Between(predicted->tpot, one.tpot)} : one;
    }
    return *predicted;
  }

 private:
  // The nearest version we have tables of; an H200 is an H100 with another memory, so the H100's profile is carried over by datasheet.
  Result<const platform::Profile*> ProfileOf(const Point& p) {
    const std::string gpu = p.gpu == "h200_sxm" ? "h100_sxm" : p.gpu;
    for (const platform::ShippedProfile& shipped : platform::ShippedProfiles()) {
      if (shipped.gpu != gpu || shipped.engine != p.engine) continue;
      const std::string name = shipped.name();
      if (!profiles_.contains(name)) {
        ASSAY_TRY(platform::Profile profile, platform::ParseProfile(shipped.toml, name));
        profiles_.emplace(name, std::move(profile));
      }
      const platform::Profile& profile = profiles_.at(name);
      // Profiles without dense attention serve other models.
      const auto& sections = profile.sections;
      if (std::any_of(sections.begin(), sections.end(), [](const auto& s) { return s.family == platform::Family::kAttentionDecode; })) return &profile;
    }
    return Unsupported(fmt::format("no tables of {} on {}", p.engine, p.gpu));
  }

  static Quantity Between(const Quantity& a, const Quantity& b) {
    Quantity out = a;
    out.value = std::sqrt(a.value * b.value);
    out.low = std::min(a.low, b.low);
    out.high = std::max(a.high, b.high);
    return out;
  }

  Result<Predicted> Run(const Point& p, const Deployment& deployment, double length_floor) {
    const int concurrency = static_cast<int>(p.batch);
    const std::vector<Request> requests =
        Generate(ClosedLoopBenchmark{.concurrency = concurrency, .prompt_tokens = static_cast<int32_t>(p.prompt_tokens),
                                     .output_tokens = static_cast<int32_t>(p.output_tokens), .length_floor = length_floor}, seed_);
    const Setting setting{.deployment = &deployment, .clients = {.closed_loop_concurrency = concurrency}};
    ASSAY_TRY(const Forecast f, MakeForecast(requests, setting));
    if (f.likely.requests == 0) return Unsupported("its requests do not fit the memory");
    // Published points are means over the benchmark's requests.
    return Predicted{.ttft = QuantityOf(f, f.likely.ttft_ms.mean, f.fast.ttft_ms.mean, f.slow.ttft_ms.mean, "ms", "mean TTFT"),
                     .tpot = QuantityOf(f, f.likely.tpot_ms.mean, f.fast.tpot_ms.mean, f.slow.tpot_ms.mean, "ms", "mean TPOT")};
  }

  uint64_t seed_;
  std::map<std::string, platform::Profile> profiles_;
};

struct Tally {
  int rows = 0, refused = 0, inside = 0;
  std::vector<double> ttft, tpot;  // predicted / measured

  void Add(const Point& p, const Predicted& predicted) {
    ttft.push_back(predicted.ttft.value / p.ttft_ms);
    tpot.push_back(predicted.tpot.value / p.tpot_ms);
    inside += p.ttft_ms >= predicted.ttft.low && p.ttft_ms <= predicted.ttft.high;
    inside += p.tpot_ms >= predicted.tpot.low && p.tpot_ms <= predicted.tpot.high;
  }
  [[nodiscard]] ServingScore Score() const {
    const auto error = [](const std::vector<double>& ratios) {
      std::vector<double> errors;
      for (double ratio : ratios) errors.push_back(std::abs(ratio - 1));
      return LatencyError{.p50 = platform::Percentile(errors, 0.5), .p90 = platform::Percentile(errors, 0.9),
                          .median_ratio = ratios.empty() ? 1 : platform::Percentile(ratios, 0.5)};
    };
    return {.rows = rows, .refused = refused, .ttft = error(ttft), .tpot = error(tpot),
            .coverage = ttft.empty() ? 0 : inside / (2.0 * static_cast<double>(ttft.size()))};
  }
};

}  // namespace

Result<ServingReport> ScoreServing(const formats::Table& t, uint64_t seed) {
  ASSAY_TRY(const Columns c, Find(t));
  std::vector<Point> points;
  // A measurement that appears under two configurations is wrong in at least one of them.
  std::map<std::pair<std::string, std::string>, int> repeats;
  for (size_t row = 0; row < t.rows(); ++row) ++repeats[{std::string(t.Text(row, c.ttft)), std::string(t.Text(row, c.tpot))}];
  ServingReport report;
  std::map<std::string, Tally> tallies;
  Tally overall;
  Predictor predictor(seed);
  for (size_t row = 0; row < t.rows(); ++row) {
    if (repeats[{std::string(t.Text(row, c.ttft)), std::string(t.Text(row, c.tpot))}] > 1) {
      ++report.conflicting;
      continue;
    }
    Point p{.model = std::string(t.Text(row, c.model)), .gpu = std::string(t.Text(row, c.system)), .engine = std::string(t.Text(row, c.backend)),
            .mode = std::string(t.Text(row, c.mode)), .gemm_quantisation = std::string(t.Text(row, c.gemm)),
            .source = c.source ? std::string(t.Text(row, *c.source)) : std::string()};
    p.prompt_tokens = NumberOr0(t, row, c.isl);
    p.output_tokens = NumberOr0(t, row, c.osl);
    p.batch = NumberOr0(t, row, c.batch);
    p.tensor_parallel = NumberOr0(t, row, c.tp);
    p.pipeline = std::max(1.0, NumberOr0(t, row, c.pp));
    ASSAY_TRY(p.ttft_ms, t.Number(row, c.ttft));
    ASSAY_TRY(p.tpot_ms, t.Number(row, c.tpot));
    if (p.ttft_ms <= 0 || p.tpot_ms <= 0 || p.prompt_tokens < 1 || p.output_tokens < 2) {
      ++report.refusals["no TTFT, TPOT or lengths"];
      ++overall.rows;
      ++overall.refused;
      continue;
    }
    Tally& group = tallies[fmt::format("{} / {} / {}", p.model, p.gpu, p.engine)];
    ++overall.rows;
    ++group.rows;
    const auto predicted = predictor.Predict(p);
    if (!predicted.ok()) {
      ++overall.refused;
      ++group.refused;
      ++report.refusals[predicted.error().message];
      continue;
    }
    overall.Add(p, *predicted);
    group.Add(p, *predicted);
  }
  report.overall = overall.Score();
  for (const auto& [name, tally] : tallies) report.groups[name] = tally.Score();
  return report;
}

}  // namespace assay::serving
