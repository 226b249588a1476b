// The table of a cell that is a program: the run-time twin of table_of.h. Compiled once for a backend.
#pragma once

#include "cell_table.h"
#include "program.h"

namespace rnnkernels {

// Of gates that are right (program_check.h: check_gates). Its names are the cell's own.
CellTable table_of(const ProgramCell& cell);

}  // namespace rnnkernels
