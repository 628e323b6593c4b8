# Compiler flags of the ceilings' backends: one translation unit each, chosen at run time by CPUID. And what fingerprint.cc records about
# the build itself.
set_source_files_properties(machine/ceilings_generic.cc PROPERTIES COMPILE_OPTIONS "-fno-exceptions")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(machine/ceilings_avx2.cc PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-fno-exceptions")
  set_source_files_properties(machine/ceilings_avx512.cc PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512vl;-mavx512vnni;-mavx512bf16;-mfma;-fno-exceptions")
endif()
assay_not_precompiled(machine/ceilings_generic.cc machine/ceilings_avx2.cc machine/ceilings_avx512.cc)
string(TOUPPER "${CMAKE_BUILD_TYPE}" assay_build_type)
set_source_files_properties(machine/fingerprint.cc PROPERTIES COMPILE_DEFINITIONS
  "ASSAY_BUILD_TYPE=\"${CMAKE_BUILD_TYPE}\";ASSAY_BUILD_FLAGS=\"${CMAKE_CXX_FLAGS_${assay_build_type}}\";ASSAY_BUILD_SANITIZE=\"${ASSAY_SANITIZE}\"")
