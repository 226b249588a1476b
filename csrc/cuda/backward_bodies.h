// What the threads of a backward do: for each unit of each row of a step, gather dL/d(states), run the cell's backward,
// write gate gradients and what goes on to the step before. In what order the bodies run, and the products between
// them, is backward.h's.
#pragma once

#include "arrays.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The arrays of a backward; null where the call or the cell has none.
template <class Cell, class T>
struct BackwardArrays : CellArrays<Cell, T> {
    using Base = CellArrays<Cell, T>;
    using V = Vec<T>;
    using G = Geometry<Cell>;
    using L = Layout<Cell>;
    using Base::factor;
    using Base::hidden;
    using Base::load;
    using Base::masks;
    using Base::place;
    using Base::rows;
    using Base::store;
    using Base::width;

    const T* reserve{};      // (rows, vectors, H), the forward's
    const T* scales{};       // (rows, norms), the forward's
    const void* output{};    // (T*B, width), the caller's
    const void* d_output{};  // (T*B, width)
    const void* d_sequence[G::states]{};
    const void* initial[G::states]{};
    const void* d_final[G::states]{};
    void* gradient{};            // (rows of a chunk, columns, H)
    T* carried[G::states]{};     // each (B, H), h (B, P): dL/ds on its way to the step before
    T* h_part{};                 // (B, width): what comes to h through the products of the step behind
    T* fed_part{};               // (B, vectors*H): likewise to what was fed back
    T* gated_part{};             // (B, H)
    void* gated{};               // (rows of a chunk, H)
    void* dh{};                  // (rows of a chunk, P): dL/dh, where h is projected
    T* made_part{};              // (B, H): dL/d(what is projected)
    void* operand{};             // (rows of a chunk, width): h as the recurrent weight saw it, where that is not the
                                 // output a step earlier
    T* squares[G::states]{};     // (rows of a chunk, H or P): of dL/d(a state), for readings
    void* d_state[G::states]{};  // the caller's

    using Base::Base;

    RNNKERNELS_INLINE V kept(Index row, Index unit, int k) const {
        return V(reserve[(row * G::reserve(masks.zones) + k) * hidden + unit]);
    }
    RNNKERNELS_INLINE void load_saved(const StepRows& now, Index row, Index unit, V* saved) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::saved; ++k) saved[k] = kept(now.first + row, unit, k);
    }
    // h before a step, whose step before begins at row `before`; below 0: the initial one.
    RNNKERNELS_INLINE V h_before(Index before, Index row, Index unit) const {
        if (before >= 0) return load(output, rows.place(before + row) * width + unit);
        return initial[0] ? load(initial[0], row * width + unit) : V(T(0));
    }
    // The states before a step.
    RNNKERNELS_INLINE void load_states(Index before, Index row, Index unit, V* s) const {
        s[0] = projected<Cell> ? V(T(0)) : h_before(before, row, unit);
        RNNKERNELS_UNROLL(8)
        for (int k = 1; k < G::states; ++k) {
            if (before >= 0)
                s[k] = kept(before + row, unit, G::saved + k - 1);
            else
                s[k] = initial[k] ? load(initial[k], row * hidden + unit) : V(T(0));
        }
    }
    RNNKERNELS_INLINE void load_carried(Index row, Index unit, V* ds) const {
        RNNKERNELS_UNROLL(8)
        for (int k = projected<Cell> ? 1 : 0; k < G::states; ++k) ds[k] = V(carried[k][row * hidden + unit]);
        if constexpr (projected<Cell>) ds[0] = V(T(0));
    }
    RNNKERNELS_INLINE void store_carried(Index row, Index unit, const V* ds) const {
        RNNKERNELS_UNROLL(8)
        for (int k = projected<Cell> ? 1 : 0; k < G::states; ++k) carried[k][row * hidden + unit] = ds[k].raw;
    }
    // A slot's place in a row of gradients.
    RNNKERNELS_INLINE Index column(const StepRows& now, Index row, Index unit, int column) const {
        return ((now.in_chunk + row) * L::columns + column) * hidden + unit;
    }
    // The first `slots` of them.
    template <int slots>
    RNNKERNELS_INLINE void store_gradients(const StepRows& now, Index row, Index unit, const V* d) const {
        constexpr Columns columns = L::places.columns;
        RNNKERNELS_UNROLL(32)
        for (int i = 0; i < columns.count; ++i)
            if (columns.slot[i] < slots) store(gradient, column(now, row, unit, i), d[columns.slot[i]]);
    }
    template <int slots>
    RNNKERNELS_INLINE void load_gradients(const StepRows& now, Index row, Index unit, V* d) const {
        constexpr Columns columns = L::places.columns;
        RNNKERNELS_UNROLL(32)
        for (int i = columns.count - 1; i >= 0; --i)
            if (columns.slot[i] < slots) d[columns.slot[i]] = load(gradient, column(now, row, unit, i));
    }

    // dL/d(states after a step) from the steps behind it: what was carried along the element-wise paths and, for the
    // rows that have a step behind (`now.next`), what came through its products. The step's own outputs come in
    // take_in.
    RNNKERNELS_INLINE void carry(const StepRows& now, Index row, Index unit, V* dn) const {
        load_carried(row, unit, dn);
        if (row >= now.next) return;
        const V dropped = factor(now.first + now.count + row, unit);
        if constexpr (G::hiddens == 0)
            dn[0] = dn[0] + V(T(0));  // a product of nothing: it makes 0 of -0, as the CPU's does
        else if constexpr (!projected<Cell>)
            dn[0] = fma(V(h_part[row * hidden + unit]), dropped, dn[0]);
        if constexpr (G::vectors > 0) {
            V n[G::states], d_fed[G::vectors];
            load_states(now.count > 0 ? now.first : -1, row, unit, n);
            RNNKERNELS_UNROLL(8)
            for (int k = 0; k < G::vectors; ++k)
                d_fed[k] = V(fed_part[(row * G::vectors + k) * hidden + unit]) * dropped;
            Cell::feedback_backward(n, d_fed, dn);
        }
    }
    // dL/dh after a step of a projected cell: from the step behind it or, where a row has none, from the caller.
    RNNKERNELS_INLINE V carry_h(const StepRows& now, Index row, Index unit) const {
        const Index at = row * width + unit;
        if (row >= now.next) return V(carried[0][at]);
        return V(h_part[at]) * factor(now.first + now.count + row, unit);
    }
    // Adds the caller's gradient of a step's state, which is whole then: a reading is taken.
    RNNKERNELS_INLINE void take_in(const void* given, int k, const StepRows& now, Index row, Index unit, V& dn) const {
        const Index units = k == 0 ? width : hidden;
        if (given) dn = load(given, place(now, row) * units + unit) + dn;
        if (squares[k]) squares[k][(now.in_chunk + row) * units + unit] = (dn * dn).raw;
    }
    // The states before a step, those the cell made of them, and dn with all of the step's outputs. With zoneout dn
    // becomes what goes to the cell, `past` what goes past it to the states before.
    RNNKERNELS_INLINE void load_step(const StepRows& now, Index before, Index row, Index unit, V* s, V* n, V* dn,
                                     V* past) const {
        load_states(before, row, unit, s);
        RNNKERNELS_UNROLL(8)
        for (int k = 1; k < G::states; ++k) {
            n[k] = kept(now.first + row, unit, G::saved + k - 1);
            take_in(d_sequence[k], k, now, row, unit, dn[k]);
        }
        if constexpr (projected<Cell>) {
            n[0] = V(T(0));  // not what is stored: that is W_hr times it
        } else {
            n[0] = load(output, place(now, row) * width + unit);
            take_in(d_output, 0, now, row, unit, dn[0]);
            store_operand(now, row, unit, s[0]);
        }
        if (!masks.zones) return;
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) n[k] = kept(now.first + row, unit, G::first_own + k);
        masks.unzone(now.first + row, unit, dn, past);
    }
    // h before a step as the recurrent weight saw it.
    RNNKERNELS_INLINE void store_operand(const StepRows& now, Index row, Index unit, V h) const {
        if (operand) store(operand, (now.in_chunk + row) * width + unit, h * factor(now.first + row, unit));
    }
    RNNKERNELS_INLINE void add_past(const V* past, V* ds) const {
        if (!masks.zones) return;
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) ds[k] = ds[k] + past[k];
    }
    // The cell's backward, of a cell of one product; dn as carry gives it.
    RNNKERNELS_INLINE void differentiate(const StepRows& now, Index before, Index row, Index unit, V* dn) const {
        V saved[G::saved + 1], w[G::diagonals + G::settings + 1], s[G::states], n[G::states], d[G::slots];
        V ds[G::states], past[G::states];
        load_saved(now, row, unit, saved);
        this->load_weights(unit, w);
        load_step(now, before, row, unit, s, n, dn, past);
        if constexpr (G::settings > 0)
            Cell::template backward<true>(saved, w, s, n, dn, d, ds);
        else
            Cell::backward(saved, w, s, n, dn, d, ds);
        add_past(past, ds);
        store_gradients<G::slots>(now, row, unit, d);
        store_carried(row, unit, ds);
    }
};

// What arrives at the states after the last step. Over (B, the wider of H and P).
template <class Cell, class T>
struct BeginBackward {
    BackwardArrays<Cell, T> a;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < Geometry<Cell>::states; ++k) {
            const Index width = k == 0 ? a.width : a.hidden, at = row * width + unit;
            if (unit < width) a.carried[k][at] = a.d_final[k] ? load_as<T>(a.d_final[k], a.storage, at) : T(0);
        }
    }
};

// A step of a cell of one product. `before`: the first row of the step before it, or -1.
template <class Cell, class T>
struct BackwardStep {
    BackwardArrays<Cell, T> a;
    StepRows now;
    Index before;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        Vec<T> dn[Geometry<Cell>::states];
        if constexpr (projected<Cell>) {
            a.load_carried(row, unit, dn);
            dn[0] = Vec<T>(a.made_part[row * a.hidden + unit]);
        } else {
            a.carry(now, row, unit, dn);
        }
        a.differentiate(now, before, row, unit, dn);
    }
};

// The two phases of a cell of two products.
template <class Cell, class T>
struct BackwardState {
    BackwardArrays<Cell, T> a;
    StepRows now;
    Index before;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using V = Vec<T>;
        using G = Geometry<Cell>;
        V saved[G::saved + 1], s[G::states], n[G::states], dn[G::states], d[G::slots], ds[G::states], past[G::states];
        RNNKERNELS_UNROLL(16)
        for (V& value : d) value = V(T(0));
        a.carry(now, row, unit, dn);
        a.load_saved(now, row, unit, saved);
        a.load_step(now, before, row, unit, s, n, dn, past);
        Cell::backward_state(saved, s, n, dn, d, ds);
        a.add_past(past, ds);
        a.template store_gradients<G::slots>(now, row, unit, d);
        a.store_carried(row, unit, ds);
    }
};

template <class Cell, class T>
struct BackwardGates {
    BackwardArrays<Cell, T> a;
    StepRows now;
    Index before;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using V = Vec<T>;
        using G = Geometry<Cell>;
        V saved[G::saved + 1], s[G::states], d[G::slots], ds[G::states], gated;
        a.load_saved(now, row, unit, saved);
        a.load_states(before, row, unit, s);
        a.template load_gradients<G::slots>(now, row, unit, d);
        a.load_carried(row, unit, ds);
        const V factor = a.factor(now.first + row, unit);
        Cell::backward_gates(saved, s, V(a.gated_part[row * a.hidden + unit]) * factor, d, ds, gated);
        a.template store_gradients<G::slots>(now, row, unit, d);
        a.store_carried(row, unit, ds);
        a.store(a.gated, (now.in_chunk + row) * a.hidden + unit, gated * factor);
    }
};

// dL/dh of a step of a projected cell, all of it. Over (rows, P).
template <class Cell, class T>
struct BackwardProjection {
    BackwardArrays<Cell, T> a;
    StepRows now;
    Index before;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        Vec<T> dh = a.carry_h(now, row, unit);
        a.take_in(a.d_output, 0, now, row, unit, dh);
        a.store(a.dh, (now.in_chunk + row) * a.width + unit, dh);
        a.store_operand(now, row, unit, a.h_before(before, row, unit));
    }
};

// The gradients of the initial states. Over (B, the wider of H and P); `now` is the step before the first: no rows of
// its own, all of the first step's behind it.
template <class Cell, class T>
struct FinishBackward {
    BackwardArrays<Cell, T> a;
    StepRows now;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using V = Vec<T>;
        using G = Geometry<Cell>;
        if (unit < a.hidden) {
            V dn[G::states];
            a.carry(now, row, unit, dn);
            RNNKERNELS_UNROLL(8)
            for (int k = projected<Cell> ? 1 : 0; k < G::states; ++k)
                a.store(a.d_state[k], row * a.hidden + unit, dn[k]);
        }
        if constexpr (projected<Cell>)
            if (unit < a.width) a.store(a.d_state[0], row * a.width + unit, a.carry_h(now, row, unit));
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
