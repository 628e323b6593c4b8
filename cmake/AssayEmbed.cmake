# assay_embed(FOLDER DATA HEADER NAMESPACE FUNCTION TYPE [MAKE function] [PREFIX text] [SUFFIX text] [PATTERN glob]): the program carries
# DATA/*.toml, or what PATTERN says, so an installed binary needs no data folder. Defines `std::span<const TYPE> FUNCTION()`, which
# src/FOLDER/HEADER declares; an element is made of the file's name (its stem between PREFIX and SUFFIX) and its text.
function(assay_embed folder data header namespace function type)
  cmake_parse_arguments(ARG "" "MAKE;PREFIX;SUFFIX;PATTERN" "" ${ARGN})
  if(NOT ARG_MAKE)
    set(ARG_MAKE ${type})
  endif()
  if(NOT ARG_PATTERN)
    set(ARG_PATTERN *.toml)
  endif()
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${data}/${ARG_PATTERN})
  string(MAKE_C_IDENTIFIER ${data} symbol)
  set(blobs "")
  set(entries "")
  set(count 0)
  foreach(path IN LISTS files)
    get_filename_component(stem ${path} NAME_WLE)
    string(APPEND blobs "ASSAY_BLOB(${symbol}_${count}, \"${path}\")\n")
    set(blob assay_${symbol}_${count})
    string(APPEND entries "      ${ARG_MAKE}(\"${ARG_PREFIX}${stem}${ARG_SUFFIX}\", std::string_view(${blob}, static_cast<size_t>(${blob}_end - ${blob}))),\n")
    math(EXPR count "${count} + 1")
  endforeach()
  set(generated ${CMAKE_BINARY_DIR}/generated/embedded_${symbol}.cc)
  # .incbin keeps the texts out of the compiler; file(CONFIGURE) leaves an unchanged file alone.
  file(CONFIGURE OUTPUT ${generated} @ONLY CONTENT
"// Generated from @data@/@ARG_PATTERN@ by cmake/AssayEmbed.cmake.
#include \"@folder@/@header@\"
#define ASSAY_BLOB(name, path)                                                                                                  \\
  asm(\".section .rodata\\nassay_\" #name \":\\n.incbin \\\"\" path \"\\\"\\nassay_\" #name \"_end:\\n.byte 0\\n.previous\\n\"); \\
  extern \"C\" const char assay_##name[];                                                                                       \\
  extern \"C\" const char assay_##name##_end[];
@blobs@
namespace @namespace@ {
std::span<const @type@> @function@() {
  static const @type@ kFiles[] = {
@entries@  };
  return kFiles;
}
}  // namespace @namespace@
")
  set_source_files_properties(${generated} PROPERTIES OBJECT_DEPENDS "${files}")
  set(ASSAY_EXTRA_SOURCES_${folder} ${ASSAY_EXTRA_SOURCES_${folder}} ${generated} PARENT_SCOPE)
endfunction()
