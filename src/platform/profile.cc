// Reading and writing profiles. Factors are packed: two characters of 6 bits a value, the logarithm in steps of 0.25 %.
#include "platform/profile.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "formats/text.h"
#include "formats/toml.h"

namespace assay::platform {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
constexpr double kLogStep = 0.0025;
constexpr int kLevels = 4096;
constexpr size_t kMaxCells = 200'000;
constexpr size_t kMaxProfileBytes = 8 * formats::kMegabyte;

using formats::TomlBounds;
using formats::TomlNode;
using formats::TomlReader;

constexpr TomlBounds kCount{.low = 0, .high = 1e9};
constexpr TomlBounds kNotNegative{.low = 0};
constexpr TomlBounds kPositive{.low = 1e-9, .high = 1e9};

std::string Pack(const std::vector<double>& factors) {
  std::string text;
  text.reserve(factors.size() * 2);
  for (double factor : factors) {
    const int level = std::clamp(static_cast<int>(std::lround(std::log(factor) / kLogStep)) + kLevels / 2, 0, kLevels - 1);
    text += kDigits[static_cast<size_t>(level / 64)];
    text += kDigits[static_cast<size_t>(level % 64)];
  }
  return text;
}

// The factors of a grid of `cells`, or nothing after noting what is wrong.
std::vector<double> Unpack(TomlReader& grid, size_t cells) {
  const std::string text = grid.String("factors").value_or("");
  if (text.size() != 2 * cells) {
    grid.Fail("factors", fmt::format("holds {} values; the knots make {}", text.size() / 2, cells));
    return {};
  }
  std::vector<double> factors(cells);
  for (size_t i = 0; i < cells; ++i) {
    const size_t high = kDigits.find(text[2 * i]);
    const size_t low = kDigits.find(text[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) {
      grid.Fail("factors", "holds a character outside A-Z a-z 0-9 + -");
      return {};
    }
    factors[i] = std::exp((static_cast<double>(high * 64 + low) - kLevels / 2) * kLogStep);
  }
  return factors;
}

// A member that must be there: notes its absence with an example of what to write.
double Required(TomlReader& reader, std::string_view key, TomlBounds bounds = {}) {
  reader.Require(key, fmt::format("{} = 1", key));
  return reader.Number(key, bounds).value_or(0);
}
std::string RequiredText(TomlReader& reader, std::string_view key) {
  reader.Require(key, fmt::format("{} = \"...\"", key));
  return reader.String(key).value_or("");
}

std::vector<Range> ParseRanges(TomlReader& parent, std::string_view key) {
  std::vector<Range> ranges;
  parent.Require(key, fmt::format("{} = {{ batch = [0, 8] }}", key));
  auto table = parent.Table(key);
  if (!table) return ranges;
  for (const TomlNode& member : table->table().items) {
    const auto feature = FeatureFromName(member.key);
    if (!feature) continue;  // Close() names it
    if (const auto range = table->Range(member.key, {.unit = "log2 of the feature"})) {
      ranges.push_back({.feature = *feature, .low = range->low, .high = range->high});
    }
  }
  table->Close();
  return ranges;
}

Grid ParseGrid(TomlReader& reader) {
  Grid grid;
  for (TomlReader& axis_reader : reader.Tables("axes")) {
    const auto feature = FeatureFromName(RequiredText(axis_reader, "feature"));
    if (!feature) axis_reader.Fail("feature", "is no known feature of a kernel query");
    Axis axis{.feature = feature.value_or(Feature::kBatch), .knots = axis_reader.Numbers("knots", {})};
    if (axis.knots.empty() || axis.knots.size() > 64 || !std::is_sorted(axis.knots.begin(), axis.knots.end()) ||
        std::adjacent_find(axis.knots.begin(), axis.knots.end()) != axis.knots.end()) {
      axis_reader.Fail("knots", "must be 1 to 64 rising numbers");
      axis.knots = {0};
    }
    axis_reader.Close();
    grid.axes.push_back(std::move(axis));
    if (grid.axes.size() > kMaxAxes) break;
  }
  if (grid.axes.empty() || grid.axes.size() > kMaxAxes) {
    reader.Fail("axes", fmt::format("must be 1 to {} tables", kMaxAxes));
  } else if (grid.cells() > kMaxCells) {
    reader.Fail("axes", fmt::format("make more than {} cells", kMaxCells));
  } else {
    grid.factors = Unpack(reader, grid.cells());
  }
  reader.Close();
  return grid;
}

ErrorSummary ParseSummary(TomlReader& parent, std::string_view key) {
  parent.Require(key, fmt::format("{} = {{ rows = 100, p50 = 0.02, p90 = 0.05, p99 = 0.1, coverage = 0.9, median_width = 0.1 }}", key));
  auto reader = parent.Table(key);
  if (!reader) return {};
  ErrorSummary summary{.rows = static_cast<int>(Required(*reader, "rows", kCount)), .p50 = Required(*reader, "p50", kNotNegative),
                       .p90 = Required(*reader, "p90", kNotNegative), .p99 = Required(*reader, "p99", kNotNegative),
                       .coverage = Required(*reader, "coverage", {.low = 0, .high = 1}), .median_width = Required(*reader, "median_width", kNotNegative)};
  reader->Close();
  return summary;
}

Regime ParseRegime(TomlReader& reader) {
  Regime regime{.box = ParseRanges(reader, "where"), .low = 1, .high = 1, .error_p50 = Required(reader, "p50", kNotNegative),
                .error_p90 = Required(reader, "p90", kNotNegative), .rows = static_cast<int>(Required(reader, "rows", kCount))};
  reader.Require("interval", "interval = [0.95, 1.05]");
  if (const auto interval = reader.Range("interval", kPositive)) {
    regime.low = interval->low;
    regime.high = interval->high;
  }
  reader.Close();
  return regime;
}

Section ParseSection(TomlReader& reader) {
  Section section;
  const auto family = FamilyFromName(RequiredText(reader, "family"));
  const auto compute = DTypeFromName(RequiredText(reader, "compute"));
  const auto cache = DTypeFromName(RequiredText(reader, "cache"));
  if (!family) reader.Fail("family", "is no known kernel family");
  if (!compute) reader.Fail("compute", "is no dtype");
  if (!cache) reader.Fail("cache", "is no dtype");
  section.family = family.value_or(Family::kGemm);
  section.compute = compute.value_or(DType::kBf16);
  section.cache = cache.value_or(DType::kBf16);
  section.window = static_cast<int32_t>(Required(reader, "window", kCount));
  section.head_dim = static_cast<int32_t>(Required(reader, "head_dim", kCount));
  section.variant = RequiredText(reader, "variant");
  section.table = RequiredText(reader, "table");
  section.rows = static_cast<int>(Required(reader, "rows", kCount));
  section.launch_ms = Required(reader, "launch_ms", kNotNegative);
  section.efficiency = Required(reader, "efficiency", kPositive);
  section.largest_roofline_ms = Required(reader, "largest_roofline_ms", kNotNegative);
  reader.Require("roofline_interval", "roofline_interval = [0.8, 1.3]");
  if (const auto roofline = reader.Range("roofline_interval", kPositive)) {
    section.roofline_low = roofline->low;
    section.roofline_high = roofline->high;
  }
  section.held_out = ParseSummary(reader, "held_out");
  section.held_out_roofline = ParseSummary(reader, "held_out_roofline");
  section.coverage = ParseRanges(reader, "coverage");
  for (TomlReader& grid : reader.Tables("grids")) section.grids.push_back(ParseGrid(grid));
  for (TomlReader& regime : reader.Tables("regimes")) section.regimes.push_back(ParseRegime(regime));
  reader.Close();
  return section;
}

std::string RangesText(const std::vector<Range>& ranges) {
  std::string text = "{ ";
  for (size_t i = 0; i < ranges.size(); ++i) {
    text += fmt::format("{}{} = [{:.6g}, {:.6g}]", i == 0 ? "" : ", ", NameOf(ranges[i].feature), ranges[i].low, ranges[i].high);
  }
  return text + " }";
}

std::string NumbersText(const std::vector<double>& numbers) {
  std::string text = "[";
  for (size_t i = 0; i < numbers.size(); ++i) text += fmt::format("{}{:.6g}", i == 0 ? "" : ", ", numbers[i]);
  return text + "]";
}

std::string SummaryText(const ErrorSummary& s) {
  return fmt::format("{{ rows = {}, p50 = {:.4f}, p90 = {:.4f}, p99 = {:.4f}, coverage = {:.4f}, median_width = {:.4f} }}", s.rows, s.p50,
                     s.p90, s.p99, s.coverage, s.median_width);
}

// As a TOML basic string: names of kernels and licences come from files.
std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + "\"";
}

}  // namespace

const Section* FindSection(const Profile& profile, const KernelQuery& query, std::string_view variant) {
  for (const Section& section : profile.sections) {
    const bool same = section.family == query.family && section.compute == query.compute && section.cache == query.cache &&
                      section.window == query.window;
    if (same && (variant.empty() || section.variant == variant)) return &section;
  }
  return nullptr;
}

std::string WriteProfile(const Profile& profile) {
  std::string out = fmt::format(
      "# Kernel times of {0}: a fitted model (a roofline and smooth corrections at knots), not measurements. Made by `assay platform fit`.\n"
      "# Factors: two characters a value, digits A-Z a-z 0-9 + - of base 64, ln(factor) = (value - 2048) * 0.0025; last axis fastest.\n"
      "# Knots and ranges are log2 of the feature.\n"
      "schema_version = 1\ngpu = {1}\nengine = {2}\nversion = {3}\nsource = {4}\nlicence = {5}\ndate = {6}\n",
      profile.name(), Quoted(profile.gpu), Quoted(profile.engine), Quoted(profile.version), Quoted(profile.source), Quoted(profile.licence),
      Quoted(profile.date));
  for (const Section& s : profile.sections) {
    out += fmt::format(
        "\n[[sections]]\nfamily = \"{}\"\ncompute = \"{}\"\ncache = \"{}\"\nwindow = {}\nhead_dim = {}\nvariant = {}\ntable = {}\nrows = {}\n"
        "launch_ms = {:.6g}\nefficiency = {:.6g}\nroofline_interval = [{:.5g}, {:.5g}]\nlargest_roofline_ms = {:.6g}\n",
        NameOf(s.family), NameOf(s.compute), NameOf(s.cache), s.window, s.head_dim, Quoted(s.variant), Quoted(s.table), s.rows, s.launch_ms,
        s.efficiency, s.roofline_low, s.roofline_high, s.largest_roofline_ms);
    out += fmt::format("held_out = {}\nheld_out_roofline = {}\ncoverage = {}\n", SummaryText(s.held_out), SummaryText(s.held_out_roofline),
                       RangesText(s.coverage));
    out += "grids = [\n";
    for (const Grid& grid : s.grids) {
      out += "  { axes = [";
      for (const Axis& axis : grid.axes) {
        out += fmt::format("{}{{ feature = \"{}\", knots = {} }}", &axis == &grid.axes.front() ? "" : ", ", NameOf(axis.feature),
                           NumbersText(axis.knots));
      }
      out += fmt::format("], factors = \"{}\" }},\n", Pack(grid.factors));
    }
    out += "]\nregimes = [\n";
    for (const Regime& regime : s.regimes) {
      out += fmt::format("  {{ where = {}, interval = [{:.4f}, {:.4f}], p50 = {:.4f}, p90 = {:.4f}, rows = {} }},\n", RangesText(regime.box),
                         regime.low, regime.high, regime.error_p50, regime.error_p90, regime.rows);
    }
    out += "]\n";
  }
  return out;
}

Result<Profile> ParseProfile(std::string_view text, std::string_view where) {
  ASSAY_TRY(const TomlNode root, formats::ParseToml(text, where));
  formats::TomlErrors errors{std::string(where)};
  TomlReader reader(root, "", &errors);
  if (Required(reader, "schema_version") != 1) reader.Fail("schema_version", "must be 1: fit the profile again with this program");
  Profile profile;
  profile.gpu = RequiredText(reader, "gpu");
  profile.engine = RequiredText(reader, "engine");
  profile.version = RequiredText(reader, "version");
  profile.source = RequiredText(reader, "source");
  profile.licence = RequiredText(reader, "licence");
  profile.date = RequiredText(reader, "date");
  reader.Require("sections", "a [[sections]] table for each kernel");
  for (TomlReader& section : reader.Tables("sections")) profile.sections.push_back(ParseSection(section));
  reader.Close();
  ASSAY_RETURN_IF_ERROR(errors.ToStatus());
  return profile;
}

Result<Profile> ReadProfile(const std::string& path) {
  ASSAY_TRY(const std::string text, formats::ReadFile(path, kMaxProfileBytes));
  return ParseProfile(text, path);
}

std::string ShippedProfile::name() const { return fmt::format("{}/{}/{}", gpu, engine, version); }

const ShippedProfile* FindShipped(std::string_view gpu, std::string_view engine, std::string_view version) {
  for (const ShippedProfile& shipped : ShippedProfiles()) {
    if (shipped.gpu == gpu && shipped.engine == engine && shipped.version == version) return &shipped;
  }
  return nullptr;
}

Result<Profile> LoadProfile(std::string_view name_or_path) {
  if (name_or_path.ends_with(".toml")) return ReadProfile(std::string(name_or_path));
  std::string stem(name_or_path);
  for (size_t slash = stem.find('/'); slash != std::string::npos; slash = stem.find('/')) stem.replace(slash, 1, "__");
  std::vector<std::string> names;
  for (const ShippedProfile& shipped : ShippedProfiles()) {
    if (stem == fmt::format("{}__{}__{}", shipped.gpu, shipped.engine, shipped.version)) return ParseProfile(shipped.toml, shipped.name());
    names.push_back(shipped.name());
  }
  const std::vector<std::string_view> known(names.begin(), names.end());
  return BadInput(fmt::format("no platform profile '{}'{}", formats::Printable(name_or_path), formats::DidYouMean(name_or_path, known)));
}

}  // namespace assay::platform
