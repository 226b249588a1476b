// The backward engine of normalised cells, from the last step down.
//
// The threads of a row group divide the units for the product with W_hh^T (products), meet, and divide the rows for the
// rest (rows): the cell's backward over a row's units, then back through the normalisation of x and of u, whose two
// sums need all units. A row's gradient slots are the cell's own, those of the gains, and those of W_ih x and W_hh h,
// which the products multiply.
// Not here: the sums (normalise.h), all that other forms have too (backward.h).
#pragma once

#include "backward.h"
#include "normalised_forward.h"  // rows_of_thread

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
class NormalisedBackwardEngine : public BackwardEngine<Cell, T> {
    using Base = BackwardEngine<Cell, T>;
    using V = Vec<T>;
    using G = Geometry<Cell>;
    using Base::carried;
    using Base::carry_to;
    using Base::gradient;
    using Base::load_carried;
    using Base::load_saved;
    using Base::load_step;
    using Base::part_;
    using Base::reserve;
    using Base::rows_;
    using Base::shape_;
    using Base::shared_;
    using Base::store_carried;
    using Base::valid;
    using Base::zones;
    static constexpr int lanes = V::lanes;

public:
    using Base::Base;

    // dL/d(states after step t) but for the step's own output, where ds was carried.
    void products(Index t) {
        carry_to(t, [&](Index row, Index block, const V* dn) RNNKERNELS_INLINED { store_carried(row, block, dn); });
    }

    void rows(Index t) {
        const RowSet mine = rows_of_thread(part_.rows_of_step(rows_, t), shared_.plan, part_.thread);
        mine.each([&](Index row) { run_row(t, row); });
    }

private:
    static constexpr int kInner = G::inputs + G::hiddens;               // the inner value among what was normalised
    static constexpr int kGateSlots = Cell::slot_count - G::diagonals;  // they come first

    void run_row(Index t, Index row) {
        NormalGradient<T> of_x, of_u, of_m;
        if constexpr (normalises_inner<Cell>) of_m = run_state(t, row);
        for (Index block = 0; block < shared_.blocks; ++block) {
            V saved[G::saved + 1], s[G::states], n[G::states], dn[G::states], d[kGateSlots], ds[G::states];
            V past[G::states] = {};
            load_saved(t, row, block, saved);
            load_carried(row, block, dn);
            load_step(t, row, block, s, n, dn, past);
            if constexpr (normalises_inner<Cell>) {
                for (int i = 0; i < kGateSlots; ++i) d[i] = load_slot(t, row, block, i);
                const V dy = load_slot(t, row, block, diagonal_slot(G::normals));
                const V dm = of_m.through(dy * gain(kInner, block), normal(t, row, block, kInner));
                Cell::backward_gates(saved, s, dn, dm, d, ds);
            } else {
                Cell::backward(saved, nullptr, s, n, dn, d, ds);
            }
            if (zones()) Base::add(past, ds);
            store_carried(row, block, ds);
            back_to_sums(t, row, block, input_gates<Cell>, 0, d, of_x);
            back_to_sums(t, row, block, hidden_gates<Cell>, G::inputs, d, of_u);
            for (int i = 0; i < kGateSlots; ++i) store_slot(t, row, block, i, d[i]);
        }
        of_x.finish(G::inputs * shape_.hidden, scale(t, row, 0));
        of_u.finish(G::hiddens * shape_.hidden, scale(t, row, 1));
        for (Index block = 0; block < shared_.blocks; ++block)
            for (int i = 0; i < G::inputs + G::hiddens; ++i) {
                const V g = load_slot(t, row, block, dy_slot(i)) * gain(i, block);
                const NormalGradient<T>& of = i < G::inputs ? of_x : of_u;
                store_slot(t, row, block, Cell::slot_count + i, of.through(g, normal(t, row, block, i)));
            }
    }

    // The cell's backward as far as the value inside it; what it leaves in d[] waits in the row's slots.
    NormalGradient<T> run_state(Index t, Index row) {
        NormalGradient<T> of_m;
        for (Index block = 0; block < shared_.blocks; ++block) {
            V saved[G::saved + 1], s[G::states], n[G::states], dn[G::states], d[kGateSlots] = {}, dy;
            V past[G::states] = {};
            load_saved(t, row, block, saved);
            load_carried(row, block, dn);
            load_step(t, row, block, s, n, dn, past);
            const V of_row = normal(t, row, block, kInner);
            const V y = fma(gain(kInner, block), of_row, gain(G::normals, block));
            Cell::backward_state(saved, y, dn, d, dy);
            for (int i = 0; i < kGateSlots; ++i) store_slot(t, row, block, i, d[i]);
            store_slot(t, row, block, diagonal_slot(kInner), dy * of_row);
            store_slot(t, row, block, diagonal_slot(G::normals), dy);
            const V g = dy * gain(kInner, block);
            of_m.add(&g, &of_row, 1, valid(block));
        }
        of_m.finish(shape_.hidden, scale(t, row, 2));
        return of_m;
    }

    // The gradients of the gains of a block's gates, and its share of the sums behind the normalisation.
    RNNKERNELS_INLINE void back_to_sums(Index t, Index row, Index block, const GateList& gates, int first, const V* d,
                                        NormalGradient<T>& of) const {
        V g[G::gates], normals[G::gates];
        for (int i = 0; i < gates.count; ++i) {
            const V dy = d[dy_slot(first + i)];
            normals[i] = normal(t, row, block, first + i);
            store_slot(t, row, block, diagonal_slot(first + i), dy * normals[i]);
            g[i] = dy * gain(first + i, block);
        }
        of.add(g, normals, gates.count, valid(block));
    }

    // The slot of dL/dx[g], dL/du[g] for the i-th of what was normalised: the input gates, then the hidden ones.
    static constexpr int dy_slot(int i) {
        return i < G::inputs ? Cell::gates[input_gates<Cell>.gate[i]].dx
                             : Cell::gates[hidden_gates<Cell>.gate[i - G::inputs]].du;
    }
    static constexpr int diagonal_slot(int k) { return Cell::diagonals.diagonal[k].slot; }

    RNNKERNELS_INLINE V gain(int k, Index block) const {
        return V::load(shared_.diagonal + (k * shared_.blocks + block) * lanes);
    }
    RNNKERNELS_INLINE V normal(Index t, Index row, Index block, int i) const {
        return V::load(reserve(t, row, block) + (G::first_normal + i) * lanes);
    }
    RNNKERNELS_INLINE V load_slot(Index t, Index row, Index block, int slot) const {
        return V::load(gradient(t, row) + slot * shared_.padded() + block * lanes);
    }
    RNNKERNELS_INLINE void store_slot(Index t, Index row, Index block, int slot, V d) const {
        d.store(gradient(t, row) + slot * shared_.padded() + block * lanes);
    }
    T scale(Index t, Index row, int norm) const {
        const T* scales = scales_of<Cell>(static_cast<const T*>(shared_.call.reserve), shape_, zones(), rows_.total());
        return scales[(rows_.first(t) + row) * G::norms + norm];
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
