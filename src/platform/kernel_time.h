// The time of a kernel call on an accelerator, from a profile: with an interval and a basis, never a bare number.
#pragma once

#include <optional>
#include <string>

#include "core/quantity.h"
#include "core/result.h"
#include "platform/profile.h"

namespace assay::platform {

struct Prediction {
  double ms = 0;
  double low_ms = 0;
  double high_ms = 0;
  Basis basis = Basis::kRefused;  // interpolated; bounded (ms is the least time physics allows); refused
};

// For users and reports. Refused if the profile has no rows of that kernel; bounded from bytes and FLOPs outside the region the rows
// cover; a GEMM wider than the tables (n > 65,536) is split into equal parts, as a kernel would be launched on each.
Result<Quantity> KernelTime(const Profile& profile, const KernelQuery& query);

// For simulators: no strings, no allocation. `section` from FindSection.
Prediction Predict(const Section& section, const Gpu& gpu, const KernelQuery& query) noexcept;
// The same without interval and coverage check: outside coverage the corrections of the nearest edge.
double PredictMs(const Section& section, const Gpu& gpu, const KernelQuery& query) noexcept;
bool Covers(const Section& section, const Gpu& gpu, const KernelQuery& query) noexcept;

// The first coordinate in which a query lies beyond the rows of a section, or their largest work: what more rows would have to hold.
struct Gap {
  std::optional<Feature> feature;  // absent: the work itself (asked and the range are roofline milliseconds)
  double asked = 0;
  double low = 0, high = 0;        // of the rows
  [[nodiscard]] bool SameSide(const Gap& other) const { return feature == other.feature && (asked > high) == (other.asked > other.high); }
  void Widen(const Gap& other) { if (asked > high ? other.asked > asked : other.asked < asked) asked = other.asked; }
  [[nodiscard]] std::string Text() const;  // "at kv_heads 16 (rows: 1 to 8)"
};
std::optional<Gap> GapOf(const Section& section, const Gpu& gpu, const KernelQuery& query);

// The regime whose interval a query gets: the first box that holds it, else the last; nullptr if the section has none.
const Regime* RegimeFor(const Section& section, const KernelQuery& query) noexcept;

// The two-parameter roofline of the section, which every model must beat.
double RooflineMs(const Section& section, const Gpu& gpu, const KernelQuery& query) noexcept;
// The least time that bytes and FLOPs allow at the datasheet's peaks.
double FloorMs(const Gpu& gpu, const KernelQuery& query) noexcept;

// A prompt chunk on top of a cached prefix, which no table measures: f(prefix + chunk) - f(prefix), but at least the roofline of the
// chunk's own pairs, so that it rises with the chunk and with the prefix.
double PrefillChunkMs(const Section& section, const Gpu& gpu, KernelQuery query, double prefix_tokens) noexcept;

}  // namespace assay::platform
