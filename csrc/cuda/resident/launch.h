// How a resident kernel is put into a queue: compiled at run time (launch.cu) or, where there is no GPU, run warp by
// warp (tests/native/emulated_resident.h).
#pragma once

#include "../../cells/cell.h"
#include "../products.h"
#include "../program_cells.h"
#include "backward_geometry.h"
#include "backward_maths.h"
#include "maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Whether resident kernels have the cell's form.
template <class Cell>
inline constexpr bool has_resident = !projected<Cell> && !normalised<Cell> && hidden_gates<Cell>.count > 0;

// Of the number-th built-in cell.
#if defined(RNNKERNELS_EMULATED)
template <class Cell>
void put_resident_cell(int number, const Queue& queue, const Resident& shape, const ResidentCall& call);
template <class Cell>
void put_resident_backward_cell(int number, const Queue& queue, const ResidentBackward& shape,
                                const ResidentBackwardCall& call);
#else
void put_resident(int number, const Queue& queue, const Resident& shape, const ResidentCall& call);
template <class Cell>
void put_resident_cell(int number, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    put_resident(number, queue, shape, call);
}
void put_resident_backward(int number, const Queue& queue, const ResidentBackward& shape,
                           const ResidentBackwardCall& call);
template <class Cell>
void put_resident_backward_cell(int number, const Queue& queue, const ResidentBackward& shape,
                                const ResidentBackwardCall& call) {
    put_resident_backward(number, queue, shape, call);
}
#endif
// Of a cell that is a program.
void put_resident(const OwnProgram& program, const Queue& queue, const Resident& shape, const ResidentCall& call);
void put_resident_backward(const OwnProgram& program, const Queue& queue, const ResidentBackward& shape,
                           const ResidentBackwardCall& call);

// Makes ready what a call will put, of a built-in cell or, where it is not null, of a program: later is too late where
// a stream is recorded. `pair`: the kernel of both directions, which a queue with a pair puts (pair.h).
void make_resident_ready(int number, const OwnProgram* program, const Resident& shape, Dtype storage, bool pair);
void make_resident_backward_ready(int number, const OwnProgram* program, const ResidentBackward& shape, Dtype storage,
                                  bool pair);

}  // namespace rnnkernels::RNNKERNELS_TARGET
