// What a program may do: all of it is checked before one is run, so that none reads or writes what it has not. Each
// throws std::invalid_argument, whose text names the gate or the instruction. Compiled once for a backend. Not here: a
// cell's table (own_table.h).
#pragma once

#include "cell_table.h"
#include "program.h"

namespace rnnkernels {

// The operations that programs may have: a name and its operands; null behind the last.
using ProgramOperation = const char* (*)(int number, int& operands);

// The numbers that a table is made of: gates, weights, states.
void check_gates(const ProgramCell& cell);

void check_programs(ProgramOperation operation, const CellTable& table, const ProgramCell& cell);

}  // namespace rnnkernels
