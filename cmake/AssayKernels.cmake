# Flags of the SIMD backends: one translation unit each, so that no other code is compiled for a CPU it may not run on
# (src/kernels/simd.h). Included from src/CMakeLists.txt, whose directory scope the properties need.
# -O3 because the tiles rely on loops of constant trip count being unrolled into registers; instrumented, that takes compilers minutes,
# and buys nothing.
set(kernel_dir ${CMAKE_CURRENT_SOURCE_DIR}/kernels)
set(kernel_flags -O3 -fno-exceptions)  # no unwinding, hence no reference to the run-time's terminate helpers
if(ASSAY_SANITIZE)
  set(kernel_flags -O1 -fno-exceptions)
endif()
set(avx2_flags -mavx2 -mfma -mf16c)
set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND avx512_flags -Wno-uninitialized -Wno-maybe-uninitialized)  # GCC 12's own intrinsics (bug 105593)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set_source_files_properties(${kernel_dir}/backend_avx2.cc PROPERTIES COMPILE_OPTIONS "${kernel_flags};${avx2_flags}")
  set_source_files_properties(${kernel_dir}/backend_avx512.cc PROPERTIES COMPILE_OPTIONS "${kernel_flags};${avx512_flags}")
  set_source_files_properties(${kernel_dir}/backend_generic.cc PROPERTIES COMPILE_OPTIONS "${kernel_flags}")
  set_source_files_properties(${kernel_dir}/simd_probe_avx2_test.cc PROPERTIES COMPILE_OPTIONS "-fno-exceptions;${avx2_flags}")
  set_source_files_properties(${kernel_dir}/simd_probe_avx512_test.cc PROPERTIES COMPILE_OPTIONS "-fno-exceptions;${avx512_flags}")
  # AVX-512 emulated lane by lane for tests; optimised, or the tests would take minutes.
  set_source_files_properties(${kernel_dir}/backend_emulated_test.cc PROPERTIES COMPILE_OPTIONS "-O2;-Wno-psabi")
else()
  # Elsewhere the generic backend is the only one: let it use the CPU's fused multiply-add.
  set_source_files_properties(${kernel_dir}/backend_generic.cc PROPERTIES COMPILE_OPTIONS "${kernel_flags};-ffp-contract=fast")
endif()
assay_not_precompiled(${kernel_dir}/simd_probe_avx2_test.cc ${kernel_dir}/simd_probe_avx512_test.cc ${kernel_dir}/backend_emulated_test.cc)
