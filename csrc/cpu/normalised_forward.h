// The forward engine's phases for normalised cells: a reduction over whole rows stands between the product and the
// cell.
//
// The threads of a row group divide the units for the product (products), meet, and divide the rows for what follows
// (rows): each row of x and of u is normalised, and the cell's pass run over its units, by one thread: a strip is a
// row. For the backward are kept, beside what the cell saves, the normalised values, which its sums and the gradients
// of the gains are made of, and 1 / sqrt(variance) of each row. To make them again would take the products again. Not
// here: the sums (normalise.h), all that other forms have too (forward.h).
#pragma once

#include "forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
void ForwardEngine<T>::products(Index t) {
    each_part(t, [&]() RNNKERNELS_INLINED {
        const Step now = at_step(t);
        const GateProduct<T>& w = weights_.hidden;
        const Index count = now.rows.count, row_size = w.columns.row();
        const ProductRows<T> h = operand_of(w.panels, now.operand, shape_.hidden, now.rows, scratch_.low);
        each_item(t, [&](Index block, Index end) {
            const ItemProduct<T> product(w, block, end, count, scratch_.panels);
            product.run_all(h.at(now.rows.first), h.stride * now.rows.step, count,
                            shared_.u + now.rows.first * row_size + w.columns.vector(block) * lanes,
                            row_size * now.rows.step, shared_.watch);
        });
    });
}

template <class T>
void ForwardEngine<T>::rows(Index t) {
    each_part(t, [&]() RNNKERNELS_INLINED {
        const Step now = at_step(t);
        part_.share_of(now.rows).each([&](Index row) {
            run_row(now, row);
            cpu::look(shared_.watch);
        });
    });
}

template <class T>
void ForwardEngine<T>::run_row(const Step& now, Index row) {
    const int inputs = table_.input.count, hiddens = table_.hidden.count;
    const T* x_row = x_part(now, row);
    const T* u_row = shared_.u + row * weights_.hidden.columns.row();
    const Moments<T> of_x = moments_of(x_row, inputs * shape_.hidden);
    const Moments<T> of_u = moments_of(u_row, hiddens * shape_.hidden);
    keep_scale(now, row, 0, of_x.scale);
    keep_scale(now, row, 1, of_u.scale);
    T* const kept = shared_.call.reserve ? reserve(now, row) + table_.first_normal * lanes : nullptr;
    normalise(of_x, x_row, inputs, 0, weights_.shift[0], scratch_.x_row, kept);
    normalise(of_u, u_row, hiddens, inputs, weights_.shift[1], scratch_.u_row, kept ? kept + inputs * lanes : nullptr);

    const RowSet rows{row, 1, 1};
    const Range blocks{0, shared_.blocks};
    put_row_ = -1;
    put_strip(now, rows, blocks);
    x_rows_[0] = scratch_.x_row;
    strip_.u = scratch_.u_row;
    if (table_.form == Form::normalised) {
        run_pass(shared_.cell.passes.forward, now, rows, blocks);
        return;
    }
    shared_.cell.passes.forward(strip_);
    normalise_inner(now, row);
    run_pass(shared_.cell.passes.forward_state, now, rows, blocks);
}

// The value inside the cell, which the first half made.
template <class T>
void ForwardEngine<T>::normalise_inner(const Step& now, Index row) {
    const int number = table_.normals - 1;  // the last of what is normalised; its shift is the last element-wise weight
    const T* inner = strip_.made;
    const Moments<T> of_inner = moments_of(inner, shape_.hidden);
    keep_scale(now, row, 2, of_inner.scale);
    const T* const gain = weights_.diagonal + number * shared_.blocks * lanes;
    const T* const shift = gain + shared_.blocks * lanes;
    T* kept = shared_.call.reserve ? reserve(now, row) + (table_.first_normal + number) * lanes : nullptr;
    for (Index at = 0; at < shared_.blocks * lanes; at += lanes) {
        const V normal = of_inner.normal(V::load(inner + at));
        fma(V::load(gain + at), normal, V::load(shift + at)).store(scratch_.normal + at);
        if (!kept) continue;
        normal.store(kept);
        kept += strip_.reserve_block;
    }
    strip_.normal = scratch_.normal;
}

// A row of x or u, [block][gate][lane], into `to` in the same order. Gains and shifts of one gate follow those of the
// other, padded; `first`: the number of the first gain. What is normalised goes into `kept`, with the reserve's stride.
template <class T>
void ForwardEngine<T>::normalise(const Moments<T>& moments, const T* row, int gates, int first, const T* shift, T* to,
                                 T* kept) const {
    const Index padded = shared_.blocks * lanes;
    const T* const gain = weights_.diagonal + first * padded;
    for (Index block = 0; block < shared_.blocks; ++block) {
        const Index at = block * lanes, stride = least(valid(block), Index{lanes});  // from one gate to the next
        for (int i = 0; i < gates; ++i) {
            const V normal = moments.normal(V::load(row + at * gates + i * stride));
            // The lanes behind a last block's units belong to the next gate, which is stored after this one.
            fma(V::load(gain + i * padded + at), normal, V::load(shift + i * padded + at))
                .store(to + at * gates + i * stride);
            if (kept) normal.store(kept + block * strip_.reserve_block + i * lanes);
        }
    }
}

template <class T>
void ForwardEngine<T>::keep_scale(const Step& now, Index row, int norm, T scale) const {
    if (shared_.scales) shared_.scales[(now.first + row) * table_.norms + norm] = scale;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
