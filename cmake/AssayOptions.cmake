# How every Assay target is compiled.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# -O2 without -ffast-math; -ffp-contract=off keeps fp64 references free of silent FMAs (kernels use explicit FMA intrinsics).
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
add_compile_options(-Wall -Wextra -Wshadow -Werror -ffp-contract=off)
# GCC 12 reports these inside std::string and std::variant at -O2 (GCC bugs 105329, 105651); clang keeps watch for the real thing.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict> $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>
                      $<$<COMPILE_LANGUAGE:CXX>:-Wno-dangling-pointer> -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds)
endif()

# libstdc++ 12's own std::stable_sort calls a function it marks deprecated, and clang says so at each instantiation.
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-deprecated-declarations>)
endif()

# Tests, the command line and the folders that only read, judge and print are compiled to be compiled fast.
set(ASSAY_COLD_OPTIMISATION -O1)
set(ASSAY_SANITIZE "" CACHE STRING "Sanitizers, comma separated: address,undefined or thread; empty for none")
if(ASSAY_SANITIZE)
  # -O1 keeps the build inside CI's budget; no NDEBUG, so that ASSAY_DCHECK and the library's own assertions watch too.
  set(CMAKE_CXX_FLAGS_RELEASE "-O1 -g1")
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
  add_compile_options(-fsanitize=${ASSAY_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${ASSAY_SANITIZE})
  if(ASSAY_SANITIZE MATCHES undefined)
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
  set(ASSAY_COLD_OPTIMISATION -O0)
endif()

# Fuzzing: every object is instrumented, and only the fuzz targets link libFuzzer's main (clang only).
option(ASSAY_FUZZ "Build *_fuzz.cc with libFuzzer instead of the driver that runs a corpus once" OFF)
if(ASSAY_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

find_program(ASSAY_CCACHE ccache)
if(ASSAY_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ASSAY_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${ASSAY_CCACHE})
endif()
# mold where this compiler can drive it; the default linker otherwise.
find_program(ASSAY_MOLD mold)
if(ASSAY_MOLD)
  include(CheckLinkerFlag)
  check_linker_flag(CXX -fuse-ld=mold ASSAY_MOLD_WORKS)
  if(ASSAY_MOLD_WORKS)
    add_link_options(-fuse-ld=mold)
  endif()
endif()
