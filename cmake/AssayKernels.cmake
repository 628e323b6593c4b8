# The kernels of every instruction set: one translation unit for each family of kernels and each SIMD backend, with that backend's flags, so
# that no other code is compiled for a CPU it may not run on (src/kernels/simd.h). A unit is three generated lines that choose the backend and
# include the family's X-inl.h; families are as small as a change to one should take seconds to compile. Included from
# src/CMakeLists.txt, whose directory scope the properties need.
set(kernel_families backend-inl.h softmax_floats-inl.h softmax_halves-inl.h softmax_int8-inl.h softmax_int4-inl.h recurrence-inl.h matmul-inl.h)
list(TRANSFORM kernel_families REPLACE "-inl.h" "")
# -O3 because the tiles rely on loops of constant trip count being unrolled into registers; instrumented, that takes compilers minutes,
# and buys nothing.
set(kernel_flags -O3 -fno-exceptions)  # no unwinding, hence no reference to the run-time's terminate helpers
if(ASSAY_SANITIZE)
  set(kernel_flags -O1 -fno-exceptions)
  # The generic backend instantiates the same families, so undefined behaviour of theirs shows there; twice more costs compilers minutes.
  if(ASSAY_SANITIZE MATCHES undefined)
    set(generic_flags -fno-sanitize=null,pointer-overflow)  # the address sanitizer sees what these would lead to
    set(wide_flags -fno-sanitize=undefined)
  endif()
endif()
set(avx2_flags -mavx2 -mfma -mf16c ${wide_flags})
set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND avx512_flags -Wno-uninitialized -Wno-maybe-uninitialized)  # GCC 12's own intrinsics (bug 105593)
endif()
set(kernel_backends generic)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  list(APPEND kernel_backends avx2 avx512)
else()
  set(generic_flags -ffp-contract=fast)  # the only backend there is: let it use the CPU's fused multiply-add
endif()
foreach(backend IN LISTS kernel_backends)
  string(TOUPPER ${backend} upper)
  foreach(family IN LISTS kernel_families)
    set(unit ${CMAKE_BINARY_DIR}/generated/kernels/${family}_${backend}.cc)
    file(CONFIGURE OUTPUT ${unit} CONTENT
      "#define ASSAY_SIMD_NAMESPACE ${backend}\n#define ASSAY_SIMD_${upper}\n#include \"kernels/${family}-inl.h\"\n")
    set_source_files_properties(${unit} PROPERTIES COMPILE_OPTIONS "${kernel_flags};${${backend}_flags}")
    assay_not_precompiled(${unit})
    list(APPEND ASSAY_EXTRA_SOURCES_kernels ${unit})
  endforeach()
endforeach()
set(kernel_dir ${CMAKE_CURRENT_SOURCE_DIR}/kernels)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set_source_files_properties(${kernel_dir}/simd_probe_avx2_test.cc PROPERTIES COMPILE_OPTIONS "-fno-exceptions;${avx2_flags}")
  set_source_files_properties(${kernel_dir}/simd_probe_avx512_test.cc PROPERTIES COMPILE_OPTIONS "-fno-exceptions;${avx512_flags}")
  # AVX-512 emulated lane by lane for tests; optimised, or the tests would take minutes.
  foreach(family IN LISTS kernel_families ITEMS simd_probe)
    set(unit ${CMAKE_BINARY_DIR}/generated/kernels/${family}_emulated_test.cc)
    file(CONFIGURE OUTPUT ${unit} CONTENT
      "#include \"kernels/simd_emulation.h\"\n#ifdef ASSAY_HAS_EMULATION\n#include \"kernels/${family}-inl.h\"\n#endif\n")
    set_source_files_properties(${unit} PROPERTIES COMPILE_OPTIONS "-O2;-Wno-psabi")
    assay_not_precompiled(${unit})
    list(APPEND ASSAY_EXTRA_TESTS_kernels ${unit})
  endforeach()
endif()
assay_not_precompiled(${kernel_dir}/simd_probe_avx2_test.cc ${kernel_dir}/simd_probe_avx512_test.cc)

# kernels_forced_X: each backend forced through the switch that users have. Cheap, because the folder's own test runs every kernel on
# every table; this holds that the switch is heard by every family of kernels.
function(assay_forced_backend_tests)
  foreach(backend generic avx2 avx512)
    add_test(NAME kernels_forced_${backend} COMMAND kernels_test --gtest_brief=1 --gtest_filter=Dispatch.* WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(kernels_forced_${backend} PROPERTIES LABELS unit TIMEOUT 120 ENVIRONMENT ASSAY_BACKEND=${backend})
  endforeach()
endfunction()
