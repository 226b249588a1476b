// The resident kernel: a chunk of a layer's steps in one launch (warp.h). A grid of clusters, each for its rows of the
// batch. Compiled at run time for a cell and a shape (source.h), by nvcc where a test looks at the machine code.
#pragma once

#include "machine.h"
#include "pair.h"
#include "two_products_warp.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// h before the first step in the first of a block's buffers, all else of both zero: columns that no unit has are
// multiplied, by weights of 0.
template <class Stored, class Put>
RNNKERNELS_INLINE void fill_buffers(const Resident& shape, const ResidentCall& call, Index tile, Index thread,
                                    Index threads, Put put) {
    for (Index at = thread; at < 2 * shape.buffer(); at += threads) {
        const Index row = tile * shape.cluster_rows() + at / shape.row(), unit = at % shape.row();
        const bool is = at < shape.buffer() && row < call.batch && unit < shape.hidden;
        put(at, is ? Stored::bits(call.a.states[0][row * shape.hidden + unit]) : WordOf<Stored>{0});
    }
}

#if defined(__CUDACC__)

template <Resident shape, class Maths, class Stored>
__device__ __forceinline__ void run_resident(const ResidentCall& call, Index tile) {
    extern __shared__ __align__(16) unsigned char memory[];
    auto* const h = reinterpret_cast<WordOf<Stored>*>(memory + 16);
    const Mailbox mailbox{shared_address(h), shared_address(memory)};
    if (threadIdx.x == 0) mailbox.begin(shape.bytes());
    fill_buffers<Stored>(shape, call, tile, threadIdx.x, blockDim.x,
                         [&](Index at, WordOf<Stored> bits) RNNKERNELS_INLINED { h[at] = bits; });
    const Machine<shape> machine{mailbox, static_cast<int>(blockIdx.x % shape.blocks),
                                 static_cast<int>(threadIdx.x / 32), static_cast<int>(threadIdx.x % 32)};
    WarpOf<Maths, Stored, Machine<shape>> warp(machine, call, tile);
    arrive_cluster();
    wait_cluster();
    const Index exchanges = Maths::exchanges * call.steps;
    for (Index e = 0; e < exchanges; ++e) {
        const unsigned buffer = e & 1;
        if (waits_for(e)) {
            mailbox.wait(buffer, parity_of(e));
            if (threadIdx.x == 0) mailbox.expect(buffer, shape.bytes());
        }
        warp.multiply(buffer);
        warp.step(e, e + 1 == exchanges);
    }
    warp.end();
    arrive_cluster();  // none may leave while others can still send to it
    wait_cluster();
}

// Of one call, or of both directions': a cluster works on rows of one of them.
template <Resident shape, class Maths, class Stored>
__device__ __forceinline__ void run_resident(const ResidentCall& call) {
    run_resident<shape, Maths, Stored>(call, blockIdx.x / shape.blocks);
}
template <Resident shape, class Maths, class Stored>
__device__ __forceinline__ void run_resident(const ResidentPair& pair) {
    const PairPlace at = pair_place(static_cast<int>(blockIdx.x / shape.blocks), pair.clusters);
    run_resident<shape, Maths, Stored>(pair.call[at.call], at.tile);
}

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
