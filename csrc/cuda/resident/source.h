// The CUDA C++ of a resident kernel: of one cell, one shape, one dtype of its arrays, all of them constants. Not here:
// who compiles it (../nvrtc.h), and launches it (launch.h).
#pragma once

#include <string>

#include "../program_cells.h"
#include "backward_geometry.h"

namespace rnnkernels::cuda {

// Of a program or, where that is null, of the number-th built-in cell: the cell's maths, with namespaces left open; and
// all of it. `pair`: for both directions of a layer (pair.h).
std::string resident_maths(int number, const OwnProgram* program);
std::string resident_backward_maths(int number, const OwnProgram* program);
std::string resident_source(int number, const OwnProgram* program, const Resident& shape, Dtype storage,
                            bool pair = false);
std::string resident_backward_source(int number, const OwnProgram* program, const ResidentBackward& shape,
                                     Dtype storage, bool pair = false);
inline constexpr const char* kResidentKernel = "resident_forward";
inline constexpr const char* kResidentBackwardKernel = "resident_backward";

// What stands before it: kernel_headers.h and all that it includes, of a backward backward_kernel_headers.h.
extern const char* const kResidentPrelude;
extern const char* const kResidentBackwardPrelude;

}  // namespace rnnkernels::cuda
