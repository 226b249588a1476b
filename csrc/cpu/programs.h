// Cells that are programs (recurrence/program.h), on the CPU: their way into the list of cells (cells.h).
// Not here: what a program may do (recurrence/program_check.h), how it runs (passes/program_pass.h).
#pragma once

#include <vector>

#include "set_kernels.h"

namespace rnnkernels::cpu {

int add_program(const std::vector<const SetKernels*>& sets, const ProgramCell& cell);

}  // namespace rnnkernels::cpu
