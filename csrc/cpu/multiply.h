// The forward engine's products of a step: rows times the panels of each item of units, into the strip, for its cell.
// Of floats, or of rows that are converted first (low_rows.h): apart, so that the steps of full precision are not
// longer for it.
#pragma once

#include "forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// A tile of rows of `a` times the panels of an item into the strip, until the strip is full; then use(rows, blocks).
// The feedback vectors' product goes with h's, into a strip of its own.
template <class T>
template <class Use>
RNNKERNELS_INLINE void ForwardEngine<T>::multiply(const Step& now, const GateProduct<T>& w, const T* a, Index a_stride,
                                                  Use use) {
    if constexpr (sizeof(T) == 4)
        if (w.panels.kept.low != 0) [[unlikely]]
            return multiply_low(now, w, a, a_stride, use);
    multiply_items<false>(now, w, {a, a_stride}, {}, use);
}

template <class T>
template <class Use>
[[gnu::noinline]] void ForwardEngine<T>::multiply_low(const Step& now, const GateProduct<T>& w, const T* a,
                                                      Index a_stride, Use use) {
    const ProductRows<T> rows = convert_rows(w.panels, a, a_stride, now.rows, scratch_.low);
    ProductRows<T> fed{};
    if (table_.vectors > 0 && &w == &weights_.hidden)  // behind those of h
        fed = convert_rows(weights_.feedback.panels, feedback(now.t, 0), table_.vectors * shape_.hidden, now.rows,
                           scratch_.low + shape_.batch * rows.stride);
    multiply_items<true>(now, w, rows, fed, use);
}

// `fed`: of low precision alone.
template <class T>
template <bool low, class Use>
RNNKERNELS_INLINE void ForwardEngine<T>::multiply_items(const Step& now, const GateProduct<T>& w, ProductRows<T> a,
                                                        ProductRows<T> fed, Use use) {
    const bool feeds = table_.vectors > 0 && &w == &weights_.hidden;
    const GateProduct<T>& f = weights_.feedback;
    const Index stride = item_ * w.columns.gates * lanes, fed_stride = item_ * table_.feedback.count * lanes;
    const Index fed_row = low ? fed.stride : table_.vectors * shape_.hidden;
    strip_.u = scratch_.strip, strip_.u_row = stride;
    strip_.fed = scratch_.fed, strip_.fed_row = fed_stride;
    put_row_ = -1;
    const Index most = low ? strip_rows(w.panels.kept) : kStripRows;
    each_item(now.t, [&](Index block, Index end) RNNKERNELS_INLINED {
        const ItemProduct<T> item(w, block, end, now.rows.count, scratch_.panels);
        const auto next = [&](Index left) {
            if constexpr (low) return next_tile(left, static_cast<int>(most));
            const int rows = next_tile(left, tile_rows(item.width()));
            return feeds ? least(rows, next_tile(left, tile_rows(f.panels.width))) : rows;
        };
        each_strip(
            now.rows, most, shared_.watch, next,
            [&](Index row, int rows, Index place) {
                const Index a_step = a.stride * now.rows.step, fed_step = fed_row * now.rows.step;
                T* const to = scratch_.strip + place * stride;
                T* const fed_to = scratch_.fed + place * fed_stride;
                if constexpr (low) {
                    item.run_low(a.at(row), a_step, rows, to, stride);
                    if (feeds)
                        ItemProduct<T>(f, block, end, rows, nullptr)
                            .run_low(fed.at(row), fed_step, rows, fed_to, fed_stride);
                } else {
                    item.run(a.at(row), a_step, rows, to, stride);
                    if (feeds)
                        ItemProduct<T>(f, block, end, rows, nullptr)
                            .run(feedback(now.t, row), fed_step, rows, fed_to, fed_stride);
                }
            },
            [&](RowSet rows) RNNKERNELS_INLINED { use(rows, Range{block, end}); });
    });
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
