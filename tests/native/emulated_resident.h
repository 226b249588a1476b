// Resident kernels of built-in cells where there is no GPU (resident_machine.h).
#pragma once

#include "cuda/queue.h"
#include "cuda/resident/launch.h"
#include "cuda/resident/pair.h"
#include "cuda/resident/two_products_backward_cell_maths.h"
#include "cuda/resident/two_products_cell_maths.h"
#include "resident_backward_machine.h"
#include "resident_machine.h"

namespace rnnkernels::cuda {

// How many there were; tests ask whether a call was served by one (emulated_programs.cpp).
inline int resident_forwards = 0, resident_backwards = 0;

template <class Maths>
void put_emulated(const Queue& queue, const Resident& shape, const ResidentCall& call) {
    ResidentPair pair{{call, call}, 0, false, false};
    if (queue.pair) pair = queue.pair->with(shape, call);
    pair.call[0].program = call.program;
    const int clusters = pair.clusters + clusters_of(shape, call.batch);
    put(queue, [=] {
        if (call.steps == 0) return;
        ++resident_forwards;
        for (int cluster = clusters - 1; cluster >= 0; --cluster) {
            const PairPlace at = pair_place(cluster, pair.clusters);
            const ResidentCall& of = pair.call[at.call];
            const unsigned seed = static_cast<unsigned>(1 + cluster);
            if (shape.operands == Operands::tf32)
                run_emulated_cluster<Maths, Tf32>(shape, of, at.tile, seed);
            else if (shape.operands == Operands::full)
                run_emulated_cluster<Maths, Full>(shape, of, at.tile, seed);
            else if (call.a.storage == Dtype::bfloat16)
                run_emulated_cluster<Maths, Bfloat16>(shape, of, at.tile, seed);
            else
                run_emulated_cluster<Maths, Float16>(shape, of, at.tile, seed);
        }
    });
}

template <class Cell>
void put_resident_cell(int, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    put_emulated<ResidentMathsOf<Cell>>(queue, shape, call);
}

template <class Maths>
void put_backward_emulated(const Queue& queue, const ResidentBackward& shape, const ResidentBackwardCall& call) {
    ResidentBackwardPair pair{{call, call}, 0, false, false};
    if (queue.backward_pair) pair = queue.backward_pair->with(shape.of, call);
    pair.call[0].program = call.program;
    const int clusters = pair.clusters + clusters_of(shape.of, call.batch);
    put(queue, [=] {
        if (call.steps == 0) return;
        ++resident_backwards;
        for (int cluster = clusters - 1; cluster >= 0; --cluster) {
            const PairPlace at = pair_place(cluster, pair.clusters);
            const ResidentBackwardCall& of = pair.call[at.call];
            const unsigned seed = static_cast<unsigned>(1 + cluster);
            if (shape.of.operands == Operands::tf32)
                run_emulated_backward_cluster<Maths, Tf32>(shape, of, at.tile, seed);
            else if (shape.of.operands == Operands::full)
                run_emulated_backward_cluster<Maths, Full>(shape, of, at.tile, seed);
            else if (call.a.storage == Dtype::bfloat16)
                run_emulated_backward_cluster<Maths, Bfloat16>(shape, of, at.tile, seed);
            else
                run_emulated_backward_cluster<Maths, Float16>(shape, of, at.tile, seed);
        }
    });
}

template <class Cell>
void put_resident_backward_cell(int, const Queue& queue, const ResidentBackward& shape,
                                const ResidentBackwardCall& call) {
    put_backward_emulated<ResidentBackwardMathsOf<Cell>>(queue, shape, call);
}

}  // namespace rnnkernels::cuda
