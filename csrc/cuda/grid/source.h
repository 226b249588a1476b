// The CUDA C++ of a grid kernel: of one cell, one shape, one dtype of its arrays, all of them constants. Not here: who
// compiles it (../nvrtc.h), and launches it (launch.h).
#pragma once

#include <string>

#include "../program_cells.h"
#include "geometry.h"

namespace rnnkernels::cuda {

// Of a program or, where that is null, of the number-th built-in cell.
std::string grid_source(int number, const OwnProgram* program, const Grid& shape, Dtype storage);
std::string grid_backward_source(int number, const OwnProgram* program, const Grid& shape, Dtype storage);
inline constexpr const char* kGridKernel = "grid_forward";
inline constexpr const char* kGridBackwardKernel = "grid_backward";

// What stands before it: kernel_headers.h and all that it includes, of a backward backward_kernel_headers.h.
extern const char* const kGridPrelude;
extern const char* const kGridBackwardPrelude;

}  // namespace rnnkernels::cuda
