// What a program may do: all of it is checked before one is run, so that none reads or writes what it has not. Each
// throws std::invalid_argument, whose text names the gate or the instruction. Not here: a cell's table (cells.cpp).
#pragma once

#include "set_kernels.h"

namespace rnnkernels::cpu {

// The numbers that a table is made of: gates, weights, states.
void check_gates(const ProgramCell& cell);

void check_programs(const SetKernels& kernels, const CellTable& table, const ProgramCell& cell);

}  // namespace rnnkernels::cpu
