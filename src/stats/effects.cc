#include "stats/effects.h"

#include <fmt/format.h>

#include <cmath>
#include <map>

#include "stats/descriptive.h"
#include "stats/distributions.h"

namespace assay::stats {
namespace {

struct Contrast {
  Effect effect;
  std::vector<int8_t> signs;  // one per row
};

std::string Describe(const Effect& effect) {
  return effect.second < 0 ? fmt::format("factor {}", effect.first)
                           : fmt::format("factors {} x {}", effect.first, effect.second);
}

long Dot(std::span<const int8_t> a, std::span<const int8_t> b) {
  long sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<Contrast> AllContrasts(std::span<const int8_t> levels, size_t factors, size_t rows) {
  std::vector<Contrast> contrasts;
  for (size_t j = 0; j < factors; ++j) {
    Contrast contrast{.effect = {.first = static_cast<int>(j)}, .signs = {}};
    for (size_t row = 0; row < rows; ++row) contrast.signs.push_back(levels[row * factors + j]);
    contrasts.push_back(std::move(contrast));
  }
  for (size_t i = 0; i < factors; ++i)
    for (size_t j = i + 1; j < factors; ++j) {
      Contrast contrast{.effect = {.first = static_cast<int>(i), .second = static_cast<int>(j)}, .signs = {}};
      for (size_t row = 0; row < rows; ++row)
        contrast.signs.push_back(static_cast<int8_t>(contrasts[i].signs[row] * contrasts[j].signs[row]));
      contrasts.push_back(std::move(contrast));
    }
  return contrasts;
}

}  // namespace

Result<std::vector<Effect>> TwoLevelEffects(std::span<const int8_t> levels, int factors,
                                            std::span<const double> responses, double confidence) {
  const size_t rows = responses.size();
  const auto columns = static_cast<size_t>(factors < 0 ? 0 : factors);
  if (columns == 0 || rows == 0 || levels.size() != rows * columns)
    return BadInput(fmt::format("{} levels do not make {} rows of {} factors", levels.size(), rows, factors));
  for (const int8_t level : levels)
    if (level != -1 && level != 1) return BadInput(fmt::format("level {} is neither -1 nor +1", level));

  const std::vector<Contrast> contrasts = AllContrasts(levels, columns, rows);
  const std::vector<int8_t> ones(rows, 1);
  for (size_t a = 0; a < contrasts.size(); ++a) {
    if (Dot(contrasts[a].signs, ones) != 0)
      return Unsupported(fmt::format("{} is not balanced: run the missing cells", Describe(contrasts[a].effect)));
    for (size_t b = 0; b < a; ++b)
      if (Dot(contrasts[a].signs, contrasts[b].signs) != 0)
        return Unsupported(
            fmt::format("{} is confounded with {}: use a design of higher resolution, or run the missing cells",
                        Describe(contrasts[a].effect), Describe(contrasts[b].effect)));
  }

  std::map<std::vector<int8_t>, Welford> cells;
  for (size_t row = 0; row < rows; ++row) {
    const auto cell = levels.subspan(row * columns, columns);
    cells[{cell.begin(), cell.end()}].Add(responses[row]);
  }
  double pure_error_squares = 0;
  double df = 0;
  for (const auto& [cell, moments] : cells) {
    if (moments.count() < 2) continue;
    pure_error_squares += moments.variance() * static_cast<double>(moments.count() - 1);
    df += static_cast<double>(moments.count() - 1);
  }

  std::vector<Effect> effects;
  for (const Contrast& contrast : contrasts) {
    double sum = 0;
    for (size_t row = 0; row < rows; ++row) sum += contrast.signs[row] * responses[row];
    Effect effect = contrast.effect;
    effect.size.confidence = confidence;
    effect.size.estimate = 2 * sum / static_cast<double>(rows);
    if (df > 0) {
      const double error = 2 * std::sqrt(pure_error_squares / df / static_cast<double>(rows));
      const double half = StudentQuantile(0.5 + confidence / 2, df) * error;
      effect.size.low = effect.size.estimate - half;
      effect.size.high = effect.size.estimate + half;
    }
    effects.push_back(effect);
  }
  return effects;
}

}  // namespace assay::stats
