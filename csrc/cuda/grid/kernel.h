// The grid kernel: a chunk of a layer's steps in one cooperative launch (warp.h). Each team of blocks carries every
// so many-th tile of the batch. Compiled at run time for a cell and a shape (source.h), by nvcc where a test looks at
// the machine code.
#pragma once

#include "machine.h"
#include "warp.h"

namespace rnnkernels::RNNKERNELS_TARGET {

#if defined(__CUDACC__)

template <Grid shape, class Maths, class Stored>
__device__ __forceinline__ void run_grid(const GridCall& call) {
    const auto machine = GridMachine<shape>::here(call.exchange);
    GridWarp<Maths, Stored, GridMachine<shape>> warp(machine, call.call);
    for (Index tile = blockIdx.x / shape.blocks; tile < call.exchange.tiles; tile += shape.teams) {
        warp.begin(tile);
        for (Index t = 0; t < call.call.steps; ++t) {
            warp.multiply(t);
            warp.finish(t);
        }
        warp.end();
    }
}

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
