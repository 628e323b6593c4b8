// Profile: what is known about the kernel times of one engine at one version on one accelerator, fitted from measured tables.
// A section holds one implementation's kernel (family, dtypes, window): two physical parameters, smooth corrections on a few coordinates,
// the region that rows covered, and conformal intervals by regime. A profile is a small TOML file; it holds no row of a table.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "platform/gpu.h"
#include "platform/grid.h"
#include "platform/kernel_query.h"

namespace assay::platform {

struct Range {
  Feature feature = Feature::kBatch;
  double low = 0;  // log2, inclusive
  double high = 0;
};

// A box of the coordinates in which errors are alike, with the ratio measured / predicted that holds 90 % of rows not fitted on.
struct Regime {
  std::vector<Range> box;
  double low = 1;   // 5 % quantile of measured / predicted
  double high = 1;  // 95 %
  double error_p50 = 0;  // |predicted / measured - 1|
  double error_p90 = 0;
  int rows = 0;
};

struct ErrorSummary {
  int rows = 0;
  double p50 = 0, p90 = 0, p99 = 0;     // |predicted / measured - 1|
  double coverage = 0;                  // share of rows inside the 90 % interval
  double median_width = 0;              // (high - low) / value
};

struct Section {
  Family family = Family::kGemm;
  DType compute = DType::kBf16;
  DType cache = DType::kBf16;
  int32_t window = 0;
  int32_t head_dim = 128;
  std::string variant;                  // the kernel's own name where the table gives one
  std::string table;                    // the table it was fitted from
  int rows = 0;

  // The two-parameter roofline: launch_ms + max(bytes / bandwidth, FLOPs / peak) / efficiency.
  double launch_ms = 0;
  double efficiency = 1;
  double roofline_low = 1;              // conformal, of the roofline alone
  double roofline_high = 1;
  std::vector<Grid> grids;              // corrections of unlike layouts; their mean is used, for their errors partly cancel
  std::vector<Range> coverage;
  double largest_roofline_ms = 0;       // of the rows: beyond it nothing of this size was measured
  std::vector<Regime> regimes;          // the first box that holds a query is used
  ErrorSummary held_out;                // on 20 % of the rows, fitted on the others
  ErrorSummary held_out_roofline;
};

struct Profile {
  std::string gpu;      // "h100_sxm"
  std::string engine;   // "vllm"
  std::string version;  // "0.24.0"
  std::string source;   // of the tables
  std::string licence;
  std::string date;     // of the fit
  std::vector<Section> sections;

  [[nodiscard]] std::string name() const { return gpu + "/" + engine + "/" + version; }
};

// The section that serves a query, or nullptr. `variant` narrows the choice where two kernels serve one family.
const Section* FindSection(const Profile& profile, const KernelQuery& query, std::string_view variant = {});

Result<Profile> ParseProfile(std::string_view toml, std::string_view where);
Result<Profile> ReadProfile(const std::string& path);
std::string WriteProfile(const Profile& profile);

// The profiles that ship inside the program (platforms/*.toml).
struct ShippedProfile {
  std::string_view gpu, engine, version;
  std::string_view toml;  // its text
  [[nodiscard]] std::string name() const;  // "h100_sxm/vllm/0.24.0"
};
// By the stem of its file: "h100_sxm__vllm__0.24.0".
constexpr ShippedProfile ShippedFrom(std::string_view stem, std::string_view toml) {
  const size_t first = stem.find("__"), second = stem.find("__", first + 2);
  return {stem.substr(0, first), stem.substr(first + 2, second - first - 2), stem.substr(second + 2), toml};
}
std::span<const ShippedProfile> ShippedProfiles();
// nullptr: none ships.
const ShippedProfile* FindShipped(std::string_view gpu, std::string_view engine, std::string_view version);
// A shipped profile by "h100_sxm/vllm/0.24.0" (or its file stem), or one read from a path ending in .toml.
Result<Profile> LoadProfile(std::string_view name_or_path);

}  // namespace assay::platform
