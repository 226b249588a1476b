// The backward engine's products of a step in bfloat16: gradient rows times the transposed panels of each item of
// units, into the strip. A part converts its rows once for all of its items (low_rows.h). What follows a product is
// every cell's and reached through a pointer, as where a weight has heads (head_backward.h), so that the steps of full
// precision are not longer for it.
// Not here: sums over a chunk's rows (low_weight_gradients.h).
#pragma once

#include "backward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Gradient rows of step `of` times the factors, as multiply() has it; what follows belongs to step t. All factors
// behind the first multiply the same rows.
template <class T>
[[gnu::noinline]] void BackwardEngine<T>::multiply_low(const Factor* factors, int count, Index of, RowSet rows, Index t,
                                                       Run run) {
    if constexpr (kMayHavePairs<T>) {
        const Index stride = item_ * count * lanes;
        T* const strip = scratch_.product;
        T* room = scratch_.low;
        ProductRows<T> converted[2] = {};
        for (int i = 0; i < least(count, 2); ++i) {
            const RowBlock<T> a{gradient(of, 0), shared_.gradient_row(), factors[i].slots, factors[i].gates,
                                shape_.hidden};
            converted[i] = convert_segments(shared_.kept, a, rows, room);
            room += shape_.batch * converted[i].stride;
        }
        strip_.product_row = stride, strip_.product_vector = item_ * lanes;
        const int most = static_cast<int>(strip_rows(shared_.kept));
        for (Index block = part_.blocks.first; block < part_.blocks.last; block += item_) {
            const Index end = least(block + item_, part_.blocks.last);
            each_strip(
                rows, most, shared_.watch, [most](Index left) { return next_tile(left, most); },
                [&](Index row, int tile, Index place) {
                    for (int i = 0; i < count; ++i) {
                        const ProductRows<T>& a = converted[least(i, 1)];
                        product_of_pairs(a.at(row), a.stride * rows.step, tile, part_of(*factors[i].w, block, end),
                                         shared_.zeros, strip + place * stride + i * item_ * lanes, stride);
                    }
                },
                [&](RowSet some) { (this->*run)(t, some, Range{block, end}, strip); });
        }
    }
}

// multiply_rows(), whose rows stand one after the other here.
template <class T>
template <class RowAt, class Use>
[[gnu::noinline]] void BackwardEngine<T>::multiply_rows_low(const Panels<T>& w, RowBlock<T> a, RowAt row_at,
                                                            RowSet rows, Range all, Use use) {
    a.data = row_at(0);
    const ProductRows<T> converted = convert_segments(w.kept, a, rows, scratch_.low);
    for (Index block = all.first; block < all.last; block += kStripBlocks) {
        const Range blocks{block, least(block + kStripBlocks, all.last)};
        for (Index i = 0; i < rows.count;) {
            const int tile = next_tile(rows.count - i, kMostRows);
            product_of_pairs(converted.at(rows.at(i)), converted.stride * rows.step, tile,
                             part_of(w, blocks.first, blocks.last), shared_.zeros, scratch_.product,
                             kStripBlocks * lanes);
            use(RowSet{rows.at(i), tile, rows.step}, blocks);
            i += tile;
            if (i < rows.count) cpu::look(shared_.watch);
        }
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
