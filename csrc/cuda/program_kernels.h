// Kernels of a cell whose maths was made source (program_source.h): a function of the right loads and stores for each
// phase, by its name. Compiled by NVRTC or nvcc they are kernels; compiled for the host they are loops, so that tests
// see the same source where there is no GPU.
#pragma once

#include "standard.h"

#include "kernel.h"
#include "program_bodies.h"

#if defined(__CUDACC__)
#define RNNKERNELS_KERNEL(name, Arrays)                                                                   \
    extern "C" __global__ void __launch_bounds__(::rnnkernels::cuda::kBlock, ::rnnkernels::cuda::kBlocks) \
        name(::rnnkernels::Index rows, ::rnnkernels::Index units, const __grid_constant__ Arrays a)
#else
#define RNNKERNELS_KERNEL(name, Arrays)                                                                              \
    extern "C" __attribute__((visibility("default"))) void name(::rnnkernels::Index rows, ::rnnkernels::Index units, \
                                                                const Arrays& a)
#endif

namespace rnnkernels::RNNKERNELS_TARGET {

#if !defined(__CUDACC__)
template <class Body>
void run_thread(Index rows, Index units, const Body& body) {
    for (Index row = 0; row < rows; ++row)
        for (Index unit = 0; unit < units; ++unit) body(row, unit);
}
#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
