// The resident kernel: a chunk of a layer's steps in one launch (warp.h). A grid of clusters, each for its rows of the
// batch. Compiled at run time for a cell and a shape (source.h), by nvcc where a test looks at the machine code.
#pragma once

#include "machine.h"
#include "pair.h"
#include "two_products_warp.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// What comes to each block with an exchange in a buffer: with h the vectors that are fed back, with the gated state
// none.
template <class Maths>
RNNKERNELS_DEVICE constexpr int bytes_in(const Resident& shape, int buffer) {
    return shape.bytes() * (Maths::exchanges == 2 && buffer == 1 ? 1 : 1 + shape.vectors);
}

// A vector that is fed back, before the first step.
template <class Maths>
RNNKERNELS_INLINE float first_fed(const ResidentCall& call, int which, Index row, Index unit) {
    Vec<float> now[Maths::states], fed[Maths::vectors > 0 ? Maths::vectors : 1];
    RNNKERNELS_IN_REGISTERS
    for (int k = 0; k < Maths::state_count(call); ++k)
        now[k] = Vec<float>(call.a.states[k][row * call.a.hidden + unit]);
    Maths::feed(call, call.first(0) + row, row, unit, now, fed);
    float found = 0;
    RNNKERNELS_IN_REGISTERS
    for (int k = 0; k < Maths::vectors; ++k)
        if (k == which) found = fed[k].raw;
    return found;
}

// A value as the first step multiplies it.
RNNKERNELS_INLINE float first_operand(const Resident& shape, const ResidentCall& call, Index row, Index unit,
                                      float value) {
    if (!(shape.masks & kDrops)) return value;
    return row < call.count(0) ? value * call.masks.factor(call.masks.drops(call.a.first + row, unit)) : 0.0F;
}

// h and the vectors before the first step in the first of a block's buffers, all else of both zero: columns that no
// unit has are multiplied, by weights of 0.
template <class Maths, class Stored, class Put>
RNNKERNELS_INLINE void fill_buffers(const Resident& shape, const ResidentCall& call, Index tile, Index thread,
                                    Index threads, Put put) {
    for (Index at = thread; at < 2 * shape.buffer(); at += threads) {
        const Index row = tile * shape.cluster_rows() + at / shape.row(), column = at % shape.row();
        const Index section = shape.vectors > 0 ? column / shape.section() : 0,
                    unit = column - section * shape.section();
        const bool is = at < shape.buffer() && row < call.batch && unit < shape.hidden;
        if constexpr (Maths::vectors > 0) {
            if (section > 0) {
                const bool fed = is && section <= shape.vectors && row < call.count(0);
                put(at,
                    fed ? Stored::bits(first_operand(shape, call, row, unit,
                                                     first_fed<Maths>(call, static_cast<int>(section) - 1, row, unit)))
                        : WordOf<Stored>{0});
                continue;
            }
        }
        put(at, is ? Stored::bits(first_operand(shape, call, row, unit, call.a.states[0][row * shape.hidden + unit]))
                   : WordOf<Stored>{0});
    }
}

#if defined(__CUDACC__)

template <Resident shape, class Maths, class Stored>
__device__ __forceinline__ void run_resident(const ResidentCall& call, Index tile) {
    extern __shared__ __align__(16) unsigned char memory[];
    auto* const h = reinterpret_cast<WordOf<Stored>*>(memory + 16);
    const Mailbox mailbox{shared_address(h), shared_address(memory)};
    if (threadIdx.x == 0) mailbox.begin(bytes_in<Maths>(shape, 0), bytes_in<Maths>(shape, 1));
    fill_buffers<Maths, Stored>(shape, call, tile, threadIdx.x, blockDim.x,
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
            if (threadIdx.x == 0) mailbox.expect(buffer, bytes_in<Maths>(shape, static_cast<int>(buffer)));
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
