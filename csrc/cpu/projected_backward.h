// The backward engine's phases for a projected cell (cells/cell.h): h = W_hr m, m what the cell made of a step. First
// dL/dh of a step, then, through W_hr^T, dL/dm and the cell's pass. All else is every cell's (backward.h).
#pragma once

#include "backward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// dL/dh of step t: from the step after it, or, where a row has none, from the caller; and from the caller for the step
// itself.
template <class T>
void BackwardEngine<T>::project_h(Index t) {
    each_part(t, [&]() RNNKERNELS_INLINED { project_part(t); });
}

template <class T>
void BackwardEngine<T>::project_part(Index t) {
    const BackwardCall& call = shared_.call;
    each_dh(t, [&](Index row, Index block, V dh) RNNKERNELS_INLINED {
        const Index at = block * lanes, left = width() - at;
        if (const auto* given = static_cast<const T*>(call.d_output))
            dh = V::load(given + place(t, row) * width() + at, left) + dh;
        if (call.norms[0]) shared_.norms.note(rows_.first(t) - chunk_row_ + row, block, 0, dh, left);
        dh.store(in_chunk(shared_.dh, shared_.h_padded(), t, row) + at);
        if (masks_.drops) {
            const T* const h = h_before(t, row);
            mask_h(t, RowSet{row, 1, 1}, Range{block, block + 1}, &h);
        }
    });
}

template <class T>
void BackwardEngine<T>::step_projected(Index t) {
    const RowBlock<T> one{nullptr, shared_.h_padded(), kNoOffset, 1, width()};
    each_part(t, [&]() RNNKERNELS_INLINED {
        multiply_rows(
            shared_.w_projection, one, [&](Index row) { return in_chunk(shared_.dh, shared_.h_padded(), t, row); },
            part_.rows_of_step(rows_, t), part_.blocks,
            [&](RowSet rows, Range blocks) RNNKERNELS_INLINED {
                put_step(t, rows, blocks);
                strip_.product = scratch_.product;
                strip_.product_row = kStripBlocks * lanes;
                if (shared_.options)
                    run_with_options(t, rows, 1);
                else
                    shared_.cell.passes.backward(strip_);
            });
    });
}

// use(row, block, dL/dh after step t) for every row, without what the caller has for the step's output. t = -1: the
// initial h.
template <class T>
template <class Use>
void BackwardEngine<T>::each_dh(Index t, Use use) {
    const Range blocks = part_.h_blocks;
    const RowSet more = part_.rows_of_step(rows_, t + 1), ended = part_.rows_of_step(rows_, t).from(more);
    const T* from = static_cast<const T*>(shared_.call.d_final_state[0]);
    ended.each([&](Index row) {
        for (Index block = blocks.first; block < blocks.last; ++block)
            use(row, block, from ? V::load(from + row * width() + block * lanes, width() - block * lanes) : V(T(0)));
    });
    const RowBlock<T> gates{nullptr, shared_.gradient_row(), shared_.hidden_slots, table_.hidden.count, shape_.hidden};
    multiply_rows(
        shared_.w_recurrent[0], gates, [&](Index row) { return gradient(t + 1, row); }, more, blocks,
        [&](RowSet rows, Range some) RNNKERNELS_INLINED {
            const Index stride = kStripBlocks * lanes;
            for (Index i = 0; i < rows.count; ++i)
                for (Index block = some.first; block < some.last; ++block) {
                    V dh = V::load(scratch_.product + i * stride + (block - some.first) * lanes);
                    if (masks_.drops) dh = dh * masks_.factor(rows_.first(t + 1) + rows.at(i), block);
                    use(rows.at(i), block, dh);
                }
        });
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
