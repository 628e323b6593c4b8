// Reading and writing profiles. Factors are packed: two characters of 6 bits a value, the logarithm in steps of 0.25 %.
#include "platform/profile.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "formats/text.h"

namespace assay::platform {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
constexpr double kLogStep = 0.0025;
constexpr int kLevels = 4096;
constexpr size_t kMaxCells = 200'000;
constexpr size_t kMaxProfileBytes = 8 * formats::kMegabyte;

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

Result<std::vector<double>> Unpack(std::string_view text, size_t cells, std::string_view where) {
  if (text.size() != 2 * cells) {
    return BadInput(fmt::format("{}: factors hold {} values; the knots make {}", where, text.size() / 2, cells));
  }
  std::vector<double> factors(cells);
  for (size_t i = 0; i < cells; ++i) {
    const size_t high = kDigits.find(text[2 * i]);
    const size_t low = kDigits.find(text[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) {
      return BadInput(fmt::format("{}: factors hold a character outside A-Z a-z 0-9 + -", where));
    }
    factors[i] = std::exp((static_cast<double>(high * 64 + low) - kLevels / 2) * kLogStep);
  }
  return factors;
}

// Reads typed members of a TOML table and remembers the first thing that was wrong.
class Reader {
 public:
  Reader(const toml::table& table, std::string where) : table_(table), where_(std::move(where)) {}

  std::string Text(std::string_view key) {
    if (auto value = table_[key].value<std::string>()) return *value;
    Complain(key, "a string");
    return {};
  }
  double Number(std::string_view key) {
    if (auto value = table_[key].value<double>(); value && std::isfinite(*value)) return *value;
    Complain(key, "a finite number");
    return 0;
  }
  std::vector<double> Numbers(std::string_view key) {
    std::vector<double> values;
    const toml::array* array = table_[key].as_array();
    if (array == nullptr) {
      Complain(key, "an array of numbers");
      return values;
    }
    for (const auto& node : *array) {
      const auto value = node.value<double>();
      if (!value || !std::isfinite(*value)) {
        Complain(key, "an array of finite numbers");
        return {};
      }
      values.push_back(*value);
    }
    return values;
  }
  const toml::array* Tables(std::string_view key) {
    const toml::array* array = table_[key].as_array();
    if (array == nullptr || !array->is_homogeneous<toml::table>()) Complain(key, "an array of tables");
    return array;
  }
  void Complain(std::string_view key, std::string_view wanted) {
    if (error_.empty()) error_ = fmt::format("{}: '{}' must be {}", where_, key, wanted);
  }
  [[nodiscard]] Status status() const { return error_.empty() ? Ok() : Status(BadInput(error_)); }
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  const toml::table& table_;
  std::string where_;
  std::string error_;
};

Result<std::vector<Range>> ParseRanges(const toml::node_view<const toml::node>& node, const std::string& where) {
  std::vector<Range> ranges;
  const toml::table* table = node.as_table();
  if (table == nullptr) return BadInput(fmt::format("{}: must be a table of feature = [low, high]", where));
  for (const auto& [key, value] : *table) {
    const auto feature = FeatureFromName(key.str());
    const toml::array* pair = value.as_array();
    if (!feature || pair == nullptr || pair->size() != 2 || !(*pair)[0].value<double>() || !(*pair)[1].value<double>()) {
      return BadInput(fmt::format("{}: '{}' must be a known feature with [low, high] in log2", where, formats::Printable(key.str())));
    }
    ranges.push_back({.feature = *feature, .low = *(*pair)[0].value<double>(), .high = *(*pair)[1].value<double>()});
  }
  return ranges;
}

Result<Grid> ParseGrid(const toml::table& table, const std::string& where) {
  Grid grid;
  Reader reader(table, where);
  const toml::array* axes = reader.Tables("axes");
  ASSAY_RETURN_IF_ERROR(reader.status());
  for (const auto& node : *axes) {
    Reader axis_reader(*node.as_table(), where + ".axes");
    const auto feature = FeatureFromName(axis_reader.Text("feature"));
    if (!feature) axis_reader.Complain("feature", "a known feature");
    Axis axis{.feature = feature.value_or(Feature::kBatch), .knots = axis_reader.Numbers("knots")};
    ASSAY_RETURN_IF_ERROR(axis_reader.status());
    if (axis.knots.empty() || axis.knots.size() > 64 || !std::is_sorted(axis.knots.begin(), axis.knots.end()) ||
        std::adjacent_find(axis.knots.begin(), axis.knots.end()) != axis.knots.end()) {
      return BadInput(fmt::format("{}: knots must be 1 to 64 rising numbers", where));
    }
    grid.axes.push_back(std::move(axis));
  }
  if (grid.axes.empty() || grid.axes.size() > kMaxAxes) return BadInput(fmt::format("{}: a grid has 1 to {} axes", where, kMaxAxes));
  if (grid.cells() > kMaxCells) return BadInput(fmt::format("{}: more than {} cells", where, kMaxCells));
  ASSAY_TRY(grid.factors, Unpack(reader.Text("factors"), grid.cells(), where));
  return grid;
}

ErrorSummary ParseSummary(const toml::table* table, Reader& parent, std::string_view key) {
  if (table == nullptr) {
    parent.Complain(key, "a table");
    return {};
  }
  Reader reader(*table, parent.where());
  ErrorSummary summary{.rows = static_cast<int>(reader.Number("rows")), .p50 = reader.Number("p50"), .p90 = reader.Number("p90"),
                       .p99 = reader.Number("p99"), .coverage = reader.Number("coverage"), .median_width = reader.Number("median_width")};
  if (!reader.status().ok()) parent.Complain(key, "a table of rows, p50, p90, p99, coverage, median_width");
  return summary;
}

Result<Section> ParseSection(const toml::table& table, const std::string& where) {
  Reader reader(table, where);
  Section section;
  const auto family = FamilyFromName(reader.Text("family"));
  const auto compute = DTypeFromName(reader.Text("compute"));
  const auto cache = DTypeFromName(reader.Text("cache"));
  if (!family) reader.Complain("family", "a known kernel family");
  if (!compute) reader.Complain("compute", "a dtype");
  if (!cache) reader.Complain("cache", "a dtype");
  section.family = family.value_or(Family::kGemm);
  section.compute = compute.value_or(DType::kBf16);
  section.cache = cache.value_or(DType::kBf16);
  section.window = static_cast<int32_t>(reader.Number("window"));
  section.head_dim = static_cast<int32_t>(reader.Number("head_dim"));
  section.variant = reader.Text("variant");
  section.table = reader.Text("table");
  section.rows = static_cast<int>(reader.Number("rows"));
  section.launch_ms = reader.Number("launch_ms");
  section.efficiency = reader.Number("efficiency");
  if (section.efficiency <= 0) reader.Complain("efficiency", "a positive number");
  section.largest_roofline_ms = reader.Number("largest_roofline_ms");
  const std::vector<double> roofline = reader.Numbers("roofline_interval");
  if (roofline.size() != 2) reader.Complain("roofline_interval", "two numbers");
  const toml::array* grids = reader.Tables("grids");
  const toml::array* regimes = reader.Tables("regimes");
  section.held_out = ParseSummary(table["held_out"].as_table(), reader, "held_out");
  section.held_out_roofline = ParseSummary(table["held_out_roofline"].as_table(), reader, "held_out_roofline");
  ASSAY_RETURN_IF_ERROR(reader.status());
  section.roofline_low = roofline[0];
  section.roofline_high = roofline[1];
  ASSAY_TRY(section.coverage, ParseRanges(table["coverage"], where + ".coverage"));
  for (const auto& node : *grids) {
    ASSAY_TRY(Grid grid, ParseGrid(*node.as_table(), where + ".grids"));
    section.grids.push_back(std::move(grid));
  }
  for (const auto& node : *regimes) {
    const toml::table& inner = *node.as_table();
    Reader regime_reader(inner, where + ".regimes");
    const std::vector<double> interval = regime_reader.Numbers("interval");
    if (interval.size() != 2) regime_reader.Complain("interval", "two numbers");
    Regime regime{.box = {}, .low = 1, .high = 1, .error_p50 = regime_reader.Number("p50"), .error_p90 = regime_reader.Number("p90"),
                  .rows = static_cast<int>(regime_reader.Number("rows"))};
    ASSAY_RETURN_IF_ERROR(regime_reader.status());
    regime.low = interval[0];
    regime.high = interval[1];
    ASSAY_TRY(regime.box, ParseRanges(inner["where"], where + ".regimes.where"));
    section.regimes.push_back(std::move(regime));
  }
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
  toml::table root;
  try {
    root = toml::parse(text, where);
  } catch (const toml::parse_error& error) {
    return BadInput(fmt::format("{}:{}: {}", where, error.source().begin.line, error.description()));
  }
  Reader reader(root, std::string(where));
  if (reader.Number("schema_version") != 1) reader.Complain("schema_version", "1");
  Profile profile;
  profile.gpu = reader.Text("gpu");
  profile.engine = reader.Text("engine");
  profile.version = reader.Text("version");
  profile.source = reader.Text("source");
  profile.licence = reader.Text("licence");
  profile.date = reader.Text("date");
  const toml::array* sections = reader.Tables("sections");
  ASSAY_RETURN_IF_ERROR(reader.status());
  for (const auto& node : *sections) {
    ASSAY_TRY(Section section, ParseSection(*node.as_table(), fmt::format("{}: section {}", where, profile.sections.size() + 1)));
    profile.sections.push_back(std::move(section));
  }
  return profile;
}

Result<Profile> ReadProfile(const std::string& path) {
  ASSAY_TRY(const std::string text, formats::ReadFile(path, kMaxProfileBytes));
  return ParseProfile(text, path);
}

Result<Profile> LoadProfile(std::string_view name_or_path) {
  if (name_or_path.ends_with(".toml")) return ReadProfile(std::string(name_or_path));
  std::string stem(name_or_path);
  for (size_t slash = stem.find('/'); slash != std::string::npos; slash = stem.find('/')) stem.replace(slash, 1, "__");
  std::vector<std::string> names;
  for (const ShippedProfile& shipped : ShippedProfiles()) {
    if (shipped.name == stem) return ParseProfile(shipped.toml, shipped.name);
    std::string name(shipped.name);
    for (size_t at = name.find("__"); at != std::string::npos; at = name.find("__")) name.replace(at, 2, "/");
    names.push_back(std::move(name));
  }
  const std::vector<std::string_view> known(names.begin(), names.end());
  return BadInput(fmt::format("no platform profile '{}'{}", formats::Printable(name_or_path), formats::DidYouMean(name_or_path, known)));
}

}  // namespace assay::platform
