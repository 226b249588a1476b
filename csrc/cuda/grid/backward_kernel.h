// The grid backward: a chunk of a layer's steps in one cooperative launch (backward_warp.h). Each team of blocks
// carries every so many-th tile of the batch. Compiled at run time for a cell and a shape (source.h), by nvcc where a
// test looks at the machine code.
#pragma once

#include "backward_warp.h"
#include "machine.h"

namespace rnnkernels::RNNKERNELS_TARGET {

#if defined(__CUDACC__)

template <Grid shape, class Maths, class Stored>
__device__ __forceinline__ void run_grid_backward(const GridBackwardCall& call) {
    const auto machine = GridMachine<shape>::here(call.exchange);
    GridBackwardWarp<Maths, Stored, GridMachine<shape>> warp(machine, call.call);
    for (Index tile = blockIdx.x / shape.blocks; tile < call.exchange.tiles; tile += shape.teams) {
        warp.begin(tile);
        for (Index e = 0; e < call.call.steps; ++e) {
            warp.step(e);
            warp.multiply(e);
            warp.sum();
        }
        warp.end();
    }
}

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
