// What a resident kernel is called with, and the maths of its cell: of a built-in one its own words, with loads and
// stores that keep h and the states in registers. A cell that is a program has the same by other means
// (program_maths.h).
//
//   inputs, hiddens, states   numbers that a unit keeps, at most: of x, of u, of its states; state_count(call)
//   begin(call, unit, bias)   what is added to u in every step
//   fetch(call, row, of_batch, unit, x)                       what of a step does not wait for h
//   step(call, row, of_batch, unit, x, u, bias, now, next)    the states after it; everything that is kept is stored
//   keep(call, row, of_batch, unit, next)                     stores the states once more, where they are others
//   vectors                   that are fed back to the next step's products, at most (geometry.h: Resident)
//   feed(call, row, of_batch, unit, now, fed)                 those that the products of `row`'s step read
//   exchanges                 of a step: 1; 2 with two products, whose maths has two halves (two_products_warp.h)
//
// `row` is the row of the chunk, `of_batch` the same sequence's row of the batch.
#pragma once

#include "../arrays.h"
#include "geometry.h"
#include "unit_masks.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct ResidentCall {
    ForwardArrays<float> a;       // of the chunk: rows are counted from its first
    const std::uint16_t* weight;  // weight_hh, as the halves' bits; of float32 a pointer to these (operands.h)
    int gate_row[kMostGates];     // of weight_hh or fed_weight, in units of H: of h, of a second product, of vectors
    const std::uint16_t* fed_weight;  // weight_gg, (fed*H, vectors*H), likewise; null: the cell has none
    Index batch, steps;
    const Index* starts;         // of the chunk's steps: rows of the batch's before each; null: dense
    Index first_step;            // of the chunk
    void* sequence[kMaxStates];  // of the states after h, (T, B, H), the caller's; null: not wanted
    UnitMasks masks;             // of a kernel that makes some (geometry.h: Resident)
    const void* program;         // of a cell that is one, where it is run instruction by instruction

    RNNKERNELS_INLINE Index first(Index t) const {
        return starts ? starts[first_step + t] - starts[first_step] : t * batch;
    }
    RNNKERNELS_INLINE Index count(Index t) const {
        return starts ? starts[first_step + t + 1] - starts[first_step + t] : batch;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
