# Embeds claims/*.toml and predictions/*.toml: the program carries its claims and its ledger, so an installed binary needs no data folder.
file(GLOB claim_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/claims/*.toml)
file(GLOB prediction_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/predictions/*.toml)
set(embedded_cc ${CMAKE_BINARY_DIR}/generated/embedded_claims.cc)
add_custom_command(
  OUTPUT ${embedded_cc}
  COMMAND ${CMAKE_COMMAND} -DOUTPUT=${embedded_cc} "-DCLAIMS=${claim_files}" "-DPREDICTIONS=${prediction_files}" -P
          ${CMAKE_SOURCE_DIR}/cmake/EmbedClaims.cmake
  DEPENDS ${claim_files} ${prediction_files} ${CMAKE_SOURCE_DIR}/cmake/EmbedClaims.cmake
  VERBATIM COMMENT "Embedding claims and predictions")
set(ASSAY_EXTRA_SOURCES_claims ${embedded_cc})
