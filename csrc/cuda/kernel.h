// A kernel that runs a body: the one that nvcc compiles (queue.h) and that of cells compiled at run time
// (program_source.cpp). What a thread does is the body's, its place in the grid is here.
#pragma once

#include "../math/target.h"
#include "../recurrence/problem.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kWarp = 32;
inline constexpr int kBlock = 128;            // threads of a block
inline constexpr int kBlocks = 4;             // on a processor at least: registers enough that none spills
inline constexpr Index kMostBlocks = 0xffff;  // of a grid, downwards

#if defined(__CUDACC__)
// body(row, unit) for the units of a thread.
template <class Body>
__device__ __forceinline__ void run_thread(Index rows, Index units, const Body& body) {
    const Index unit = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (unit >= units) return;
    const Index step = static_cast<Index>(gridDim.y) * blockDim.y;
#pragma unroll 1  // most threads have one row: more copies of the body would only be code
    for (Index row = static_cast<Index>(blockIdx.y) * blockDim.y + threadIdx.y; row < rows; row += step)
        body(row, unit);
}
#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
