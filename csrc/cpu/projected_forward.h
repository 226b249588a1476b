// The forward engine's last phase for a projected cell (cells/cell.h): h = W_hr m, m what the cell made of a step; one
// more product and one more meeting of the threads per step. All else is every cell's (forward.h).
#pragma once

#include "backward_shared.h"  // kStripBlocks
#include "forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
void ForwardEngine<T>::project_h(Index t) {
    each_part(t, [&]() RNNKERNELS_INLINED { project_part(at_step(t)); });
}

template <class T>
void ForwardEngine<T>::project_part(const Step& now) {
    const Range all = part_.h_blocks;
    const Index stride = kStripBlocks * lanes;
    const ProductRows<T> made =
        operand_of(weights_.projection.panels, unprojected(now, 0), shape_.hidden, now.rows, scratch_.low);
    alignas(64) T strip[kMostStripRows * kStripBlocks * lanes];
    for (Index block = all.first; block < all.last; block += kStripBlocks) {
        const Range blocks{block, least(block + kStripBlocks, all.last)};
        const ItemProduct<T> item(weights_.projection, blocks.first, blocks.last, 0, nullptr);
        for (Index i = 0; i < now.rows.count;) {
            const RowSet rows{now.rows.at(i), item.next_rows(now.rows.count - i), now.rows.step};
            item.run(made.at(rows.first), made.stride * rows.step, static_cast<int>(rows.count), strip, stride);
            store_h(now, rows, blocks, strip, stride);
            const RowSet going_on = rows.below(rows_.count(now.t + 1));
            if (masks_.drops) put_operands(now.t + 1, going_on, blocks, out_rows_);
            i += rows.count;
            if (i < now.rows.count) cpu::look(shared_.watch);
        }
    }
}

// h after a step, from a strip of the product, where it is wanted.
template <class T>
void ForwardEngine<T>::store_h(const Step& now, RowSet rows, Range blocks, const T* strip, Index stride) {
    for (Index i = 0; i < rows.count; ++i) {
        const Index row = rows.at(i);
        out_rows_[i] = output(now.first + row);
        for (Index block = blocks.first; block < blocks.last; ++block) {
            const V h = V::load(strip + i * stride + (block - blocks.first) * lanes);
            h.store(out_rows_[i] + block * lanes, h_valid(block));
            if (shared_.h)
                h.store(shared_.h + ((now.t + 1) % 2 * shape_.batch + row) * width() + block * lanes, h_valid(block));
        }
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
