// Passes that run programs over strips (recurrence/program.h), compiled once for all cells that are programs. Not here:
// what an operation computes (operations.h), whether a program is right (recurrence/program_check.h).
#pragma once

#include "../math/target.h"
#include "../recurrence/program.h"
#include "strip.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Of a cell that was found right. What the passes need of it is copied, and stays for ever.
SetPasses make_program_passes(const CellTable& table, const ProgramCell& cell);

// An operation's name and operands; null behind the last.
const char* program_operation(int number, int& operands);

}  // namespace rnnkernels::RNNKERNELS_TARGET
