// What the options of a call want of a step of the backward engine: gradients of all states, readings, masks. Not here:
// how a strip is changed (strip_options.h).
#pragma once

#include "backward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The pass of step t, and what the call's options want before and after it. The caller's gradients of the states from
// `first_state` on are still to be added.
template <class T>
[[gnu::noinline]] void BackwardEngine<T>::run_with_options(Index t, RowSet rows, int first_state) {
    const int states = table_.states;
    take_in_states(t, rows, first_state);
    if (masks_.drops && !projected()) mask_h(t, rows, Range{strip_.first, strip_.first + strip_.blocks}, h_rows_);
    if (masks_.zones) {
        unzone_strip(strip_, states, masks_, scratch_.past, of_all_steps(t, rows));
        put_own_states();
    }
    shared_.cell.passes.backward(strip_);
    // Where the value inside the cell is normalised, the maths makes dL/ds in its second half only (run_row).
    if (masks_.zones && table_.form != Form::normalised_inner) add_past(strip_, states, scratch_.past);
}

// dL/d(states after step t) is whole after it: a reading is taken where it is wanted.
template <class T>
void BackwardEngine<T>::take_in_states(Index t, RowSet rows, int first_state) {
    const BackwardCall& call = shared_.call;
    for (int k = first_state; k < table_.states; ++k) {
        const auto* given = static_cast<const T*>(k == 0 ? call.d_output : call.d_sequence[k]);
        if (given)
            take_in(strip_, table_.states, k,
                    [&](Index i) RNNKERNELS_INLINED { return given + place(t, rows.at(i)) * shape_.hidden; });
        if (call.norms[0]) note_norms(strip_, table_.states, k, shared_.norms, of_chunk(t, rows));
    }
}

// h before step t as the recurrent weight saw it, for the sums. `h`: each row's.
template <class T>
void BackwardEngine<T>::mask_h(Index t, RowSet rows, Range blocks, const T* const* h) const {
    FeedbackStrip<T> p{};
    p.rows = static_cast<int>(rows.count), p.blocks = static_cast<int>(blocks.last - blocks.first);
    p.first = blocks.first, p.hidden = width(), p.h = h;
    mask_operands(p, 0, masks_, of_all_steps(t, rows), in_chunk(shared_.masked, shared_.h_padded(), t, rows.first),
                  shared_.h_padded() * rows.step);
}

// In a zoned call the states that the maths made are others than those that stood after the step.
template <class T>
void BackwardEngine<T>::put_own_states() {
    const T* const own = strip_.saved + table_.first_own * lanes;
    for (Index i = 0; i < strip_.rows; ++i) out_rows_[i] = own + i * strip_.reserve_row;
    for (int k = 1; k < table_.states; ++k) strip_.after[k] = own + k * lanes;
    strip_.out_block = strip_.after_block = strip_.reserve_block, strip_.after_row = strip_.reserve_row;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
