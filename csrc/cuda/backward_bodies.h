// What the threads of a cell's backward do: one unit of one row, in the phases of passes/phases.h. In what order the
// bodies run, and the products between them, is backward.h's; bodies that know no cell are in ends.h, options.h and
// normalise.h.
#pragma once

#include "../passes/phases.h"
#include "../recurrence/table_of.h"
#include "arrays.h"
#include "layout.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Where a unit's values lie. `whole`: what it stores of gate gradients is all of them, not the first half's.
template <class Cell, class T, bool whole>
struct BackwardAt {
    using V = Vec<T>;
    using G = Geometry<Cell>;
    static constexpr Layout layout = layout_of(table_of<Cell>());
    static_assert(rows_follow(table_of<Cell>()),
                  "the rows of weight_hh that one product multiplies must follow each other");
    // The slots that the maths fills, which come first.
    static constexpr int slots = normalised<Cell> ? Cell::slot_count - G::diagonals : G::slots;
    static constexpr int columns = layout.columns.count;
    static constexpr int first = projected<Cell> ? 1 : 0;  // of the states that are the maths' own
    static constexpr int inner = G::inputs + G::hiddens;   // the inner value among what was normalised

    const BackwardArrays<T>& a;
    Index row, unit;

    // dL/d(the states after the step) from the steps behind it. A row that has none has what came from the caller.
    RNNKERNELS_INLINE void load_dn(V* dn) const {
        load_ds(dn);
        if constexpr (projected<Cell>) {
            dn[0] = V(a.made_part[at()]);
        } else if (row < a.next) {
            if constexpr (G::hiddens == 0)
                dn[0] = dn[0] + V(T(0));  // a product of nothing: it makes 0 of -0, as the CPU's does
            else if (a.product)
                dn[0] = V(a.product[at()]) + dn[0];
        }
    }
    // The states before the step, and those the cell made of them; dn gets what the caller gave of the step's h.
    RNNKERNELS_INLINE void load_step(V* s, V* n, V* dn) const {
        load_s(s);
        RNNKERNELS_UNROLL(8)
        for (int k = 1; k < G::states; ++k) n[k] = V(a.after[k][row * a.kept_row + unit]);
        if constexpr (projected<Cell>) {
            n[0] = V(T(0));  // not what is stored: that is W_hr times it
        } else {
            const Index place = a.place(row) * a.hidden + unit;
            n[0] = a.after[0] ? V(a.after[0][row * a.kept_row + unit]) : a.load(a.output, place);
            if (a.d_output) dn[0] = a.load(a.d_output, place) + dn[0];
            if (a.operand) a.store(a.operand, at(), s[0]);
        }
    }
    RNNKERNELS_INLINE void load_s(V* s) const {
        s[0] = V(T(0));
        if (!projected<Cell> && a.h) {
            const Index from = a.h_first + row;
            s[0] = a.load(a.h, (a.h_places ? a.h_places[from] : from) * a.hidden + unit);
        }
        RNNKERNELS_UNROLL(8)
        for (int k = 1; k < G::states; ++k) s[k] = V(a.before[k][row * a.before_row + unit]);
    }
    RNNKERNELS_INLINE void load_saved(V* saved) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::saved; ++k) saved[k] = V(a.saved[row * a.kept_row + k * a.hidden + unit]);
    }
    // Element-wise weights, then settings.
    template <bool held>
    RNNKERNELS_INLINE void load_w(V* w) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::diagonals; ++k) w[k] = diagonal(k);
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::settings; ++k) w[G::diagonals + k] = V(a.settings[k]);
    }
    RNNKERNELS_INLINE void load_d(V* d) const {
        with_dtype<T>(a.storage, [&](auto stored) RNNKERNELS_INLINED {
            RNNKERNELS_UNROLL(32)
            for (int i = columns - 1; i >= 0; --i)
                if (column_slot(i) < slots) d[column_slot(i)] = V(stored.get(a.gradient, column(i)));
        });
    }
    RNNKERNELS_INLINE void store_d(const V* d) const {
        with_dtype<T>(a.storage, [&](auto stored) RNNKERNELS_INLINED {
            RNNKERNELS_UNROLL(32)
            for (int i = 0; i < columns; ++i)
                if (column_slot(i) < slots) stored.set(a.gradient, column(i), d[column_slot(i)].raw);
        });
        if constexpr (normalised<Cell> && whole) {
            RNNKERNELS_UNROLL(16)
            for (int i = 0; i < inner; ++i) store_gain(i, d[normal_slot(i)] * normal(i));
        }
    }
    RNNKERNELS_INLINE void store_d_of_gates(const V* d) const { store_d(d); }  // no product runs beside it
    RNNKERNELS_INLINE void load_ds(V* ds) const {
        if constexpr (projected<Cell>) ds[0] = V(T(0));
        RNNKERNELS_UNROLL(8)
        for (int k = first; k < G::states; ++k) ds[k] = V(a.carried[k][at()]);
    }
    RNNKERNELS_INLINE void store_ds(V* ds) const {
        if (a.past) {
            RNNKERNELS_UNROLL(8)
            for (int k = first; k < G::states; ++k) ds[k] = ds[k] + V(a.past[(row * G::states + k) * a.hidden + unit]);
        }
        RNNKERNELS_UNROLL(8)
        for (int k = first; k < G::states; ++k) a.carried[k][at()] = ds[k].raw;
    }
    RNNKERNELS_INLINE V load_d_gated() const { return V(a.gated_part[at()]); }
    // The gated state; of a value that is normalised inside the cell its gradient: as the maths left it (with what its
    // gain and its shift get) and, to load, behind the normalisation.
    RNNKERNELS_INLINE void store_made(V made) const {
        if constexpr (normalises_inner<Cell>) {
            store_gain(inner, made * normal(inner));
            store_gain(inner + 1, made);
        } else {
            store_as<T>(a.made, a.made_dtype, at(), made.raw);
        }
    }
    RNNKERNELS_INLINE V load_made() const { return V(load_as<T>(a.made, a.made_dtype, at())); }
    RNNKERNELS_INLINE V load_normal() const { return fma(diagonal(inner), normal(inner), diagonal(inner + 1)); }

    RNNKERNELS_INLINE Index at() const { return row * a.hidden + unit; }

private:
    // Constants for unrolled loops: which slot a column has, that of the i-th gate that was normalised, a gain's
    // column.
    static RNNKERNELS_INLINE int column_slot(int i) {
        constexpr Columns all = layout.columns;
        return all.slot[i];
    }
    static RNNKERNELS_INLINE int normal_slot(int i) {
        constexpr ProductGates x = table_of<Cell>().input, u = table_of<Cell>().hidden;
        return i < G::inputs ? x.bias_slot[i] : u.bias_slot[i - G::inputs];
    }
    static RNNKERNELS_INLINE int gain_column(int k) {
        constexpr GateRows all = [] {
            GateRows found{};
            for (int i = 0; i < G::diagonals; ++i) found.row[i] = layout.columns.of(table_of<Cell>().diagonal_slot[i]);
            return found;
        }();
        return all.row[k];
    }
    RNNKERNELS_INLINE Index column(int i) const { return (row * columns + i) * a.hidden + unit; }
    RNNKERNELS_INLINE V diagonal(int k) const { return V(a.diagonal[k * a.hidden + unit]); }
    RNNKERNELS_INLINE V normal(int i) const { return V(a.normals[row * a.kept_row + i * a.hidden + unit]); }
    RNNKERNELS_INLINE void store_gain(int k, V d) const { a.store(a.gradient, column(gain_column(k)), d); }
};

// A step; of a cell with two halves the first one.
template <class Cell, class T>
struct BackwardBody {
    BackwardArrays<T> a;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        if constexpr (halved<Cell>)
            backward_state<Cell>(BackwardAt<Cell, T, false>{a, row, unit});
        else
            backward_step<(setting_count<Cell> > 0), Cell>(BackwardAt<Cell, T, true>{a, row, unit});
    }
};

template <class Cell, class T>
struct BackwardGatesBody {
    BackwardArrays<T> a;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        backward_gates<Cell>(BackwardAt<Cell, T, true>{a, row, unit});
    }
};

// What comes to the states before the step through the step's products: to h, and by way of what was fed back.
template <class Cell, class T>
struct FeedbackBackwardBody {
    BackwardArrays<T> a;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using V = Vec<T>;
        using G = Geometry<Cell>;
        const BackwardAt<Cell, T, true> at{a, row, unit};
        V s[G::states], ds[G::states], d_fed[G::vectors];
        at.load_ds(ds);
        if (a.product) ds[0] = V(a.product[at.at()]) + ds[0];
        at.load_s(s);
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::vectors; ++k) d_fed[k] = V(a.fed_part[(row * G::vectors + k) * a.hidden + unit]);
        Cell::feedback_backward(s, d_fed, ds);
        at.store_ds(ds);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
