// The cells that the CPU's backend knows: the built-in ones, and those that came from elsewhere (backend_table.h:
// add_cell). Not here: what a set's engines make of a cell (engine.cpp).
#pragma once

#include <vector>

#include "../backend_table.h"
#include "set_kernels.h"

namespace rnnkernels::cpu {

int cell_count(const std::vector<const SetKernels*>& sets);
const CellInfo& cell_info(const std::vector<const SetKernels*>& sets, int cell);
// Throws std::invalid_argument where add_cell will, for the table's sake or its name's.
void check_new(const std::vector<const SetKernels*>& sets, const CellTable& table);
int add_cell(const std::vector<const SetKernels*>& sets, const CellEntry& entry);
// A cell for a set of these. Throws std::invalid_argument where it has no passes for it.
const SetCell& cell_of_set(const std::vector<const SetKernels*>& sets, int set, int cell);

}  // namespace rnnkernels::cpu
