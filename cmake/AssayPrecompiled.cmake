# Precompiled headers: half of a cold build would be reading the same few headers again. That each source still names what it includes
# is held by the tidy test (rule standard_headers).
option(ASSAY_PRECOMPILED "Precompile the headers that most sources include" ON)
if(ASSAY_PRECOMPILED AND ASSAY_CCACHE)
  # This, and -fpch-preprocess under GCC, is what ccache needs to cache objects that were compiled with one.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${ASSAY_CCACHE})
endif()

# assay_precompiled(TARGET KIND LIBRARIES target... HEADERS <header>...): TARGET includes the headers first. All targets of one KIND
# share one precompiled file, so they are compiled with the same options.
function(assay_precompiled target kind)
  cmake_parse_arguments(ARG "" "" "LIBRARIES;HEADERS" ${ARGN})
  if(NOT ASSAY_PRECOMPILED)
    return()
  endif()
  if(CMAKE_COMPILER_IS_GNUCXX)
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
  if(NOT TARGET assay_headers_${kind})
    file(WRITE ${CMAKE_BINARY_DIR}/generated/headers_${kind}.cc "// An object library needs a source.\n")
    add_library(assay_headers_${kind} OBJECT ${CMAKE_BINARY_DIR}/generated/headers_${kind}.cc)
    get_target_property(options ${target} COMPILE_OPTIONS)
    if(options)
      target_compile_options(assay_headers_${kind} PRIVATE ${options})
    endif()
    target_link_libraries(assay_headers_${kind} PRIVATE fmt::fmt ${ARG_LIBRARIES})
    target_precompile_headers(assay_headers_${kind} PRIVATE <string> <vector> <fmt/format.h> ${ARG_HEADERS})
  endif()
  target_precompile_headers(${target} REUSE_FROM assay_headers_${kind})
endfunction()

# Sources that are compiled for another instruction set cannot share one.
function(assay_not_precompiled)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endfunction()
