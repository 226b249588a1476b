// The tiles of the batch that a team of blocks carries through all steps of a chunk, forwards or backwards.
#pragma once

#include "../../recurrence/problem.h"
#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

#if defined(__CUDACC__)

// Every so many-th tile, by a team's warp; step(i) is the i-th that it works on.
template <class Call, class Warp, class Step>
__device__ __forceinline__ void run_tiles(const Call& call, const Grid& shape, Warp& warp, Step step) {
    for (Index tile = blockIdx.x / shape.blocks; tile < call.exchange.tiles; tile += shape.teams) {
        warp.begin(tile);
        for (Index i = 0; i < call.call.steps; ++i) step(i);
        warp.end();
    }
}

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
