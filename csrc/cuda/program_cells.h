// Cells that are programs (recurrence/program.h), on a GPU: a list that only grows, and what is kept of each. Not here:
// how one runs (program_launches.h), its source (program_source.h).
#pragma once

#include <string>
#include <vector>

#include "../recurrence/own_table.h"
#include "../recurrence/program.h"
#include "cell_launches.h"
#include "layout.h"

namespace rnnkernels::cuda {

using ProgramOperand = ::rnnkernels::Operand;  // cells/ have another Operand

// Of one phase: its instructions, and what they read of memory before all else and leave there after it.
struct OwnPhase {
    std::vector<Instruction> instructions;
    int registers = 0;
    std::vector<ProgramOperand> reads, writes;
};

struct OwnProgram {
    OwnProgram(const CellTable& table, const ProgramCell& cell);

    OwnTable own;
    Layout layout;
    std::vector<double> constants;
    OwnPhase phases[kProgramPhaseCount];

    const CellTable& table() const { return own.table; }
};

// An operation's name and operands; null behind the last.
const char* program_operation(int number, int& operands);

int program_count();
// The number-th; it is never moved.
const Cell& program_cell(int number);
const OwnProgram& program_of(int number);
// As Backend::add_program; the number is that of the list.
int add_program(const ProgramCell& cell);

}  // namespace rnnkernels::cuda
