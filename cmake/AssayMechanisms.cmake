# A mechanism registers by its folder: src/mechanisms/<id>/mechanism.cc defines assay::mechanisms::k_<id>, and this file writes the list of
# them. Static initialisers would not do: the linker drops them from static libraries.
file(GLOB mechanism_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/../src/mechanisms/*/mechanism.cc)
list(SORT mechanism_files)
set(mechanism_declarations "")
set(mechanism_entries "")
foreach(file IN LISTS mechanism_files)
  cmake_path(GET file PARENT_PATH folder)
  cmake_path(GET folder FILENAME id)
  string(APPEND mechanism_declarations "extern const Mechanism k_${id};\n")
  string(APPEND mechanism_entries "      &mechanisms::k_${id},\n")
endforeach()
set(mechanism_list ${CMAKE_BINARY_DIR}/generated/mechanism_list.cc)
# file(CONFIGURE) leaves an unchanged file alone, so a reconfigure rebuilds nothing.
file(CONFIGURE OUTPUT ${mechanism_list} @ONLY CONTENT [[
// Written by cmake/AssayMechanisms.cmake from the folders of src/mechanisms.
#include "mechanisms/mechanism.h"

namespace assay {
namespace mechanisms {
@mechanism_declarations@}  // namespace mechanisms

std::span<const Mechanism* const> AllMechanisms() {
  static constexpr const Mechanism* kAll[] = {
@mechanism_entries@  };
  return kAll;
}
}  // namespace assay
]])
set(ASSAY_EXTRA_SOURCES_mechanisms ${mechanism_list})
