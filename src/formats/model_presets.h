// The files of models/ as they are built into the program (cmake/AssayEmbed.cmake writes the definition), so that it
// needs no data folder.
#pragma once

#include <span>
#include <string_view>

namespace assay::formats {

struct EmbeddedPreset {
  std::string_view name;  // the file's stem
  std::string_view toml;
};
std::span<const EmbeddedPreset> EmbeddedPresets();

}  // namespace assay::formats
