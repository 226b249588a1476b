// The backward of a step of a normalised cell on a row, by one team: the cell's backward over the row's units, then
// back through the normalisation of x and of u, whose two sums need all units. As cpu/normalised_backward.h, which says
// the rest.
#pragma once

#include "backward_bodies.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
struct NormalisedBackward {
    using V = Vec<T>;
    using G = Geometry<Cell>;
    using L = Layout<Cell>;

    BackwardArrays<Cell, T> a;
    StepRows now;
    Index before;

    RNNKERNELS_INLINE void operator()(Index row, const Team& team) const {
        Means of_m{};
        if constexpr (normalises_inner<Cell>) of_m = run_state(row, team);
        team.each(a.hidden, [&](Index unit) {
            V saved[G::saved + 1], s[G::states], n[G::states], dn[G::states], d[kGateSlots], ds[G::states];
            V past[G::states];
            a.load_saved(now, row, unit, saved);
            if constexpr (normalises_inner<Cell>) {
                // What run_state left: dn with the step's outputs taken in, what went past the cell apart.
                a.load_states(before, row, unit, s);
                a.load_carried(row, unit, dn);
                if (a.masks.zones) a.masks.unzone(now.first + row, unit, dn, past);
                a.template load_gradients<kGateSlots>(now, row, unit, d);
                const V dy = slot(row, unit, diagonal_slot(G::normals));
                const V dm = of_m.through(dy * gain(kInner, unit), normal(row, unit, kInner));
                Cell::backward_gates(saved, s, dn, dm, d, ds);
            } else {
                a.carry(now, row, unit, dn);
                a.load_step(now, before, row, unit, s, n, dn, past);
                Cell::backward(saved, nullptr, s, n, dn, d, ds);
            }
            a.add_past(past, ds);
            a.store_carried(row, unit, ds);
            a.template store_gradients<kGateSlots>(now, row, unit, d);
            for_each_normal(
                [&](auto i) { store_slot(row, unit, diagonal_slot(i), d[dy_slot(i)] * normal(row, unit, i)); });
        });
        const Means of_x = means<0, G::inputs>(row, team, 0), of_u = means<G::inputs, G::hiddens>(row, team, 1);
        team.each(a.hidden, [&](Index unit) {
            for_each_normal([&](auto i) {
                const V g = slot(row, unit, dy_slot(i)) * gain(i, unit);
                const Means& of = i < G::inputs ? of_x : of_u;
                store_slot(row, unit, Cell::slot_count + i, of.through(g, normal(row, unit, i)));
            });
        });
    }

private:
    static constexpr int kInner = G::inputs + G::hiddens;               // the inner value among what was normalised
    static constexpr int kGateSlots = Cell::slot_count - G::diagonals;  // they come first

    // The two means of a row's backward, and what it was scaled by.
    struct Means {
        T of_g, of_product, scale;

        RNNKERNELS_INLINE V through(V g, V normal) const { return fma(-normal, V(of_product), g - V(of_g)) * V(scale); }
    };
    // Over `gates` of what was normalised, from the first-th on.
    template <int first, int gates>
    RNNKERNELS_INLINE Means means(Index row, const Team& team, int norm) const {
        const auto sum = [&](auto use) {
            return team.sum<T>(a.hidden, [&](Index unit) {
                T part = 0;
                for_each<first, gates>([&](auto i) {
                    const V g = slot(row, unit, dy_slot(i)) * gain(i, unit);
                    part += use(g, normal(row, unit, i)).raw;
                });
                return part;
            }) / static_cast<T>(gates * a.hidden);
        };
        const T of_g = sum([](V g, V) { return g; });
        return {of_g, sum([](V g, V normal) { return g * normal; }), scale(row, norm)};
    }

    // The cell's backward as far as the value inside it; what it leaves in d[] waits in the row's slots, dn where it
    // was carried.
    RNNKERNELS_INLINE Means run_state(Index row, const Team& team) const {
        team.each(a.hidden, [&](Index unit) {
            V saved[G::saved + 1], s[G::states], n[G::states], dn[G::states], whole[G::states], d[kGateSlots], dy;
            V past[G::states];
            RNNKERNELS_UNROLL(16)
            for (V& value : d) value = V(T(0));
            a.load_saved(now, row, unit, saved);
            a.carry(now, row, unit, dn);
            a.load_step(now, before, row, unit, s, n, dn, past);
            RNNKERNELS_UNROLL(8)
            for (int k = 0; k < G::states; ++k) whole[k] = a.masks.zones ? dn[k] + past[k] : dn[k];
            a.store_carried(row, unit, whole);
            const V of_row = normal(row, unit, kInner);
            const V y = fma(gain(kInner, unit), of_row, gain(kInner + 1, unit));
            Cell::backward_state(saved, y, dn, d, dy);
            a.template store_gradients<kGateSlots>(now, row, unit, d);
            store_slot(row, unit, diagonal_slot(kInner), dy * of_row);
            store_slot(row, unit, diagonal_slot(kInner + 1), dy);
        });
        const auto g = [&](Index unit) { return slot(row, unit, diagonal_slot(kInner + 1)) * gain(kInner, unit); };
        const T size = static_cast<T>(a.hidden);
        const T of_g = team.sum<T>(a.hidden, [&](Index unit) { return g(unit).raw; }) / size;
        const T of_product =
            team.sum<T>(a.hidden, [&](Index unit) { return (g(unit) * normal(row, unit, kInner)).raw; }) / size;
        return {of_g, of_product, scale(row, 2)};
    }

    // use(i) for compile-time i in [first, first + count).
    template <int first, int count, class Use>
    static RNNKERNELS_INLINE void for_each(Use use) {
        if constexpr (count > 0) {
            use(std::integral_constant<int, first>{});
            for_each<first + 1, count - 1>(use);
        }
    }
    // For every gate that was normalised: the input gates', then the hidden ones'.
    template <class Use>
    static RNNKERNELS_INLINE void for_each_normal(Use use) {
        for_each<0, G::inputs + G::hiddens>(use);
    }

    // The slot of dL/dx[g], dL/du[g] for the i-th of what was normalised; that of an element-wise weight's gradient.
    template <int i>
    static constexpr int dy_slot(std::integral_constant<int, i>) {
        if constexpr (i < G::inputs)
            return Cell::gates[input_gates<Cell>.gate[i]].dx;
        else
            return Cell::gates[hidden_gates<Cell>.gate[i - G::inputs]].du;
    }
    template <int k>
    static constexpr int diagonal_slot(std::integral_constant<int, k>) {
        return Cell::diagonals.diagonal[k].slot;
    }
    static constexpr int diagonal_slot(int k) { return Cell::diagonals.diagonal[k].slot; }

    RNNKERNELS_INLINE V gain(int k, Index unit) const { return V(a.diagonal[k * a.hidden + unit]); }
    RNNKERNELS_INLINE V normal(Index row, Index unit, int i) const {
        return a.kept(now.first + row, unit, G::first_normal + i);
    }
    RNNKERNELS_INLINE T scale(Index row, int norm) const { return a.scales[(now.first + row) * G::norms + norm]; }
    // A slot stands in the first column that is its own.
    RNNKERNELS_INLINE V slot(Index row, Index unit, int slot) const {
        return a.load(a.gradient, a.column(now, row, unit, column_of(slot)));
    }
    RNNKERNELS_INLINE void store_slot(Index row, Index unit, int slot, V d) const {
        constexpr Columns columns = L::places.columns;
        RNNKERNELS_UNROLL(32)
        for (int i = 0; i < columns.count; ++i)
            if (columns.slot[i] == slot) a.store(a.gradient, a.column(now, row, unit, i), d);
    }
    static RNNKERNELS_INLINE int column_of(int slot) {
        constexpr Columns columns = L::places.columns;
        int found = 0;
        RNNKERNELS_UNROLL(32)
        for (int i = columns.count - 1; i >= 0; --i)
            if (columns.slot[i] == slot) found = i;
        return found;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
