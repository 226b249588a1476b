// How a grid kernel is put into a queue: compiled at run time (launch.cu) or, where there is no GPU, run block by block
// (tests/native/emulated_grid.h).
#pragma once

#include "../../cells/cell.h"
#include "../products.h"
#include "../program_cells.h"
#include "../resident/launch.h"
#include "backward_warp.h"
#include "warp.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Whether grid kernels have the cell's form.
template <class Cell>
inline constexpr bool has_grid = has_resident<Cell> && feedback_count<Cell> == 0;

// Of the number-th built-in cell.
#if defined(RNNKERNELS_EMULATED)
template <class Cell>
void put_grid_cell(int number, const Queue& queue, const Grid& shape, const GridCall& call);
template <class Cell>
void put_grid_cell(int number, const Queue& queue, const Grid& shape, const GridBackwardCall& call);
#else
void put_grid(int number, const Queue& queue, const Grid& shape, const GridCall& call);
void put_grid(int number, const Queue& queue, const Grid& shape, const GridBackwardCall& call);
template <class Cell, class Call>
void put_grid_cell(int number, const Queue& queue, const Grid& shape, const Call& call) {
    put_grid(number, queue, shape, call);
}
#endif
// Of a cell that is a program.
void put_grid(const OwnProgram& program, const Queue& queue, const Grid& shape, const GridCall& call);
void put_grid(const OwnProgram& program, const Queue& queue, const Grid& shape, const GridBackwardCall& call);

// Makes ready what a call will put, of a built-in cell or, where it is not null, of a program: later is too late where
// a stream is recorded. Throws where the card cannot have all of the blocks at once.
void make_grid_ready(int number, const OwnProgram* program, const Grid& shape, Dtype storage);
void make_grid_backward_ready(int number, const OwnProgram* program, const Grid& shape, Dtype storage);

}  // namespace rnnkernels::RNNKERNELS_TARGET
