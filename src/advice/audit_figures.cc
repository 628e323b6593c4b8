#include "advice/audit_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "advice/roofline_figure.h"

namespace assay {
namespace {

using nlohmann::json;

// The JSON artifact behind the row (scope, metric), or null.
json ArtifactOf(const AuditSetting& setting, const std::vector<Measurement>& rows, std::string_view scope, std::string_view metric) {
  for (const Measurement& row : rows) {
    if (row.metric != metric || ScopeOf(row) != scope || row.samples_artifact.empty()) continue;
    const auto bytes = setting.store->GetArtifact(row.samples_artifact);
    if (bytes.ok()) return json::parse(*bytes, nullptr, false);
  }
  return nullptr;
}

// The number that stands for a curve in the tables, or nullptr: a curve is as weak as that.
const Quantity* NumberOf(const std::vector<Measurement>& rows, std::string_view scope, std::string_view metric) {
  for (const Measurement& row : rows) {
    if (row.metric == metric && ScopeOf(row) == scope) return &row.quantity;
  }
  return nullptr;
}

Figure Distribution(const AuditSetting& setting, const std::vector<Measurement>& rows, const char* key, std::string title, std::string x_label) {
  Figure figure{.id = key, .title = std::move(title), .x_label = std::move(x_label), .y_label = "Share of requests", .x_log = true};
  for (const CandidatePlan& plan : setting.plans) {
    const json curves = ArtifactOf(setting, rows, plan.letter, "max_rate_per_second");
    if (!curves.is_object() || !curves.contains(key)) continue;
    const Quantity* number = NumberOf(rows, plan.letter, std::string(key) + "_p95");
    if (number == nullptr || number->refused() || (std::isinf(number->high) && number->value == number->low)) continue;  // a floor has no distribution
    Curve curve{.scope = plan.letter, .label = plan.letter + " " + plan.candidate->id, .basis = number->basis};
    const json& quantiles = curves[key];
    for (size_t i = 0; i < quantiles.size(); ++i) {
      if (!quantiles[i].is_number()) continue;
      const double share = static_cast<double>(i) / 100;
      const double x = std::max(quantiles[i].get<double>(), 1e-3);
      curve.points.push_back({.x = x, .y = share, .low = share, .high = share});
    }
    if (!curve.points.empty()) figure.curves.push_back(std::move(curve));
  }
  if (figure.curves.empty()) figure.refused = "no candidate has simulated times";
  return figure;
}

Figure CacheGrowth(const AuditSetting& setting) {
  Figure figure{.id = "cache_growth", .title = "What one sequence keeps in memory", .x_label = "Context (tokens)", .y_label = "Cache and state (MiB)", .x_log = true, .y_log = true};
  for (const CandidatePlan& plan : setting.plans) {
    Curve curve{.scope = plan.letter, .label = plan.letter + " " + plan.candidate->id, .basis = Basis::kArithmetic};
    for (double tokens = 256; tokens <= 131072; tokens *= 2) {
      const double mib = plan.ResidentBytesAt(tokens) / 0x1p20;
      curve.points.push_back({.x = tokens, .y = mib, .low = mib, .high = mib});
    }
    figure.curves.push_back(std::move(curve));
  }
  return figure;
}

// One line for a mechanism and the type of its operands: the worst of its kernels at each length. Each kernel's own stands in the store.
Figure ErrorGrowthFigure(const AuditSetting& setting, const std::vector<Measurement>& rows) {
  Figure figure{.id = "error_growth", .title = "Error of our kernels against fp64", .x_label = "Keys", .y_label = "Largest row error (share of sum p|v|)", .x_log = true, .y_log = true};
  const json probes = ArtifactOf(setting, rows, "numerics", "finding_count");
  if (probes.is_object() && probes.contains("growth")) {
    for (const json& growth : probes["growth"]) {
      const std::string mechanism = growth["mechanism"], kernel = growth["kernel"];
      const std::string label = mechanism + kernel.substr(std::min(kernel.rfind(", "), kernel.size()));  // ", bf16 operands"
      auto curve = std::find_if(figure.curves.begin(), figure.curves.end(), [&](const Curve& known) { return known.label == label; });
      if (curve == figure.curves.end()) curve = figure.curves.insert(curve, {.scope = mechanism, .label = label, .basis = Basis::kMeasured});
      for (size_t i = 0; i < growth["lengths"].size(); ++i) {
        const double keys = growth["lengths"][i].get<double>(), error = growth["row_errors"][i].get<double>();
        auto point = std::find_if(curve->points.begin(), curve->points.end(), [&](const CurvePoint& known) { return known.x == keys; });
        if (point == curve->points.end()) point = curve->points.insert(point, {.x = keys});
        if (error > point->y) *point = {.x = keys, .y = error, .low = error, .high = error};
      }
    }
  }
  if (figure.curves.empty()) figure.refused = "numerics were not measured in this audit";
  return figure;
}

// Our kernels as the cost probe measured them.
Figure Roofline(const std::vector<Measurement>& rows) {
  std::map<std::string, RooflinePoint> kernels;
  RooflineCeiling ceiling{.label = "ceiling of the same rounds"};
  for (const Measurement& row : rows) {
    if (row.probe != "cost" || row.quantity.refused()) continue;
    const std::string scope(ScopeOf(row));
    if (row.metric == "ceiling_flops_per_second") ceiling.ops_per_second = std::max(ceiling.ops_per_second, row.quantity.value);
    if (row.metric == "ceiling_bytes_per_second") ceiling.bytes_per_second = std::max(ceiling.bytes_per_second, row.quantity.value);
    if (row.metric == "arithmetic_intensity") kernels[scope].ops_per_byte = row.quantity.value;
    if (row.metric == "achieved_flops_per_second") {
      std::map<std::string, std::string> factors;
      for (const Factor& factor : row.factors) factors[factor.name] = factor.value;
      RooflinePoint& point = kernels[scope];
      point.scope = scope;
      point.label = fmt::format("{} {}, {} tokens, {}", row.subject.mechanism, factors["phase"], factors["tokens"], factors["dtype"]);
      point.ops_per_second = row.quantity.value;
      point.low = row.quantity.low;
      point.high = row.quantity.high;
    }
  }
  std::vector<RooflinePoint> points;
  for (auto& [scope, point] : kernels) points.push_back(std::move(point));
  return RooflineFigure("Our kernels on this machine, beside its ceilings", points, {ceiling}, "no kernel was measured in this audit");
}

// Index of the grid value nearest to x in ratio.
size_t Nearest(const std::vector<double>& grid, double x) {
  size_t best = 0;
  for (size_t i = 1; i < grid.size(); ++i) {
    if (std::fabs(std::log(grid[i] / x)) < std::fabs(std::log(grid[best] / x))) best = i;
  }
  return best;
}

struct Contender {
  std::string letter;
  DecodeStepModel::Step step;
};

// Whether the fastest is so whatever lies inside the intervals, of all others and not only of the next. A time from beyond the measured
// region decides nothing: not as the winner's, and not as a rival's that might be better than extrapolated.
bool Decided(const std::vector<Contender>& ascending) {
  return std::all_of(ascending.begin(), ascending.end(), [&](const Contender& one) {
    return !one.step.is_extrapolated && (&one == ascending.data() || ascending[0].step.time.high < one.step.time.low);
  });
}

}  // namespace

std::vector<Figure> MakeFigures(const AuditSetting& setting, const std::vector<Measurement>& rows) {
  std::vector<Figure> figures;
  if (!setting.usecase.platform.is_this_cpu) {
    figures.push_back(Distribution(setting, rows, "ttft_ms", "Time to first token, at the use case's rate", "TTFT (ms)"));
    figures.push_back(Distribution(setting, rows, "tpot_ms", "Time per output token, at the use case's rate", "TPOT (ms)"));
  }
  figures.push_back(CacheGrowth(setting));
  figures.push_back(Roofline(rows));
  figures.push_back(ErrorGrowthFigure(setting, rows));
  return figures;
}

CrossoverMap MakeCrossover(const AuditSetting& setting, const std::vector<Measurement>& rows) {
  CrossoverMap map;
  std::vector<std::pair<std::string, DecodeStepModel>> models;
  for (const CandidatePlan& plan : setting.plans) {
    if (plan.candidate->implementation_is_own) continue;  // another engine's times decide nothing here
    auto model = DecodeStepModel::Make({.usecase = &setting.usecase, .plan = &plan, .traffic = &setting.traffic, .assume = setting.conditions.assume});
    if (model.ok() && !model->is_floor()) models.emplace_back(plan.letter, std::move(model).value());
  }
  if (models.size() < 2) {
    map.refused = "fewer than two candidates have decode times in one engine and version";
    return map;
  }
  for (double tokens = 512; tokens <= 131072; tokens *= 2) map.context_tokens.push_back(tokens);
  for (double sequences = 1; sequences <= 256; sequences *= 2) map.concurrency.push_back(sequences);
  for (const double sequences : map.concurrency) {
    for (const double tokens : map.context_tokens) {
      std::vector<Contender> times;
      for (auto& [letter, model] : models) {
        DecodeStepModel::Step step = model.At(tokens, static_cast<int>(sequences));
        if (!step.time.refused()) times.push_back({letter, std::move(step)});
      }
      CrossoverMap::Cell cell;
      if (!times.empty()) {
        std::sort(times.begin(), times.end(), [](const auto& a, const auto& b) { return a.step.time.value < b.step.time.value; });
        cell.winner = times[0].letter;
        cell.decided = Decided(times);
        cell.margin = times.size() > 1 ? times[1].step.time.value / times[0].step.time.value - 1 : 0;
      }
      map.cells.push_back(cell);
    }
  }
  const json curves = ArtifactOf(setting, rows, setting.plans[0].letter, "max_rate_per_second");
  if (curves.is_object() && curves.contains("load") && !curves["load"].empty()) {
    for (const json& point : curves["load"]) {
      const size_t row = Nearest(map.concurrency, point[1].get<double>()), column = Nearest(map.context_tokens, point[0].get<double>());
      map.cells[row * map.context_tokens.size() + column].traffic_share += 1.0 / static_cast<double>(curves["load"].size());
    }
  }
  return map;
}

std::vector<AuditProbe> MakeProbes(const AuditSetting& setting, const std::vector<Measurement>& rows) {
  std::vector<AuditProbe> probes;
  const json stored = ArtifactOf(setting, rows, "numerics", "finding_count");
  if (!stored.is_object() || !stored.contains("probes")) return probes;
  for (const json& probe : stored["probes"]) {
    probes.push_back({.probe = probe.value("probe", ""), .subject = probe.value("subject", ""), .title = probe.value("title", ""),
                      .outcome = probe.value("outcome", ""), .severity = probe.value("severity", ""), .detail = probe.value("detail", "")});
  }
  return probes;
}

}  // namespace assay
