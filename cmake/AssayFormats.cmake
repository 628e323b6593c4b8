# Embeds models/*.toml (src/formats/model_presets.h declares them). Written at configure time, which a changed preset triggers again.
find_library(ASSAY_TOMLPLUSPLUS tomlplusplus REQUIRED)
file(GLOB preset_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/models/*.toml)
set(preset_rows "")
foreach(preset_file IN LISTS preset_files)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${preset_file})
  get_filename_component(preset_name ${preset_file} NAME)
  string(REGEX REPLACE "\\.toml$" "" preset_name ${preset_name})
  file(READ ${preset_file} preset_text)
  string(APPEND preset_rows "    {\"${preset_name}\", R\"toml(${preset_text})toml\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/model_presets.cc @ONLY CONTENT
"// Generated from models/*.toml by cmake/AssayFormats.cmake.
#include \"formats/model_presets.h\"

namespace assay::formats {
std::span<const EmbeddedPreset> EmbeddedPresets() {
  static constexpr EmbeddedPreset kPresets[] = {
@preset_rows@  };
  return kPresets;
}
}  // namespace assay::formats
")
set(ASSAY_EXTRA_SOURCES_formats ${CMAKE_BINARY_DIR}/generated/model_presets.cc)
