// What a resident backward is called with, and where a lane is in it. The maths of its cell (backward_cell_maths.h,
// backward_program_maths.h) has:
//
//   exchanges                   of a step: 1; 2 with two products, whose maths has two halves
//                               (two_products_backward_warp.h)
//   hiddens, states, kept       numbers of a unit, at most: gate gradients that are multiplied, states, and what of a
//                               step does not wait for the step behind
//   hidden_count(call), state_count(call)          how many there are
//   fetch<AsItLies>(call, at, follows, kept)       the last of these, halves as they lie; `follows`: kept has the step
//                                                  behind, whose states before it are those after this one
//   step<Stored>(call, at, kept, product, follows, carried, du)
//                                                  a step, kept being numbers: everything that is kept is stored,
//                                                  carried and du are new
//   vectors, feds, fed_count(call)                 that are fed back, and gates that multiply them, at most; their
//                                                  gate gradients stand in du behind the others
//   join(call, at, before, d_fed, carried)         carried gets what comes to vectors that step `at` read, made of the
//                                                  states before it
//
// `product` is what comes to h through the products of the step behind, where that one has the row (`follows`).
#pragma once

#include "../arrays.h"
#include "operands.h"
#include "unit_masks.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct ResidentBackwardCall {
    // Of some steps: rows are counted from the first one's. `product` is that of the step behind the last; h and
    // `before` are the states before step 0 of the sequence, the others are those of the forward.
    BackwardArrays<float> a;
    float* to_step_before;        // (B, H): what the first step's products give; may be a.product
    const std::uint16_t* weight;  // weight_hh, as the halves' bits; of float32 a pointer to these (operands.h)
    int gate_row[kMostGates];     // of weight_hh or fed_weight, in units of H: of h, of a second product, of vectors
    Index batch, steps;
    const Index* starts;  // of all steps: rows of the batch's before each; null: dense
    Index first_step;     // of these
    // Rows of the step behind the last whose product is still to be added: 0 where what is carried has it, of a cell
    // with vectors or dropped operands.
    Index behind;
    UnitMasks masks;  // of a kernel that makes some (geometry.h: Resident)
    // (rows, H), `kept_row` apart: the states as the cell made them, where masks keep others, which `after` has then.
    const float* made[kMaxStates];
    const void* program;              // of a cell that is one, where it is run instruction by instruction
    const std::uint16_t* fed_weight;  // weight_gg, (fed*H, vectors*H), likewise; null: the cell has none

    RNNKERNELS_INLINE Index first(Index t) const {
        return starts ? starts[first_step + t] - starts[first_step] : t * batch;
    }
    RNNKERNELS_INLINE Index count(Index t) const {
        return starts ? starts[first_step + t + 1] - starts[first_step + t] : batch;
    }
    // With the states as the cell made them in `after`, as a call of single steps has them.
    void set_made(int states, int saved) {
        for (int k = 0; k < states; ++k) {
            made[k] = a.after[k];
            a.after[k] = k > 0 ? a.saved + (saved + k - 1) * a.hidden : nullptr;
        }
    }
    // Rows of the step behind step t.
    RNNKERNELS_INLINE Index next(Index t) const { return t + 1 < steps ? count(t + 1) : behind; }
};

// A unit of a row of a step.
struct ResidentPlace {
    Index row;       // of these steps
    Index of_batch;  // the same sequence's row of the batch
    Index before;    // that of these steps one step earlier; it may be negative
    bool begins;     // there is no such step
    Index hidden;    // H
    Index unit = 0;
    // Of row and, where there is one, of before in the caller's arrays; to fetch alone.
    Index place = 0, place_before = 0;
    bool made = false;  // the states after the step are the call's `made`
    float factor = 1;   // of the gated state, as it is multiplied
};

// The first of what a unit keeps: its states before the step, those after it, the caller's gradient of h.
template <class Stored>
RNNKERNELS_INLINE void fetch_states(const ResidentBackwardCall& call, const ResidentPlace& at, int states, bool follows,
                                    Vec<float>* kept) {
    using V = Vec<float>;
    const BackwardArrays<float>& a = call.a;
    const auto state = [&](int k, Index row, Index place) RNNKERNELS_INLINED {
        return k == 0 ? V(Stored::get(a.output, place * at.hidden + at.unit))
                      : V(a.after[k][row * a.kept_row + at.unit]);
    };
    RNNKERNELS_IN_REGISTERS
    for (int k = 0; k < states; ++k) {
        if (at.made)
            kept[states + k] = V(call.made[k][at.row * a.kept_row + at.unit]);
        else
            kept[states + k] = follows ? kept[k] : state(k, at.row, at.place);
    }
    const Index first = at.of_batch * at.hidden + at.unit;
    RNNKERNELS_IN_REGISTERS
    for (int k = 0; k < states; ++k) {
        if (!at.begins)
            kept[k] = state(k, at.before, at.place_before);
        else if (k > 0)
            kept[k] = V(a.before[k][first]);
        else
            kept[k] = V(a.h ? Stored::get(a.h, first) : 0.0F);
    }
    if (a.d_output) kept[2 * states] = V(Stored::get(a.d_output, at.place * at.hidden + at.unit));
}

// A half as it lies in memory, in a float's bits. Whoever fetches halves so does not wait for them: made a number in
// the same place, each would hold its warp up for as long as memory takes, before it looks at a flag or its mailbox.
template <class Stored>
struct AsItLies {
    RNNKERNELS_INLINE static float get(const void* array, Index at) {
        if constexpr (is_half<Stored>)
            return __builtin_bit_cast(float, std::uint32_t{static_cast<const std::uint16_t*>(array)[at]});
        else
            return Stored::get(array, at);
    }
    RNNKERNELS_INLINE static Vec<float> number(Vec<float> bits) {
        if constexpr (is_half<Stored>)
            return Vec<float>(Stored::number(static_cast<std::uint16_t>(__builtin_bit_cast(std::uint32_t, bits.raw))));
        else
            return bits;
    }
};

// What was fetched as it lies, as numbers: h before the step and after it, and the caller's gradient of h, are the
// halves. `made`: not h after the step (ResidentPlace).
template <class Maths, class Stored>
RNNKERNELS_INLINE void numbers_of(const ResidentBackwardCall& call, const Vec<float>* fetched, Vec<float>* kept,
                                  bool made = false) {
    const int states = Maths::state_count(call);
    RNNKERNELS_IN_REGISTERS
    for (int k = 0; k < Maths::kept; ++k)
        kept[k] =
            k == 0 || (k == states && !made) || k == 2 * states ? AsItLies<Stored>::number(fetched[k]) : fetched[k];
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
