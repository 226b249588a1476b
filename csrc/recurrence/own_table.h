// The table of a cell that came at run time, kept: with copies of all names that it points at. Compiled once for a
// backend. Not here: a backend's list of them (cpu/cells.h, cuda/program_cells.h).
#pragma once

#include <deque>
#include <string>

#include "cell_table.h"

namespace rnnkernels {

// Throws std::invalid_argument where an engine could not rely on the table. One that passes can still describe another
// cell than its passes run: nobody sees that.
void check_table(const CellTable& table);

// It is never moved: the table points at its names.
struct OwnTable {
    explicit OwnTable(const CellTable& of);
    OwnTable(const OwnTable&) = delete;
    OwnTable& operator=(const OwnTable&) = delete;

    CellTable table;

private:
    const char* keep(const char* name) { return names_.emplace_back(name ? name : "").c_str(); }

    std::deque<std::string> names_;
};

}  // namespace rnnkernels
