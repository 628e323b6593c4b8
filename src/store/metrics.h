// The registry of metrics: every number Assay can store is declared here once, with unit, direction and meaning. The store refuses a
// measurement of anything else, because a misspelt metric would otherwise be a new fact. docs and reports read the same list.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/result.h"
#include "store/measurement.h"

namespace assay {

std::span<const Metric> AllMetrics();                 // sorted by name
const Metric* FindMetric(std::string_view name);      // null if it is not registered
std::string_view NameOf(Direction direction);         // "higher is better", "lower is better", "neither"
std::string_view NameOf(Aggregation aggregation);     // "median", "mean", ...

// Refuses an unregistered metric (naming the nearest registered one), a unit that is not the metric's, and an interval that does
// not hold its value. Refused quantities need a reason as origin and nothing else.
Status CheckMeasurement(const Measurement& measurement);

}  // namespace assay
