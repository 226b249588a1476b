// The way of a program into the CPU's list of cells: checked, then passes for every set.
#include "programs.h"

#include "../recurrence/program_check.h"
#include "../recurrence/program_table.h"
#include "cells.h"

namespace rnnkernels::cpu {

int add_program(const std::vector<const SetKernels*>& sets, const ProgramCell& cell) {
    check_gates(cell);
    const CellTable table = table_of(cell);
    check_new(sets, table);  // before passes are made, which stay for ever
    check_programs(sets[0]->program_operation, table, cell);
    auto* const of_sets = new std::vector<CellEntry::OfSet>;  // passes stay for ever (backend_table.h)
    for (const SetKernels* set : sets) of_sets->push_back({set->name, set->program_passes(table, cell)});
    return add_cell(sets, {kStripVersion, &table, static_cast<int>(of_sets->size()), of_sets->data()});
}

}  // namespace rnnkernels::cpu
