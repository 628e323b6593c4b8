# Embeds platforms/*.toml: the program carries its profiles, so an installed binary needs no data folder.
file(GLOB platform_profiles CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/platforms/*.toml)
set(shipped_cc ${CMAKE_BINARY_DIR}/generated/shipped_profiles.cc)
add_custom_command(
  OUTPUT ${shipped_cc}
  COMMAND ${CMAKE_COMMAND} -DOUTPUT=${shipped_cc} "-DINPUTS=${platform_profiles}" -P ${CMAKE_SOURCE_DIR}/cmake/EmbedProfiles.cmake
  DEPENDS ${platform_profiles} ${CMAKE_SOURCE_DIR}/cmake/EmbedProfiles.cmake
  VERBATIM COMMENT "Embedding platform profiles")
set(ASSAY_EXTRA_SOURCES_platform ${shipped_cc})
