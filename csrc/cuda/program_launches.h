// How the phases of a cell that is a program are put into a queue: compiled at run time (compiled_programs.cu) or,
// where there is no GPU, run instruction by instruction (tests/native/emulated_programs.cpp).
#pragma once

#include "program_cells.h"

namespace rnnkernels::cuda {

// `program` stays for ever.
template <class T>
CellLaunches<T> launches_of(const OwnProgram& program);

// Makes ready what a call of the cell on the current device, forwards or backwards, will launch: later is too late
// where a stream is recorded.
void make_ready(const OwnProgram& program, Dtype dtype, bool backward);

}  // namespace rnnkernels::cuda
