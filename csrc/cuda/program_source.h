// CUDA C++ made of a program: of each phase one straight-line function, an instruction a statement, and a kernel that
// runs it (program_kernels.h). It says nothing of the cell's name, so that cells of one program have one text. Not
// here: who compiles it (nvrtc.h).
#pragma once

#include <string>

#include "program_cells.h"

namespace rnnkernels::cuda {

// A forward and a backward are compiled one by one, each when it is first called: together they take longer than one
// wants to wait for a first result.
enum class Phases { both, forward, backward, forward_maths, backward_maths };  // `maths`: functions without kernels

// For arithmetic in float64 or, for every other dtype, float32. Names of functions begin with `prefix`, so that several
// cells go into one file.
std::string program_source(const OwnProgram& program, Dtype dtype, const std::string& prefix, Phases phases);

// What stands before it: program_kernels.h and all that it includes, one text that includes nothing but, for a compiler
// that has one, the standard library. Made when this backend is built (cmake/flatten_headers.py), so that the maths
// that cells are compiled with at run time is the one that the others were compiled with.
extern const char* const kProgramPrelude;

// A phase's function in that source, without the prefix: its name in recurrence/program.h.
inline const char* name_of(ProgramPhase phase) { return kProgramPhases[static_cast<int>(phase)]; }

}  // namespace rnnkernels::cuda
