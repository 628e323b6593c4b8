add_custom_target(unit_tests)   # every folder's test binary: what the clang and sanitizer builds make
add_custom_target(fuzz_targets) # every *_fuzz.cc

# assay_folder(NAME [COLD] [DEPENDS folder...] [LIBRARIES target...])
# Makes library assay_NAME from NAME/**.cc (tests and fuzz targets aside), and the test binary NAME_test from
# NAME/**_test.cc. DEPENDS names folders above this one in the order of the house; the tidy test checks the includes themselves.
# COLD: no time is spent in its code at run, so it is compiled to be compiled fast.
function(assay_folder name)
  cmake_parse_arguments(ARG "COLD" "" "DEPENDS;LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "(_test|/test)\\.cc$")
  set(fuzz_sources ${sources})
  list(FILTER fuzz_sources INCLUDE REGEX "_fuzz\\.cc$")
  list(FILTER sources EXCLUDE REGEX "((_test|_fuzz)|/test)\\.cc$")
  list(APPEND sources ${ASSAY_EXTRA_SOURCES_${name}})  # generated ones
  list(APPEND tests ${ASSAY_EXTRA_TESTS_${name}})
  add_library(assay_${name} STATIC ${sources})
  if(ARG_COLD)
    target_compile_options(assay_${name} PRIVATE ${ASSAY_COLD_OPTIMISATION})
  endif()
  target_include_directories(assay_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  foreach(folder IN LISTS ARG_DEPENDS)
    target_link_libraries(assay_${name} PUBLIC assay_${folder})
  endforeach()
  target_link_libraries(assay_${name} PUBLIC fmt::fmt Threads::Threads ${ARG_LIBRARIES})
  if(tests)
    add_executable(${name}_test ${tests})
    target_compile_options(${name}_test PRIVATE ${ASSAY_COLD_OPTIMISATION})
    assay_precompiled(${name}_test test LIBRARIES GTest::gtest HEADERS <gtest/gtest.h>)
    target_link_libraries(${name}_test PRIVATE assay_${name} GTest::gtest GTest::gtest_main ${ASSAY_RAPIDCHECK})
    target_compile_definitions(${name}_test PRIVATE ASSAY_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                               ASSAY_SHARED_DATA_DIR="${CMAKE_SOURCE_DIR}/../shared/data")
    # One ctest entry a folder: gtest prints the single cases, and CI starts tens of processes instead of thousands.
    add_test(NAME ${name} COMMAND ${name}_test --gtest_brief=1 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 1200)
    add_dependencies(unit_tests ${name}_test)
  endif()
  foreach(source IN LISTS fuzz_sources)
    assay_fuzz_target(${name} ${source})
  endforeach()
endfunction()

# X_fuzz.cc defines LLVMFuzzerTestOneInput. Under the fuzz preset it links libFuzzer; elsewhere a driver runs the corpus
# tests/fuzz/X/ once, as a test, so that a crash once found stays found under every compiler.
function(assay_fuzz_target folder source)
  get_filename_component(target ${source} NAME_WE)
  string(REGEX REPLACE "_fuzz$" "" corpus ${target})
  add_executable(${target} ${source})
  target_link_libraries(${target} PRIVATE assay_${folder})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  add_dependencies(fuzz_targets ${target})
  if(ASSAY_FUZZ)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus_driver.cc)
    add_test(NAME ${target} COMMAND ${target} ${CMAKE_SOURCE_DIR}/tests/fuzz/${corpus})
    set_tests_properties(${target} PROPERTIES LABELS "unit;fuzz" TIMEOUT 300)
    add_dependencies(unit_tests ${target})
  endif()
endfunction()
