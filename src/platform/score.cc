// Scoring: see score.h.
#include "platform/score.h"

#include <fmt/format.h>

#include "platform/kernel_time.h"

namespace assay::platform {

Result<Profile> ProfileForTable(const MeasuredTable& table) {
  const bool collective = table.kind == "nccl_perf" || table.kind == "custom_allreduce_perf";
  if (const ShippedProfile* shipped = FindShipped(table.gpu, table.engine, table.version); shipped != nullptr && !collective) {
    return ParseProfile(shipped->toml, shipped->name());
  }
  // Collectives do not depend on the engine: whichever profile of the accelerator holds the table.
  for (const ShippedProfile& shipped : ShippedProfiles()) {
    if (!collective || shipped.gpu != table.gpu) continue;
    ASSAY_TRY(Profile profile, ParseProfile(shipped.toml, shipped.name()));
    for (const Section& section : profile.sections) {
      if (section.table == table.stem) return profile;
    }
  }
  // No profile at all is a profile with nothing in it: every row is refused, which is an answer.
  return Profile{.gpu = table.gpu, .engine = table.engine, .version = table.version, .source = {}, .licence = {}, .date = {}, .sections = {}};
}

Score ScoreTable(const Profile& profile, const MeasuredTable& table) {
  Score score{.profile = profile.name(), .table = table.stem, .rows = table.row_count, .note = {}, .model = {}, .roofline = {}};
  const Gpu* gpu = FindGpu(profile.gpu);
  if (!table.known_kind) score.note = fmt::format("there is no model of '{}' tables: every row is refused", table.kind);
  if (gpu == nullptr) score.note = fmt::format("there is no datasheet of {}: every row is refused", profile.gpu);
  score.zero_rows = table.zero_rows;
  for (const Section& section : profile.sections) score.seen |= section.table == table.stem;
  std::vector<double> ratios, low, high, roofline_ratios, roofline_low, roofline_high;
  const Section* section = nullptr;
  for (const MeasuredRow& row : table.rows) {
    if (gpu == nullptr) break;
    section = FindSection(profile, row.query, row.variant);
    // A kernel may be renamed between versions; the family and dtypes are what a user asks for.
    if (section == nullptr) section = FindSection(profile, row.query);
    if (section == nullptr || !Covers(*section, *gpu, row.query)) continue;
    const Regime* regime = RegimeFor(*section, row.query);
    if (regime == nullptr) continue;
    ratios.push_back(PredictMs(*section, *gpu, row.query) / row.ms);
    low.push_back(regime->low);
    high.push_back(regime->high);
    roofline_ratios.push_back(RooflineMs(*section, *gpu, row.query) / row.ms);
    roofline_low.push_back(section->roofline_low);
    roofline_high.push_back(section->roofline_high);
  }
  score.in_coverage = static_cast<int>(ratios.size());
  // Rows with latency 0 are failed measurements: neither predicted nor refused would be true, so they leave the count.
  score.rows -= table.zero_rows;
  score.refused = score.rows - score.in_coverage;
  if (score.in_coverage == 0 && score.note.empty()) {
    score.note = fmt::format("{} has no rows of these kernels: every row is refused; `assay platform fit` makes a profile from rows",
                             profile.name());
  }
  score.model = Summarise(ratios, low, high);
  score.roofline = Summarise(roofline_ratios, roofline_low, roofline_high);
  return score;
}

}  // namespace assay::platform
