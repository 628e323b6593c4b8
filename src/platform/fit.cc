// Fits sections: the roofline's two parameters, then the corrections in the layouts that cross-validation prefers.
#include "platform/fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "core/random.h"
#include "platform/kernel_time.h"
#include "platform/recipe.h"
#include "platform/regimes.h"

namespace assay::platform {
namespace {

constexpr int kFolds = 10;
constexpr size_t kMinRows = 20;  // fewer make no interval

uint64_t RowHash(const MeasuredRow& row) {
  const KernelQuery& q = row.query;
  return HashText(fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", NameOf(q.family), NameOf(q.compute), NameOf(q.cache),
                              q.window, q.head_dim, q.batch, q.tokens, q.query_heads, q.kv_heads, q.m, q.n, q.k, q.gpus, q.bytes,
                              row.variant, row.ms));
}

// Least squares of the relative error over launch time and efficiency, by a coarse grid and two refinements: two numbers need no more.
void FitRoofline(std::span<const MeasuredRow> rows, const Gpu& gpu, Section* section) {
  std::vector<double> floors(rows.size());
  double least_ms = rows[0].ms;
  for (size_t i = 0; i < rows.size(); ++i) {
    floors[i] = FloorMs(gpu, rows[i].query);
    least_ms = std::min(least_ms, rows[i].ms);
  }
  const auto loss = [&](double launch_ms, double efficiency) {
    double sum = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const double error = std::log((launch_ms + floors[i] / efficiency) / rows[i].ms);
      sum += std::min(error * error, 1.0);  // robust: a few slow rows must not move the two numbers
    }
    return sum;
  };
  double launch_ms = least_ms;
  double efficiency = 0.7;
  double best = loss(launch_ms, efficiency);
  for (double span : {3.0, 1.5, 1.15, 1.04}) {
    const double centre_launch = launch_ms;
    const double centre_efficiency = efficiency;
    for (int i = -6; i <= 6; ++i) {
      for (int j = -6; j <= 6; ++j) {
        const double launch_try = centre_launch * std::pow(span, i / 3.0);
        const double efficiency_try = std::min(1.0, centre_efficiency * std::pow(span, j / 3.0));
        if (const double value = loss(launch_try, efficiency_try); value < best) {
          best = value;
          launch_ms = launch_try;
          efficiency = efficiency_try;
        }
      }
    }
  }
  section->launch_ms = launch_ms;
  section->efficiency = efficiency;
}

std::vector<double> KnotsOf(std::span<const MeasuredRow> rows, const LayoutAxis& axis) {
  std::vector<double> values;
  for (const MeasuredRow& row : rows) values.push_back(Log2Feature(axis.feature, row.query));
  std::sort(values.begin(), values.end());
  std::vector<double> knots;
  for (double value : values) {
    if (knots.empty() || value - knots.back() >= axis.min_gap) knots.push_back(value);
  }
  // The far edge is a knot, or the last interval would be extrapolated.
  if (values.back() - knots.back() > 1e-6) {
    if (knots.size() > 1 && values.back() - knots.back() < axis.min_gap / 2) knots.pop_back();
    knots.push_back(values.back());
  }
  return knots;
}

using Choice = std::vector<size_t>;  // of the recipe's layouts

// Launch, efficiency, grids; no intervals.
Section FitModel(std::span<const MeasuredRow> rows, const Gpu& gpu, const Choice& choice) {
  Section section;
  FitRoofline(rows, gpu, &section);
  std::vector<GridRow> targets(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    targets[i].query = rows[i].query;
    targets[i].target = rows[i].ms / RooflineMs(section, gpu, rows[i].query);
  }
  for (size_t index : choice) {
    const Layout& layout = RecipeOf(rows[0].query.family).layouts[index];
    Grid grid;
    for (const LayoutAxis& axis : layout.axes) grid.axes.push_back({.feature = axis.feature, .knots = KnotsOf(rows, axis)});
    FitGrid(targets, layout.options, &grid);
    section.grids.push_back(std::move(grid));
  }
  return section;
}

void SetCoverage(std::span<const MeasuredRow> rows, const Gpu& gpu, Section* section) {
  section->coverage.clear();
  for (Feature feature : RecipeOf(rows[0].query.family).coverage) {
    Range range{.feature = feature, .low = 1e9, .high = -1e9};
    for (const MeasuredRow& row : rows) {
      const double x = Log2Feature(feature, row.query);
      range.low = std::min(range.low, x);
      range.high = std::max(range.high, x);
    }
    section->coverage.push_back(range);
  }
  section->largest_roofline_ms = 0;
  for (const MeasuredRow& row : rows) {
    section->largest_roofline_ms = std::max(section->largest_roofline_ms, RooflineMs(*section, gpu, row.query));
  }
}

// One layout, or the mean of two: whichever has the least mean absolute log error on folds it was not fitted on.
Choice ChooseLayouts(std::span<const MeasuredRow> rows, const Gpu& gpu) {
  constexpr int kChoiceFolds = 3;
  const size_t count = RecipeOf(rows[0].query.family).layouts.size();
  if (count == 1 || rows.size() < kMinRows) return {0};
  std::vector<double> loss(count * count, 0.0);  // [i][j], i <= j
  for (int fold = 0; fold < kChoiceFolds; ++fold) {
    std::vector<MeasuredRow> train;
    std::vector<const MeasuredRow*> test;
    for (const MeasuredRow& row : rows) {
      if (static_cast<int>((RowHash(row) >> 20) % kChoiceFolds) == fold) {
        test.push_back(&row);
      } else {
        train.push_back(row);
      }
    }
    if (train.empty()) continue;
    std::vector<Section> models;
    for (size_t i = 0; i < count; ++i) models.push_back(FitModel(train, gpu, {i}));
    std::vector<double> ms(count);
    for (const MeasuredRow* row : test) {
      for (size_t i = 0; i < count; ++i) ms[i] = PredictMs(models[i], gpu, row->query);
      for (size_t i = 0; i < count; ++i) {
        for (size_t j = i; j < count; ++j) loss[i * count + j] += std::abs(std::log((ms[i] + ms[j]) / 2 / row->ms));
      }
    }
  }
  Choice best = {0};
  double least = loss[0];
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = i; j < count; ++j) {
      if (loss[i * count + j] >= least) continue;
      least = loss[i * count + j];
      best = i == j ? Choice{i} : Choice{i, j};
    }
  }
  return best;
}

// Cross-validated ratios give the regimes and, with the roofline's own, its interval; the model is then fitted on all rows given.
Section FitWithIntervals(std::span<const MeasuredRow> rows, const Gpu& gpu, const Choice& choice) {
  std::vector<RegimeRow> ratios;
  std::vector<double> roofline_ratios;
  for (int fold = 0; fold < kFolds; ++fold) {
    std::vector<MeasuredRow> train;
    std::vector<const MeasuredRow*> test;
    for (const MeasuredRow& row : rows) {
      // Other bits than the held-out split uses.
      if (static_cast<int>((RowHash(row) >> 40) % kFolds) == fold) {
        test.push_back(&row);
      } else {
        train.push_back(row);
      }
    }
    if (train.size() < kMinRows / 2) continue;
    const Section model = FitModel(train, gpu, choice);
    for (const MeasuredRow* row : test) {
      ratios.push_back({.query = row->query, .ratio = row->ms / PredictMs(model, gpu, row->query)});
      roofline_ratios.push_back(row->ms / RooflineMs(model, gpu, row->query));
    }
  }
  Section section = FitModel(rows, gpu, choice);
  SetCoverage(rows, gpu, &section);
  section.regimes = FindRegimes(ratios, RecipeOf(rows[0].query.family).regimes);
  section.roofline_low = ConformalQuantile(roofline_ratios, 0.05);
  section.roofline_high = ConformalQuantile(roofline_ratios, 0.95);
  return section;
}

}  // namespace

bool IsHeldOut(const MeasuredRow& row) { return RowHash(row) % 5 == 0; }

ErrorSummary Summarise(std::span<const double> predicted_over_measured, std::span<const double> interval_low,
                       std::span<const double> interval_high) {
  ErrorSummary summary;
  summary.rows = static_cast<int>(predicted_over_measured.size());
  if (summary.rows == 0) return summary;
  std::vector<double> errors;
  std::vector<double> widths;
  int inside = 0;
  for (size_t i = 0; i < predicted_over_measured.size(); ++i) {
    errors.push_back(std::abs(predicted_over_measured[i] - 1));
    const double truth_over_predicted = 1 / predicted_over_measured[i];
    inside += truth_over_predicted >= interval_low[i] && truth_over_predicted <= interval_high[i];
    widths.push_back(interval_high[i] - interval_low[i]);
  }
  summary.p50 = Percentile(errors, 0.5);
  summary.p90 = Percentile(errors, 0.9);
  summary.p99 = Percentile(errors, 0.99);
  summary.coverage = static_cast<double>(inside) / summary.rows;
  summary.median_width = Percentile(widths, 0.5);
  return summary;
}

Section FitSection(std::span<const MeasuredRow> rows, const Gpu& gpu) {
  std::vector<MeasuredRow> train;
  std::vector<MeasuredRow> test;
  for (const MeasuredRow& row : rows) (IsHeldOut(row) ? test : train).push_back(row);
  // Chosen without a look at the held-out rows.
  const Choice choice = ChooseLayouts(train, gpu);
  ErrorSummary held_out;
  ErrorSummary held_out_roofline;
  if (train.size() >= kMinRows && !test.empty()) {
    const Section model = FitWithIntervals(train, gpu, choice);
    std::vector<double> ratios, low, high, roofline_ratios, roofline_low, roofline_high;
    for (const MeasuredRow& row : test) {
      const double predicted_ms = PredictMs(model, gpu, row.query);
      // Held-out corner rows may lie outside the region the others span; they are scored all the same.
      const Regime* regime = RegimeFor(model, row.query);
      ratios.push_back(predicted_ms / row.ms);
      low.push_back(regime->low);
      high.push_back(regime->high);
      roofline_ratios.push_back(RooflineMs(model, gpu, row.query) / row.ms);
      roofline_low.push_back(model.roofline_low);
      roofline_high.push_back(model.roofline_high);
    }
    held_out = Summarise(ratios, low, high);
    held_out_roofline = Summarise(roofline_ratios, roofline_low, roofline_high);
  }
  Section section = FitWithIntervals(rows, gpu, choice);
  const KernelQuery& first = rows[0].query;
  section.family = first.family;
  section.compute = first.compute;
  section.cache = first.cache;
  section.window = first.window;
  section.head_dim = first.head_dim;
  section.variant = rows[0].variant;
  section.rows = static_cast<int>(rows.size());
  section.held_out = held_out;
  section.held_out_roofline = held_out_roofline;
  return section;
}

Result<Profile> FitProfile(std::span<const MeasuredTable> tables, const TableOrigin& origin, FitNotes* notes) {
  Profile profile;
  for (const MeasuredTable& table : tables) {
    const bool collective = table.kind == "nccl_perf" || table.kind == "custom_allreduce_perf";
    if (profile.gpu.empty()) profile.gpu = table.gpu;
    if (table.gpu != profile.gpu) {
      return BadInput(fmt::format("{} is of {}, not of {}: a profile is of one accelerator", table.stem, table.gpu, profile.gpu));
    }
    if (collective) continue;
    if (profile.engine.empty()) {
      profile.engine = table.engine;
      profile.version = table.version;
    }
    if (table.engine != profile.engine || table.version != profile.version) {
      return BadInput(fmt::format("{} is of {} {}, not of {} {}: a profile is of one engine at one version", table.stem, table.engine,
                                  table.version, profile.engine, profile.version));
    }
  }
  if (profile.engine.empty() && !tables.empty()) {
    profile.engine = tables[0].engine;
    profile.version = tables[0].version;
  }
  const Gpu* gpu = FindGpu(profile.gpu);
  if (gpu == nullptr) return Unsupported(fmt::format("no datasheet of accelerator '{}' to start the physics from", profile.gpu));
  profile.source = origin.source;
  profile.licence = origin.licence;
  using Key = std::tuple<Family, DType, DType, int32_t, int32_t, std::string>;
  for (const MeasuredTable& table : tables) {
    if (!table.known_kind) {
      notes->skipped.push_back(fmt::format("{}: no model of '{}' tables yet", table.stem, table.kind));
      continue;
    }
    std::map<Key, std::vector<MeasuredRow>> groups;
    for (const MeasuredRow& row : table.rows) {
      const KernelQuery& q = row.query;
      groups[{q.family, q.compute, q.cache, q.window, q.head_dim, row.variant}].push_back(row);
    }
    for (const auto& [key, rows] : groups) {
      if (rows.size() < kMinRows) {
        notes->skipped.push_back(fmt::format("{}: {} rows of {} are too few; an interval needs at least {}", table.stem, rows.size(),
                                             NameOf(std::get<0>(key)), kMinRows));
        continue;
      }
      Section section = FitSection(rows, *gpu);
      section.table = table.stem;
      profile.sections.push_back(std::move(section));
    }
  }
  if (profile.sections.empty()) {
    std::string reasons;
    for (const std::string& note : notes->skipped) reasons += "; " + note;
    return BadInput("nothing could be fitted" + reasons);
  }
  return profile;
}

}  // namespace assay::platform
