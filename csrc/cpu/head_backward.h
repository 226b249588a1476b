// The backward engine's products of a cell with heads (recurrence/heads.h): a unit's gradient comes from the units of
// its own head. What follows a product is every cell's (backward.h); it is reached through a pointer here, so that it
// is not compiled into these loops once more. Nor into those of bfloat16 (low_backward.h), which begin here.
#pragma once

#include "backward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The steps of cells whose products are not those of most: one question tells them from the others.
template <class T>
[[gnu::noinline]] void BackwardEngine<T>::step_apart(Index t) {
    if (projected()) return step_projected(t);
    each_part(t, [&] { carry_apart(t, &BackwardEngine::run_step); });
}

template <class T>
[[gnu::noinline]] void BackwardEngine<T>::gates_apart(Index t) {
    each_part(t, [&] {
        const RowSet rows = part_.rows_of_step(rows_, t);
        if (table_.heads > 1) return multiply_heads(2, 1, t, rows, t, &BackwardEngine::run_gates);
        const Factor gated_only = gated_factor();
        multiply_low(&gated_only, 1, t, rows, t, &BackwardEngine::run_gates);
    });
}

// carry_to, of a cell with heads or with products of bfloat16.
template <class T>
[[gnu::noinline]] void BackwardEngine<T>::carry_apart(Index t, Run run) {
    const RowSet more =
        carry_ended(t, [&](RowSet rows, Range blocks, T* product) { (this->*run)(t, rows, blocks, product); });
    if (more.count == 0) return;
    if (table_.heads > 1) return multiply_heads(0, 1 + table_.vectors, t + 1, more, t, run);
    Factor factors[1 + kMaxStates];
    multiply_low(factors, put_factors(factors), t + 1, more, t, run);
}

// Gradient rows of step `of` times `count` of shared_.w_heads from `first` on, as multiply() has it; what follows
// belongs to step t.
template <class T>
[[gnu::noinline]] void BackwardEngine<T>::multiply_heads(int first, int count, Index of, RowSet rows, Index t,
                                                         Run run) {
    const Index stride = item_ * count * lanes, size = shape_.hidden / table_.heads;
    const Index* const slots[] = {shared_.hidden_slots, shared_.feedback_slots, shared_.gated_slots};
    T* const strip = scratch_.product;
    strip_.product_row = stride, strip_.product_vector = item_ * lanes;
    for (Index block = part_.blocks.first; block < part_.blocks.last; block += item_) {
        const Index end = least(block + item_, part_.blocks.last);
        each_strip(
            rows, kStripRows, shared_.watch, [](Index left) { return next_tile(left, tile_rows(panel_vectors(1))); },
            [&](Index row, int tile, Index place) {
                for (int i = 0; i < count; ++i) {
                    T* const to = strip + place * stride + i * item_ * lanes;
                    const HeadProduct<T>& w = shared_.w_heads[first + i];
                    const int gates = static_cast<int>(w.panels.k / size);
                    const RowBlock<T> a{gradient(of, row), shared_.gradient_row() * rows.step, slots[first + i], gates,
                                        size};
                    w.run(a, tile, block, end, shared_.zeros, to, stride);
                }
            },
            [&](RowSet some) { (this->*run)(t, some, Range{block, end}, strip); });
    }
}

// The weight's gradient over a chunk of `count` rows from row `begin` on.
template <class T>
[[gnu::noinline]] void BackwardEngine<T>::sum_heads(Index begin, Index count, bool begins) {
    const GradientRows<T> rows{shared_.gradient, shared_.gradient_row(), count};
    const ProductGates* const gates[] = {&table_.hidden, &table_.feedback, &table_.gated};
    const Index* const slots[] = {shared_.hidden_slots, shared_.feedback_slots, shared_.gated_slots};
    for (int i = 0; i < 3; ++i) {
        const auto operand = [&](Index row) -> const T* {
            if (i == 2) return shared_.gated + row * shared_.padded();
            if (i == 1) return shared_.feedback + (begin + row) * shape_.hidden;
            if (masks_.drops) return shared_.masked + row * shared_.h_padded();
            return h_before(begin + row);
        };
        if (gates[i]->count > 0)
            add_heads(shared_.outer, rows, slots[i], *gates[i], table_.heads, shape_.hidden / table_.heads, operand,
                      static_cast<T*>(shared_.call.dweight_hh), begins, phases_);
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
