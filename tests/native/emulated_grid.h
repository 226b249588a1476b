// Grid kernels of built-in cells where there is no GPU (grid_machine.h).
#pragma once

#include "cuda/grid/launch.h"
#include "cuda/queue.h"
#include "cuda/resident/two_products_backward_cell_maths.h"
#include "cuda/resident/two_products_cell_maths.h"
#include "grid_machine.h"

namespace rnnkernels::cuda {

// How many backwards there were; tests ask whether a call was served by one (emulated_programs.cpp).
inline int grid_backwards = 0;

template <class Maths, class Call>
void put_grid_emulated(const Queue& queue, const Grid& shape, const Call& call) {
    put(queue, [=] {
        if (std::is_same_v<Call, GridBackwardCall> && call.call.steps > 0) ++grid_backwards;
        if (call.call.a.storage == Dtype::bfloat16)
            run_emulated_grid<Maths, Bfloat16>(shape, call, 1);
        else
            run_emulated_grid<Maths, Float16>(shape, call, 1);
    });
}

template <class Cell>
void put_grid_cell(int, const Queue& queue, const Grid& shape, const GridCall& call) {
    put_grid_emulated<ResidentMathsOf<Cell>>(queue, shape, call);
}
template <class Cell>
void put_grid_cell(int, const Queue& queue, const Grid& shape, const GridBackwardCall& call) {
    put_grid_emulated<ResidentBackwardMathsOf<Cell>>(queue, shape, call);
}

}  // namespace rnnkernels::cuda
