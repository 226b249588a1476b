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
    extern __shared__ __align__(16) unsigned char memory[];
    const GridMachine<shape> machine{call,
                                     reinterpret_cast<uint4*>(memory),
                                     reinterpret_cast<float*>(memory) + shape.kept_words(),
                                     static_cast<int>(blockIdx.x % shape.blocks),
                                     static_cast<int>(threadIdx.x / 32),
                                     static_cast<int>(threadIdx.x % 32)};
    GridWarp<Maths, Stored, GridMachine<shape>> warp(machine, call.call);
    for (Index tile = blockIdx.x / shape.blocks; tile < call.tiles; tile += shape.teams) {
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
