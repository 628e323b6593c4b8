// Prediction from a section: roofline, corrections, interval.
#include "platform/kernel_time.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace assay::platform {
namespace {

constexpr double kWidestGemm = 65536;  // columns: the widest the public tables measure
constexpr double kEdge = 1e-6;         // tolerance of a comparison of log2 coordinates

double BandwidthOf(const Gpu& gpu, Family family) {
  return family >= Family::kAllReduce ? gpu.link_bytes_per_s : gpu.memory_bytes_per_s;
}

bool Inside(const std::vector<Range>& box, const KernelQuery& query) {
  return std::all_of(box.begin(), box.end(), [&](const Range& range) {
    const double x = Log2Feature(range.feature, query);
    return x >= range.low - kEdge && x <= range.high + kEdge;
  });
}

std::string Describe(const KernelQuery& q) {
  if (q.family == Family::kGemm) return fmt::format("gemm {} {:.0f}x{:.0f}x{:.0f}", NameOf(q.compute), q.m, q.n, q.k);
  if (q.family >= Family::kAllReduce) return fmt::format("{} of {:.0f} bytes on {:.0f} GPUs", NameOf(q.family), q.bytes, q.gpus);
  return fmt::format("{} batch {:.0f}, {:.0f} tokens, {:.0f}/{:.0f} heads, {} cache{}", NameOf(q.family), q.batch, q.tokens,
                     q.query_heads, q.kv_heads, NameOf(q.cache), q.window > 0 ? fmt::format(", window {}", q.window) : "");
}

bool Positive(const KernelQuery& q) {
  if (q.family == Family::kGemm) return q.m >= 1 && q.n >= 1 && q.k >= 1;
  if (q.family >= Family::kAllReduce) return q.gpus >= 1 && q.bytes >= 0;
  return q.batch >= 1 && q.tokens >= 1 && q.query_heads >= 1 && q.kv_heads >= 1;
}

}  // namespace

const Regime* RegimeFor(const Section& section, const KernelQuery& query) noexcept {
  for (const Regime& regime : section.regimes) {
    if (Inside(regime.box, query)) return &regime;
  }
  return section.regimes.empty() ? nullptr : &section.regimes.back();
}

double FloorMs(const Gpu& gpu, const KernelQuery& query) noexcept {
  const Work work = UsefulWork(query);
  return 1e3 * std::max(work.bytes / BandwidthOf(gpu, query.family), work.flops / PeakFlops(gpu, query.compute));
}

double RooflineMs(const Section& section, const Gpu& gpu, const KernelQuery& query) noexcept {
  return section.launch_ms + FloorMs(gpu, query) / section.efficiency;
}

double PredictMs(const Section& section, const Gpu& gpu, const KernelQuery& query) noexcept {
  const double roofline_ms = RooflineMs(section, gpu, query);
  if (section.grids.empty()) return roofline_ms;
  double factor = 0;
  for (const Grid& grid : section.grids) factor += grid.At(query);
  return roofline_ms * factor / static_cast<double>(section.grids.size());
}

bool Covers(const Section& section, const Gpu& gpu, const KernelQuery& query) noexcept {
  // Batch or tokens below one make no kernel call at all.
  return Positive(query) && query.head_dim == section.head_dim && Inside(section.coverage, query) &&
         RooflineMs(section, gpu, query) <= section.largest_roofline_ms * (1 + kEdge);
}

std::optional<Gap> GapOf(const Section& section, const Gpu& gpu, const KernelQuery& query) {
  for (const Range& range : section.coverage) {
    const double x = Log2Feature(range.feature, query);
    if (x < range.low - kEdge || x > range.high + kEdge) {
      return Gap{.feature = range.feature, .asked = std::exp2(x), .low = std::exp2(range.low), .high = std::exp2(range.high)};
    }
  }
  const double work_ms = RooflineMs(section, gpu, query);
  if (work_ms > section.largest_roofline_ms * (1 + kEdge)) return Gap{.feature = std::nullopt, .asked = work_ms, .low = 0, .high = section.largest_roofline_ms};
  return std::nullopt;
}

std::string Gap::Text() const {
  if (!feature) return fmt::format("of {:.3g} ms of work (largest row: {:.3g} ms)", asked, high);
  return fmt::format("at {} {:.0f} (rows: {:.0f} to {:.0f})", NameOf(*feature), asked, low, high);
}

Prediction Predict(const Section& section, const Gpu& gpu, const KernelQuery& query) noexcept {
  if (!Positive(query)) return {};
  if (!Covers(section, gpu, query)) {
    const double floor_ms = FloorMs(gpu, query);
    return {.ms = floor_ms, .low_ms = floor_ms, .high_ms = std::numeric_limits<double>::infinity(), .basis = Basis::kBounded};
  }
  const double ms = PredictMs(section, gpu, query);
  const Regime* regime = RegimeFor(section, query);
  if (regime == nullptr) return {};
  return {.ms = ms, .low_ms = ms * regime->low, .high_ms = ms * regime->high, .basis = Basis::kInterpolated};
}

double PrefillChunkMs(const Section& section, const Gpu& gpu, KernelQuery query, double prefix_tokens) noexcept {
  if (prefix_tokens < 1) return PredictMs(section, gpu, query);
  const double chunk = query.tokens;
  KernelQuery prefix = query;
  prefix.tokens = prefix_tokens;
  query.tokens = prefix_tokens + chunk;
  const double prefix_floor_ms = FloorMs(gpu, prefix);
  const double whole_floor_ms = FloorMs(gpu, query);
  const double difference_ms = PredictMs(section, gpu, query) - PredictMs(section, gpu, prefix);
  return section.launch_ms + std::max(difference_ms, (whole_floor_ms - prefix_floor_ms) / std::max(section.efficiency, 1e-3));
}

Result<Quantity> KernelTime(const Profile& profile, const KernelQuery& query) {
  if (!Positive(query)) {
    return BadInput(fmt::format("{}: sizes must be at least 1", Describe(query)));
  }
  const Gpu* gpu = FindGpu(profile.gpu);
  if (gpu == nullptr) return Unsupported(fmt::format("no datasheet of accelerator {}", profile.gpu));
  const Section* section = FindSection(profile, query);
  if (section == nullptr) {
    return Quantity::Refused("ms", fmt::format("{} has no measured rows of {}; `assay platform fit --table FILE.csv` adds them from a "
                                               "table that has", profile.name(), Describe(query)));
  }
  KernelQuery part = query;
  double parts = 1;
  if (query.family == Family::kGemm && query.n > kWidestGemm) {
    parts = std::ceil(query.n / kWidestGemm);
    part.n = query.n / parts;
  }
  const Prediction one = Predict(*section, *gpu, part);
  if (one.basis == Basis::kBounded) {
    return Quantity{.value = parts * one.ms, .low = parts * one.low_ms, .high = one.high_ms, .unit = "ms", .basis = Basis::kBounded,
                    .origin = fmt::format("{} lies outside the rows of {}: at least this, from bytes and FLOPs at the datasheet's peaks",
                                          Describe(query), section->table)};
  }
  return Quantity{.value = parts * one.ms, .low = parts * one.low_ms, .high = parts * one.high_ms, .unit = "ms", .basis = one.basis,
                  .origin = fmt::format("{}: {} fitted on {} ({} rows; held-out error median {:.1f} %, p90 {:.1f} %)", Describe(query),
                                        profile.name(), section->table, section->rows, 100 * section->held_out.p50,
                                        100 * section->held_out.p90)};
}

}  // namespace assay::platform
