// What a cell contributes to the engines: launches of its bodies, and its table. Compiled in parts, side by side
// (cell_launches.cu).
#pragma once

#include "../recurrence/cell_table.h"
#include "products.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
struct ForwardArrays;
template <class T>
struct BackwardArrays;

// Each puts a body into a queue, for the units of so many rows. Null: the cell has no such phase.
struct Resident;
struct ResidentCall;
struct ResidentBackward;
struct ResidentBackwardCall;
struct Grid;
struct GridCall;
struct GridBackwardCall;

template <class T>
struct CellLaunches {
    using Forward = void (*)(const Queue& queue, Index rows, const ForwardArrays<T>& arrays, const void* program);
    using Backward = void (*)(const Queue& queue, Index rows, const BackwardArrays<T>& arrays, const void* program);

    Forward forward;        // of a cell with two halves: the gates
    Forward forward_state;  // the second half
    Forward feedback;
    Backward backward;        // of a cell with two halves: the state
    Backward backward_gates;  // the second half
    Backward feedback_backward;
    // All steps of a chunk in one kernel (resident/); of float alone.
    void (*resident)(const Queue& queue, const Resident& shape, const ResidentCall& call, const void* program);
    void (*resident_backward)(const Queue& queue, const ResidentBackward& shape, const ResidentBackwardCall& call,
                              const void* program);
    // The same over the whole card (grid/).
    void (*grid)(const Queue& queue, const Grid& shape, const GridCall& call, const void* program);
    void (*grid_backward)(const Queue& queue, const Grid& shape, const GridBackwardCall& call, const void* program);
    const void* program;  // handed to each; null for a built-in cell
};

struct Cell {
    const CellTable* table;
    CellLaunches<float> float32;  // for the halves, too
    CellLaunches<double> float64;

    template <class T>
    const CellLaunches<T>& launches() const {
        if constexpr (sizeof(T) == 4)
            return float32;
        else
            return float64;
    }
};

// A cell whose number, divided by RNNKERNELS_PARTS, leaves `part`.
template <int part>
const Cell& cell_of_part(int cell);

}  // namespace rnnkernels::RNNKERNELS_TARGET
