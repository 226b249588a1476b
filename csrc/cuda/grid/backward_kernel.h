// The grid backward: a chunk of a layer's steps in one cooperative launch (backward_warp.h,
// two_products_backward_warp.h). Each team of blocks carries every so many-th tile of the batch. Compiled at run time
// for a cell and a shape (source.h), by nvcc where a test looks at the machine code.
#pragma once

#include "machine.h"
#include "tiles.h"
#include "two_products_backward_warp.h"

namespace rnnkernels::RNNKERNELS_TARGET {

#if defined(__CUDACC__)

template <Grid shape, class Maths, class Stored>
__device__ __forceinline__ void run_grid_backward(const GridBackwardCall& call) {
    const auto machine = GridMachine<shape>::here(call.exchange);
    if constexpr (Maths::exchanges == 2) {
        constexpr Grid gated = shape.second();
        const auto second = GridMachine<gated>::here(call.exchange, shape.kept_words(), shape.sums_begin());
        TwoProductsGridBackwardWarp<Maths, Stored, GridMachine<shape>, GridMachine<gated>> warp(machine, second,
                                                                                                call.call);
        run_tiles(call, shape, warp, [&](Index e) RNNKERNELS_INLINED {
            warp.state(e);
            warp.multiply_gated(e);
            warp.gates(e);
            warp.multiply(e);
            warp.sum();
        });
    } else {
        GridBackwardWarp<Maths, Stored, GridMachine<shape>> warp(machine, call.call);
        run_tiles(call, shape, warp, [&](Index e) RNNKERNELS_INLINED {
            warp.step(e);
            warp.multiply(e);
            warp.sum();
        });
    }
}

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
