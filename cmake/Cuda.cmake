# The CUDA backend: the module `_cuda`, from the same csrc/binding/. For tests without a GPU the same code, run by the CPU, as
# the module `_cuda_emulated` (tests/native/emulated_device.cpp).
#
# RNNKERNELS_CUDA: ON builds it or fails; OFF does not; AUTO builds it where there are both nvcc and a GPU, since compiling
# every cell for every architecture takes long. What was decided is said, and rnnkernels.backends() says it at run time.
# Nothing of cuBLAS is needed here: it is found when it is first used (csrc/cuda/cublas.cpp).

set(RNNKERNELS_CUDA "AUTO" CACHE STRING "Build the CUDA backend: AUTO, ON or OFF")
set(RNNKERNELS_CUDA_ARCHITECTURES "AUTO" CACHE STRING
    "GPU architectures: AUTO (this machine's GPU, else RELEASE), RELEASE, or a list as CMAKE_CUDA_ARCHITECTURES has it")
option(RNNKERNELS_CUDA_EMULATED "Build _cuda_emulated: the CUDA backend's code run by the CPU, for tests" OFF)
set_property(CACHE RNNKERNELS_CUDA PROPERTY STRINGS AUTO ON OFF)

# Of a release, one PTX for all: the sources ask for nothing that a later architecture has, so that nvcc would make the same
# text of them again for each, which is most of its time. A cubin runs on every later minor version of its major one, the
# PTX on what comes after.
set(rnnkernels_release_ptx 75)
set(rnnkernels_release_cubins 75 80 86 89 90 100 120)

# Cells' bodies are compiled in parts, side by side.
set(rnnkernels_cuda_parts 3)
math(EXPR rnnkernels_last_cuda_part "${rnnkernels_cuda_parts} - 1")

set(rnnkernels_device_binding
  ${rnnkernels_binding} csrc/binding/device_array.cpp csrc/binding/device_module.cpp
  csrc/binding/device_prepared.cpp)

# Cells that are programs, and the source that what is made of them stands on, as a string (csrc/cuda/program_source.h).
file(GLOB rnnkernels_prelude_headers CONFIGURE_DEPENDS
  csrc/math/*.h csrc/recurrence/*.h csrc/passes/*.h csrc/cells/*.h csrc/cuda/*.h csrc/cuda/resident/*.h csrc/cuda/grid/*.h)
function(rnnkernels_prelude file header name)
  add_custom_command(
    OUTPUT "${file}"
    COMMAND "${Python_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/cmake/flatten_headers.py"
      "${PROJECT_SOURCE_DIR}/${header}" rnnkernels::cuda ${name} cuda "${file}"
    DEPENDS cmake/flatten_headers.py ${rnnkernels_prelude_headers}
    VERBATIM)
endfunction()
set(rnnkernels_program_prelude "${CMAKE_CURRENT_BINARY_DIR}/program_prelude.cpp")
set(rnnkernels_resident_prelude "${CMAKE_CURRENT_BINARY_DIR}/resident_prelude.cpp")
rnnkernels_prelude("${rnnkernels_program_prelude}" csrc/cuda/program_kernels.h kProgramPrelude)
rnnkernels_prelude("${rnnkernels_resident_prelude}" csrc/cuda/resident/kernel_headers.h kResidentPrelude)
set(rnnkernels_resident_backward_prelude "${CMAKE_CURRENT_BINARY_DIR}/resident_backward_prelude.cpp")
rnnkernels_prelude("${rnnkernels_resident_backward_prelude}" csrc/cuda/resident/backward_kernel_headers.h kResidentBackwardPrelude)
set(rnnkernels_grid_prelude "${CMAKE_CURRENT_BINARY_DIR}/grid_prelude.cpp")
rnnkernels_prelude("${rnnkernels_grid_prelude}" csrc/cuda/grid/kernel_headers.h kGridPrelude)
set(rnnkernels_grid_backward_prelude "${CMAKE_CURRENT_BINARY_DIR}/grid_backward_prelude.cpp")
rnnkernels_prelude("${rnnkernels_grid_backward_prelude}" csrc/cuda/grid/backward_kernel_headers.h kGridBackwardPrelude)
set(rnnkernels_cuda_programs
  csrc/cuda/grid/coverage.cpp csrc/cuda/grid/source.cpp "${rnnkernels_grid_prelude}" "${rnnkernels_grid_backward_prelude}"
  csrc/cuda/resident/coverage.cpp csrc/cuda/resident/source.cpp "${rnnkernels_resident_prelude}" "${rnnkernels_resident_backward_prelude}"
  csrc/cuda/nvrtc.cpp csrc/cuda/program_cells.cpp csrc/cuda/program_source.cpp ${rnnkernels_run_time_cells} "${rnnkernels_program_prelude}")

set(rnnkernels_has_gpu FALSE)
if(EXISTS /proc/driver/nvidia/version OR EXISTS /dev/nvidiactl OR EXISTS /dev/dxg)
  set(rnnkernels_has_gpu TRUE)
endif()

set(rnnkernels_release_flags "")
set(rnnkernels_build_cuda FALSE)
if(RNNKERNELS_CUDA STREQUAL "ON" OR (RNNKERNELS_CUDA STREQUAL "AUTO" AND rnnkernels_has_gpu))
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(rnnkernels_build_cuda TRUE)
  elseif(RNNKERNELS_CUDA STREQUAL "ON")
    message(FATAL_ERROR "RNNKERNELS_CUDA is ON and there is no nvcc: set CUDACXX, or -D RNNKERNELS_CUDA=OFF")
  endif()
elseif(NOT RNNKERNELS_CUDA MATCHES "^(AUTO|OFF)$")
  message(FATAL_ERROR "RNNKERNELS_CUDA: expected AUTO, ON or OFF, got '${RNNKERNELS_CUDA}'")
endif()

if(rnnkernels_build_cuda)
  if(RNNKERNELS_CUDA_ARCHITECTURES STREQUAL "RELEASE" OR
     (RNNKERNELS_CUDA_ARCHITECTURES STREQUAL "AUTO" AND NOT rnnkernels_has_gpu))
    list(TRANSFORM rnnkernels_release_cubins PREPEND "sm_" OUTPUT_VARIABLE cubins)
    list(JOIN cubins "," cubins)
    set(CMAKE_CUDA_ARCHITECTURES OFF)
    set(rnnkernels_release_flags
      "--generate-code=arch=compute_${rnnkernels_release_ptx},code=[compute_${rnnkernels_release_ptx},${cubins}]")
  elseif(RNNKERNELS_CUDA_ARCHITECTURES STREQUAL "AUTO")
    set(CMAKE_CUDA_ARCHITECTURES native)
  else()
    set(CMAKE_CUDA_ARCHITECTURES ${RNNKERNELS_CUDA_ARCHITECTURES})
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13.0)
    message(FATAL_ERROR "rnnkernels' CUDA backend needs nvcc 13.0 or a newer one, found ${CMAKE_CUDA_COMPILER_VERSION}")
  endif()

  # --fmad=false: as -ffp-contract=off, a fused multiply-add happens where the source says so.
  set(rnnkernels_cuda_flags --fmad=false --expt-relaxed-constexpr --compress-mode=size ${rnnkernels_release_flags})
  if(RNNKERNELS_WERROR)
    # A spilled register or an array in local memory is an error as well.
    list(APPEND rnnkernels_cuda_flags -Werror all-warnings -Xptxas --warn-on-spills,--warn-on-local-memory-usage)
  endif()
  add_library(rnnkernels_cuda_options INTERFACE)
  target_compile_definitions(rnnkernels_cuda_options INTERFACE
    RNNKERNELS_TARGET=cuda RNNKERNELS_PARTS=${rnnkernels_cuda_parts})
  target_include_directories(rnnkernels_cuda_options INTERFACE
    "${PROJECT_SOURCE_DIR}/csrc" ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  target_compile_options(rnnkernels_cuda_options INTERFACE
    "$<$<COMPILE_LANGUAGE:CUDA>:${rnnkernels_cuda_flags}>")

  add_library(rnnkernels_cuda OBJECT
    csrc/cuda/backend.cpp csrc/cuda/cards.cpp csrc/cuda/check.cpp csrc/cuda/compiled_programs.cu csrc/cuda/cublas.cpp csrc/cuda/device.cpp csrc/cuda/drop.cu
    csrc/cuda/engines.cu csrc/cuda/graph.cpp csrc/cuda/graph_cache.cpp csrc/cuda/loaded.cpp csrc/cuda/plan.cpp csrc/cuda/reference.cu
    csrc/cuda/overlap.cpp csrc/cuda/sides.cpp csrc/cuda/sources.cpp csrc/cuda/together.cpp
    csrc/cuda/grid/launch.cu csrc/cuda/resident/launch.cu csrc/cuda/resident/occupancy.cu
    ${rnnkernels_cuda_programs})
  target_link_libraries(rnnkernels_cuda PRIVATE rnnkernels_cuda_options)
  set(rnnkernels_cuda_libraries rnnkernels_cuda)
  foreach(part RANGE ${rnnkernels_last_cuda_part})
    add_library(rnnkernels_cuda_${part} OBJECT csrc/cuda/cell_launches.cu)
    target_compile_definitions(rnnkernels_cuda_${part} PRIVATE RNNKERNELS_PART=${part})
    target_link_libraries(rnnkernels_cuda_${part} PRIVATE rnnkernels_cuda_options)
    list(APPEND rnnkernels_cuda_libraries rnnkernels_cuda_${part})
  endforeach()

  pybind11_add_module(_cuda MODULE NO_EXTRAS
    ${rnnkernels_device_binding})
  target_compile_definitions(_cuda PRIVATE RNNKERNELS_MODULE=_cuda RNNKERNELS_DEVICE_ARRAYS=1)
  target_link_libraries(_cuda PRIVATE
    rnnkernels_options rnnkernels_cuda_options ${rnnkernels_cuda_libraries} ${CMAKE_DL_LIBS})
  rnnkernels_module(_cuda)
  install(TARGETS _cuda LIBRARY DESTINATION rnnkernels COMPONENT python)
  if(CMAKE_CUDA_ARCHITECTURES)
    message(STATUS "rnnkernels: CUDA backend for ${CMAKE_CUDA_ARCHITECTURES}")
  else()
    message(STATUS "rnnkernels: CUDA backend for ${rnnkernels_release_cubins}")
  endif()
else()
  message(STATUS "rnnkernels: no CUDA backend (RNNKERNELS_CUDA is ${RNNKERNELS_CUDA})")
endif()

if(RNNKERNELS_CUDA_EMULATED)
  add_library(rnnkernels_cuda_emulated OBJECT
    ${rnnkernels_cuda_programs} tests/native/emulated_engines.cpp tests/native/emulated_programs.cpp)
  set(rnnkernels_emulated_libraries rnnkernels_cuda_emulated)
  foreach(part RANGE ${rnnkernels_last_cuda_part})
    add_library(rnnkernels_cuda_emulated_${part} OBJECT tests/native/emulated_cells.cpp)
    target_compile_definitions(rnnkernels_cuda_emulated_${part} PRIVATE RNNKERNELS_PART=${part})
    list(APPEND rnnkernels_emulated_libraries rnnkernels_cuda_emulated_${part})
  endforeach()
  pybind11_add_module(_cuda_emulated MODULE NO_EXTRAS EXCLUDE_FROM_ALL
    ${rnnkernels_device_binding} csrc/cuda/backend.cpp csrc/cuda/cards.cpp csrc/cuda/graph_cache.cpp csrc/cuda/plan.cpp
    csrc/cuda/overlap.cpp csrc/cuda/sources.cpp csrc/cuda/together.cpp tests/native/emulated_device.cpp)
  target_compile_definitions(_cuda_emulated PRIVATE
    RNNKERNELS_MODULE=_cuda_emulated RNNKERNELS_DEVICE_ARRAYS=1 RNNKERNELS_CHUNK_BYTES=98304)
  foreach(library IN LISTS rnnkernels_emulated_libraries ITEMS _cuda_emulated)
    target_compile_definitions(${library} PRIVATE
      RNNKERNELS_TARGET=cuda RNNKERNELS_PARTS=${rnnkernels_cuda_parts} RNNKERNELS_EMULATED=1)
    target_link_libraries(${library} PRIVATE rnnkernels_options)
    # Nobody times it: compiled in half the time.
    target_compile_options(${library} PRIVATE -O1)
  endforeach()
  target_link_libraries(_cuda_emulated PRIVATE ${rnnkernels_emulated_libraries} ${CMAKE_DL_LIBS})
  rnnkernels_module(_cuda_emulated)
endif()
