#include "mechanisms/break_even.h"

#include <functional>

namespace assay {
namespace {

// Contexts beyond this are nobody's.
constexpr double kLongest = 1e9;

double Resident(const CacheOf& layer, double tokens) { return layer.mechanism->resident(layer.shape, layer.parameters, layer.bytes).At(tokens); }

double Traffic(const CacheOf& layer, double tokens) {
  CostQuery query = layer.bytes;
  query.shape = layer.shape;
  query.parameters = layer.parameters;
  query.new_tokens = 1;
  query.sequences = 1;
  query.context_tokens = static_cast<int64_t>(tokens);
  const LayerCost cost = layer.mechanism->cost(query);
  return cost.bytes_read + cost.bytes_written;
}

// The first whole context where `state` is below `cache` and stays there. Both are monotone in tokens, so bisection on the sign of the difference finds it.
std::optional<double> FirstBelow(const std::function<double(double)>& state, const std::function<double(double)>& cache) {
  if (!(state(kLongest) < cache(kLongest))) return std::nullopt;
  double low = -1;
  double high = kLongest;
  while (high - low > 1) {
    const double middle = low + static_cast<double>(static_cast<int64_t>((high - low) / 2));
    (state(middle) < cache(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace

BreakEven BreakEvenTokens(const CacheOf& state, const CacheOf& cache) {
  return {.memory_tokens = FirstBelow([&](double n) { return Resident(state, n); }, [&](double n) { return Resident(cache, n); }),
          .traffic_tokens = FirstBelow([&](double n) { return Traffic(state, n); }, [&](double n) { return Traffic(cache, n); })};
}

}  // namespace assay
