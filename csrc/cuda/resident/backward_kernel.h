// The resident backward: a chunk of a layer's steps in one launch (backward_warp.h), a grid of clusters, each for its
// rows of the batch. Compiled at run time for a cell and a shape (source.h).
#pragma once

#include "backward_machine.h"
#include "pair.h"
#include "two_products_backward_warp.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Which buffer an exchange uses: that of parts and, of the e-th from the end, that of gate gradients.
RNNKERNELS_DEVICE constexpr int backward_buffer(long long e) { return static_cast<int>(e & 1); }
// The number of the phase in which the gate gradients of the e-th exchange from the end come: even or odd.
RNNKERNELS_DEVICE constexpr unsigned gradients_parity(long long e) { return static_cast<unsigned>(e & 1); }

#if defined(__CUDACC__)

template <ResidentBackward shape, class Maths, class Stored>
__device__ __forceinline__ void run_resident_backward(const ResidentBackwardCall& call, Index tile) {
    extern __shared__ __align__(16) unsigned char memory[];
    const BackwardMailbox mailbox{{shared_address(memory + shape.parts_begin()), shared_address(memory)},
                                  shared_address(memory + shape.gradients_begin())};
    if (threadIdx.x == 0)
        mailbox.begin(bytes_in(shape, Maths::exchanges, 0), bytes_in(shape, Maths::exchanges, 1), shape.of.warps);
    const BackwardMachine<shape> machine{mailbox, static_cast<int>(blockIdx.x % shape.of.blocks),
                                         static_cast<int>(threadIdx.x / 32), static_cast<int>(threadIdx.x % 32)};
    BackwardWarpOf<Maths, Stored, BackwardMachine<shape>> warp(machine, call, tile);
    arrive_cluster();
    wait_cluster();
    const Index exchanges = Maths::exchanges * call.steps;
    for (Index e = 0;; ++e) {
        const int buffer = backward_buffer(e);
        if (waits_for(e)) {
            mailbox.parts.wait(buffer, parity_of(e));
            if (threadIdx.x == 0) mailbox.parts.expect(buffer, bytes_in(shape, Maths::exchanges, buffer));
            warp.sum(buffer);
        }
        if (e == exchanges) break;
        warp.step(exchanges - 1 - e, buffer);
        mailbox.parts.wait(kGradientsBarrier, gradients_parity(e));
        warp.multiply(buffer, backward_buffer(e + 1));
    }
    warp.end();
    arrive_cluster();  // none may leave while others can still send to it
    wait_cluster();
}

// Of one call, or of both directions': a cluster works on rows of one of them.
template <ResidentBackward shape, class Maths, class Stored>
__device__ __forceinline__ void run_resident_backward(const ResidentBackwardCall& call) {
    run_resident_backward<shape, Maths, Stored>(call, blockIdx.x / shape.of.blocks);
}
template <ResidentBackward shape, class Maths, class Stored>
__device__ __forceinline__ void run_resident_backward(const ResidentBackwardPair& pair) {
    const PairPlace at = pair_place(static_cast<int>(blockIdx.x / shape.of.blocks), pair.clusters);
    run_resident_backward<shape, Maths, Stored>(pair.call[at.call], at.tile);
}

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
