// The grid kernel: a chunk of a layer's steps in one cooperative launch (warp.h). Each team of blocks carries every
// so many-th tile of the batch. Compiled at run time for a cell and a shape (source.h), by nvcc where a test looks at
// the machine code.
#pragma once

#include "machine.h"
#include "tiles.h"
#include "two_products_warp.h"

namespace rnnkernels::RNNKERNELS_TARGET {

#if defined(__CUDACC__)

template <Grid shape, class Maths, class Stored>
__device__ __forceinline__ void run_grid(const GridCall& call) {
    const auto machine = GridMachine<shape>::here(call.exchange);
    if constexpr (Maths::exchanges == 2) {
        constexpr Grid gated = shape.second();
        const auto second = GridMachine<gated>::here(call.exchange, shape.kept_words(), shape.sums_begin());
        TwoProductsGridWarp<Maths, Stored, GridMachine<shape>, GridMachine<gated>> warp(machine, second, call.call);
        run_tiles(call, shape, warp, [&](Index t) RNNKERNELS_INLINED {
            warp.multiply(t);
            warp.gates(t);
            warp.multiply_gated(t);
            warp.state(t);
        });
    } else {
        GridWarp<Maths, Stored, GridMachine<shape>> warp(machine, call.call);
        run_tiles(call, shape, warp, [&](Index t) RNNKERNELS_INLINED {
            warp.multiply(t);
            warp.finish(t);
        });
    }
}

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
