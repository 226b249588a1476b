# rnnkernels_options: the flags every C++ file is compiled with, and the compilers that will do.
# Flags of one instruction set are not here but in InstructionSets.cmake.

if(CMAKE_CXX_COMPILER_ID STREQUAL "MSVC")
  message(FATAL_ERROR
    "rnnkernels uses GCC's and Clang's vector extensions, which Microsoft's cl.exe does not have. "
    "On Windows build it with clang-cl: pip install . -C cmake.args=-TClangCL (Visual Studio with "
    "its Clang component), or set CC and CXX to clang-cl and CMAKE_GENERATOR to Ninja.")
endif()

function(rnnkernels_require_compiler id minimum)
  if(CMAKE_CXX_COMPILER_ID STREQUAL id AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS minimum)
    message(FATAL_ERROR
      "rnnkernels needs a C++20 compiler: gcc 11, clang 14 or Apple clang 14, or a newer one; "
      "found ${id} ${CMAKE_CXX_COMPILER_VERSION} at ${CMAKE_CXX_COMPILER}. "
      "Set the environment variable CXX to choose another.")
  endif()
endfunction()
rnnkernels_require_compiler(GNU 11)
rnnkernels_require_compiler(Clang 14)
rnnkernels_require_compiler(AppleClang 14)

# -ffp-contract=off: a fused multiply-add happens where the source says so and nowhere else, or
# results would depend on what the optimiser of the day fuses. -fno-math-errno and
# -fno-trapping-math change no value; they let the compiler inline and vectorise.
set(rnnkernels_float_flags -ffp-contract=off -fno-math-errno -fno-trapping-math)
set(rnnkernels_warning_flags -Wall -Wextra -Wpedantic)
if(RNNKERNELS_WERROR)
  list(APPEND rnnkernels_warning_flags -Werror)
endif()

add_library(rnnkernels_options INTERFACE)
target_compile_features(rnnkernels_options INTERFACE cxx_std_20)
target_include_directories(rnnkernels_options INTERFACE "${PROJECT_SOURCE_DIR}/csrc")

if(CMAKE_CXX_COMPILER_FRONTEND_VARIANT STREQUAL "MSVC")
  # clang-cl: clang's own spelling of a flag is passed on by /clang:. -Wall would mean everything.
  list(TRANSFORM rnnkernels_float_flags PREPEND "/clang:")
  list(TRANSFORM rnnkernels_warning_flags PREPEND "/clang:")
  target_compile_options(rnnkernels_options INTERFACE /EHsc)
endif()
target_compile_options(rnnkernels_options INTERFACE
  ${rnnkernels_float_flags} ${rnnkernels_warning_flags})

if(RNNKERNELS_SANITIZE)
  set(rnnkernels_sanitize_flags
    -fsanitize=${RNNKERNELS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  # -g1: lines for the traces; all of -g takes a third of the minutes of compiling the cells.
  # Not for a target whose property RNNKERNELS_UNSANITIZED is set.
  set(rnnkernels_unsanitized "$<BOOL:$<TARGET_PROPERTY:RNNKERNELS_UNSANITIZED>>")
  target_compile_options(rnnkernels_options INTERFACE
    "$<$<NOT:${rnnkernels_unsanitized}>:${rnnkernels_sanitize_flags}>" -g1)
  target_link_options(rnnkernels_options INTERFACE ${rnnkernels_sanitize_flags})
  if(RNNKERNELS_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # ThreadSanitizer does not see fences, and GCC warns of each; the accesses around them stand without.
    target_compile_options(rnnkernels_options INTERFACE -Wno-tsan)
  endif()
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
