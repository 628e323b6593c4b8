#include "claims/toml_files.h"

#include <array>
#include <filesystem>

namespace assay {

Evidence TakeEvidence(formats::TomlReader& table) {
  constexpr std::array<std::string_view, 2> kSides = {"for", "against"};
  Evidence evidence;
  table.Require("side", "side = \"for\" or \"against\"");
  evidence.against = table.Choice("side", kSides).value_or(0) == 1;
  evidence.summary = table.Text("summary", "one sentence in our own words");
  evidence.url = table.Text("url", "where it can be read");
  evidence.date = table.Text("date", "when it was published");
  return evidence;
}

Result<std::vector<std::string>> TomlFilesOf(const std::string& directory) {
  std::error_code failed;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory, failed))
    if (entry.path().extension() == ".toml") paths.push_back(entry.path().string());
  if (failed) return BadInput(fmt::format("{}: cannot be listed: {}", directory, failed.message()));
  if (paths.empty()) return BadInput(fmt::format("{}: holds no *.toml file", directory));
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace assay
