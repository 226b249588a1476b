// The forward engine of normalised cells: a reduction over whole rows stands between the product and the cell.
//
// The threads of a row group divide the units for the product (products), meet, and divide the rows for what follows
// (rows): each row of x and of u is normalised, and the cell run over its units, by one thread.
// For the backward are kept, beside what the cell saves, the normalised values, which its sums and the gradients of the
// gains are made of, and 1 / sqrt(variance) of each row. To make them again would take the products again.
// Not here: the sums (normalise.h), all that other forms have too (forward.h).
#pragma once

#include "forward.h"
#include "normalise.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Of these rows, which a row group shares, those of one of its threads.
inline RowSet rows_of_thread(const RowSet& rows, const Plan& plan, int thread) {
    return rows.part(plan.unit_groups, thread % plan.unit_groups);
}

template <class Cell, class T>
class NormalisedForwardEngine : public ForwardEngine<Cell, T> {
    using Base = ForwardEngine<Cell, T>;
    using V = Vec<T>;
    using G = Geometry<Cell>;
    using Base::add_term;
    using Base::at_step;
    using Base::clear;
    using Base::each_item;
    using Base::gate_stride;
    using Base::load_states;
    using Base::part_;
    using Base::reserve;
    using Base::rows_;
    using Base::saved_between;
    using Base::shape_;
    using Base::shared_;
    using Base::store_saved;
    using Base::store_states;
    using Base::weights_;
    using Base::x_part_of;
    using Base::zone;
    using Base::zones;
    using typename Base::Step;
    static constexpr int lanes = V::lanes;

public:
    using Base::Base;

    // W_hh h of this thread's rows and units.
    void products(Index t) {
        const Step now = at_step(t);
        const GateProduct<T>& w = weights_.hidden;
        const Index count = now.rows.count, row_size = w.columns.row();
        each_item(t, [&](Index block, Index end) {
            const ItemProduct<T> product(w, block, end, count, shared_.item_scratch(part_.thread));
            product.run_all(now.operand + now.rows.first * shape_.hidden, shape_.hidden * now.rows.step, count,
                            shared_.u + now.rows.first * row_size + w.columns.vector(block) * lanes,
                            row_size * now.rows.step);
        });
    }

    void rows(Index t) {
        const Step now = at_step(t);
        const RowSet mine = rows_of_thread(now.rows, shared_.plan, part_.thread);
        mine.each([&](Index row) { run_row(now, row); });
    }

private:
    void run_row(const Step& now, Index row) {
        const T* x_row = x_part_of(now, row);
        const T* u_row = shared_.u + row * weights_.hidden.columns.row();
        const Moments<T> of_x = moments_of(x_row, G::inputs * shape_.hidden);
        const Moments<T> of_u = moments_of(u_row, G::hiddens * shape_.hidden);
        keep_scale(now, row, 0, of_x.scale);
        keep_scale(now, row, 1, of_u.scale);
        for (Index block = 0; block < shared_.blocks; ++block) {
            V x[G::gates], u[G::gates], s[G::states], saved[G::saved + 1];
            T* kept = shared_.call.reserve ? normals(now, row, block) : nullptr;
            clear(x), clear(u);
            normalise(of_x, x_row, input_gates<Cell>, block, gain(0, block), shift(0, block), x, kept);
            normalise(of_u, u_row, hidden_gates<Cell>, block, gain(G::inputs, block), shift(1, block), u,
                      kept ? kept + G::inputs * lanes : nullptr);
            add_term(row, block, x);
            load_states(now, row, block, s);
            if constexpr (normalises_inner<Cell>) {
                V m;
                Cell::forward_gates(x, u, s, saved, m);
                store_saved(saved_between(now, row, block), saved);
                m.store(inner(row) + block * lanes);
            } else {
                V n[G::states];
                Cell::forward(x, u, nullptr, s, n, saved);
                if (zones()) zone(now, row, block, s, n);
                store_states(now, row, block, n);
                if (kept) store_saved(reserve(now, row, block), saved);
            }
        }
        if constexpr (normalises_inner<Cell>) finish_row(now, row);
    }

    // From the value inside the cell, which now stands for all units, to the new states.
    void finish_row(const Step& now, Index row) {
        const Moments<T> of_m = moments_of(inner(row), shape_.hidden);
        keep_scale(now, row, 2, of_m.scale);
        for (Index block = 0; block < shared_.blocks; ++block) {
            V n[G::states], saved[G::saved + 1];
            const T* between = saved_between(now, row, block);
            for (int i = 0; i < G::saved; ++i) saved[i] = V::load(between + i * lanes);
            const V m = V::load(inner(row) + block * lanes);
            const V normal = of_m.normal(m);
            const V y = fma(V::load(gain(G::normals - 1, block)), normal, V::load(gain(G::normals, block)));
            Cell::forward_state(saved, m, y, n);
            if (zones()) {
                V s[G::states];
                load_states(now, row, block, s);
                zone(now, row, block, s, n);
            }
            store_states(now, row, block, n);
            if (shared_.call.reserve) normal.store(normals(now, row, block) + (G::inputs + G::hiddens) * lanes);
        }
    }

    // A block of a row: gain and shift of one gate follow those of the other, padded.
    RNNKERNELS_INLINE void normalise(const Moments<T>& moments, const T* row, const GateList& gates, Index block,
                                     const T* gain, const T* shift, V* to, T* kept) const {
        const T* from = row + block * gates.count * lanes;
        const Index padded = shared_.blocks * lanes;
        for (int i = 0; i < gates.count; ++i) {
            const V normal = moments.normal(V::load(from + i * gate_stride(block)));
            to[gates.gate[i]] = fma(V::load(gain + i * padded), normal, V::load(shift + i * padded));
            if (kept) normal.store(kept + i * lanes);
        }
    }

    // Element-wise weight k, and the biases behind W_ih x (0) and W_hh h (1), for the units of a block.
    const T* gain(int k, Index block) const { return weights_.diagonal + (k * shared_.blocks + block) * lanes; }
    const T* shift(int which, Index block) const { return weights_.shift[which] + block * lanes; }
    T* inner(Index row) const { return shared_.inner + row * shared_.blocks * lanes; }
    // Where the reserve keeps what was normalised: of x, of u, of the inner value.
    T* normals(const Step& now, Index row, Index block) const {
        return reserve(now, row, block) + G::first_normal * lanes;
    }
    void keep_scale(const Step& now, Index row, int norm, T scale) const {
        if (!shared_.call.reserve) return;
        T* scales = scales_of<Cell>(static_cast<T*>(shared_.call.reserve), shape_, zones(), rows_.total());
        scales[(now.first + row) * G::norms + norm] = scale;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
