# RNNKERNELS_SETS: the instruction sets to compile, slowest first, and rnnkernels_flags_<set>.
# To add one: its processor's line, its flags, csrc/math/vec_<set>.h.

set(rnnkernels_flags_scalar $<$<CONFIG:Release>:-O2>)  # nobody's fast path: it compiles in two thirds of the time
set(rnnkernels_flags_avx2 -mavx2 -mfma)
set(rnnkernels_flags_avx512
  -mavx2 -mfma -mavx512f -mavx512vl -mavx512dq -mavx512bw)
set(rnnkernels_flags_neon "")  # part of every arm64 processor
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # On arm64 GCC orders instructions before it gives out registers, and clones functions for constant
  # arguments; either leaves accumulators of the register tile on the stack (seen with GCC 12.2).
  set(rnnkernels_flags_neon -fno-schedule-insns -fno-ipa-cp-clone)
endif()

# The compiler is asked what it compiles for: CMAKE_SYSTEM_PROCESSOR names the machine that runs
# CMake, which is another one when cross-compiling and may be on macOS.
include(CheckCXXSourceCompiles)
list(LENGTH CMAKE_OSX_ARCHITECTURES rnnkernels_architectures)
if(rnnkernels_architectures GREATER 1)
  message(FATAL_ERROR
    "rnnkernels compiles for one processor at a time, CMAKE_OSX_ARCHITECTURES names several: "
    "${CMAKE_OSX_ARCHITECTURES}. Build each and join them with delocate-merge.")
endif()
check_cxx_source_compiles("
  #if !defined(__x86_64__) && !defined(_M_X64)
  #error another processor
  #endif
  int main() { return 0; }" RNNKERNELS_TARGET_IS_X86_64)
check_cxx_source_compiles("
  #if !defined(__aarch64__) && !defined(_M_ARM64)
  #error another processor
  #endif
  int main() { return 0; }" RNNKERNELS_TARGET_IS_ARM64)

if(RNNKERNELS_TARGET_IS_X86_64)
  set(rnnkernels_possible scalar avx2 avx512)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC clears and copies a struct of some hundred bytes by `rep stos` and `rep movs`, which take some 30 cycles to
    # start. Vectors do it in a few: a call of one step at H 8 takes 30 of 244 ns less (EPYC Zen 4).
    set(rnnkernels_by_vectors vector_loop:2048:noalign,libcall:-1:noalign)
    target_compile_options(rnnkernels_options INTERFACE
      $<$<COMPILE_LANGUAGE:CXX>:-mmemset-strategy=${rnnkernels_by_vectors}>
      $<$<COMPILE_LANGUAGE:CXX>:-mmemcpy-strategy=${rnnkernels_by_vectors}>)
  endif()
elseif(RNNKERNELS_TARGET_IS_ARM64)
  set(rnnkernels_possible scalar neon)
else()
  set(rnnkernels_possible scalar)
endif()

if(RNNKERNELS_INSTRUCTION_SETS STREQUAL "AUTO")
  set(RNNKERNELS_SETS ${rnnkernels_possible})
else()
  set(RNNKERNELS_SETS "")
  foreach(set IN LISTS RNNKERNELS_INSTRUCTION_SETS)
    if(NOT set IN_LIST rnnkernels_possible)
      message(FATAL_ERROR
        "RNNKERNELS_INSTRUCTION_SETS names '${set}'; this compiler's target has: "
        "${rnnkernels_possible}")
    endif()
  endforeach()
  foreach(set IN LISTS rnnkernels_possible)  # keeps the order, drops repeats
    if(set IN_LIST RNNKERNELS_INSTRUCTION_SETS)
      list(APPEND RNNKERNELS_SETS ${set})
    endif()
  endforeach()
  if(NOT "scalar" IN_LIST RNNKERNELS_SETS)
    message(FATAL_ERROR "RNNKERNELS_INSTRUCTION_SETS must contain 'scalar': every machine has it.")
  endif()
endif()
message(STATUS "rnnkernels: instruction sets ${RNNKERNELS_SETS}")

# Kernels for products in low precision (csrc/cpu/low/), beside a set's engines: a file each, with the set's flags and its
# own. Only those that the compiler knows the instructions of.
include(CheckCXXCompilerFlag)
set(rnnkernels_low_scalar scalar)
set(rnnkernels_low_avx2 avx2)
set(rnnkernels_low_avx512 avx512)
set(rnnkernels_low_neon neon)
function(rnnkernels_low set name)  # ARGN: its flags
  string(MAKE_C_IDENTIFIER "RNNKERNELS_KNOWS_${ARGN}" knows)
  check_cxx_compiler_flag("${ARGN}" ${knows})
  if(${knows})
    set(rnnkernels_low_${set} ${rnnkernels_low_${set}} ${name} PARENT_SCOPE)
    set(rnnkernels_low_flags_${name} ${ARGN} PARENT_SCOPE)
  endif()
endfunction()
if(RNNKERNELS_TARGET_IS_X86_64)
  rnnkernels_low(avx2 avx_vnni -mavxvnni)
  rnnkernels_low(avx2 avx512_vnni_256 -mavx512vnni)
  list(APPEND rnnkernels_low_flags_avx512_vnni_256 -mavx512vl)
  rnnkernels_low(avx512 avx512_vnni -mavx512vnni)
  rnnkernels_low(avx512 avx512_bf16 -mavx512bf16)
  rnnkernels_low(avx512 avx512_amx -mamx-bf16)
  list(APPEND rnnkernels_low_flags_avx512_amx -mamx-int8 -mamx-tile)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 warns of its own header.
    list(APPEND rnnkernels_low_flags_avx512_vnni -Wno-maybe-uninitialized)
    list(APPEND rnnkernels_low_flags_avx512_amx -Wno-maybe-uninitialized)
  endif()
elseif(RNNKERNELS_TARGET_IS_ARM64)
  rnnkernels_low(neon neon_dot -march=armv8.2-a+dotprod)
  rnnkernels_low(neon neon_bf16 -march=armv8.2-a+bf16)
endif()
