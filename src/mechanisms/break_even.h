// Break-even of a fixed or capped state against a growing cache: "this state is n tokens of that cache". Two numbers that are easily
// confused: memory (resident bytes) and traffic (bytes a decode step moves; a state is read and written, a cache mostly read).
#pragma once

#include <optional>

#include "mechanisms/mechanism.h"

namespace assay {

// A layer of one mechanism, as stored.
struct CacheOf {
  const Mechanism* mechanism = nullptr;
  LayerShape shape{};
  ParameterSet parameters{};
  CostQuery bytes{};  // element sizes; its other members are ignored
};

struct BreakEven {
  std::optional<double> memory_tokens;   // from this context on, `state` keeps fewer bytes; absent: never
  std::optional<double> traffic_tokens;  // from this context on, a decode step of `state` moves fewer bytes
};
BreakEven BreakEvenTokens(const CacheOf& state, const CacheOf& cache);

}  // namespace assay
