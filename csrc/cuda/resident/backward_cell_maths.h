// A built-in cell's maths in a resident backward (backward_maths.h): its own words, with what comes from the step
// behind in registers.
#pragma once

#include "../backward_bodies.h"
#include "backward_maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class Stored>
struct ResidentCellBackwardAt : BackwardAt<Cell, float, true> {
    using Base = BackwardAt<Cell, float, true>;
    using Base::a;
    using typename Base::G;
    using typename Base::V;

    Index hidden;  // a constant of the kernel, where that of the arrays is none
    const V* kept;
    V product;  // what came through the products of the step behind, where it has the row
    bool follows;
    V *carried, *du;

    RNNKERNELS_INLINE void load_dn(V* dn) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) dn[k] = carried[k];
        if (follows) dn[0] = product + dn[0];
    }
    RNNKERNELS_INLINE void load_step(V* s, V* n, V* dn) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) s[k] = kept[k], n[k] = kept[G::states + k];
        if (a.d_output) dn[0] = kept[2 * G::states] + dn[0];
        if (a.operand) Stored::set(a.operand, Base::row * hidden + Base::unit, s[0].raw);
    }
    RNNKERNELS_INLINE void load_saved(V* saved) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::saved; ++k) saved[k] = kept[2 * G::states + 1 + k];
    }
    RNNKERNELS_INLINE void store_d(const V* d) const {
        const Index at = Base::row * (Base::columns * hidden) + Base::unit;
        RNNKERNELS_UNROLL(32)
        for (int i = 0; i < Base::columns; ++i)
            if (slot(i) < Base::slots) Stored::set(a.gradient, at + i * hidden, d[slot(i)].raw);
        RNNKERNELS_UNROLL(8)
        for (int i = 0; i < G::hiddens; ++i) du[i] = d[slot(Base::layout.hidden + i)];
        RNNKERNELS_UNROLL(8)
        for (int i = 0; i < G::feedbacks; ++i) du[G::hiddens + i] = d[slot(Base::layout.feedback + i)];
    }
    RNNKERNELS_INLINE void store_ds(const V* ds) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) carried[k] = ds[k];
    }

protected:
    // The gradient slot of a column.
    static RNNKERNELS_INLINE int slot(int column) {
        constexpr Columns all = Base::layout.columns;
        return all.slot[column];
    }
};

template <class Cell>
struct ResidentCellBackward {
    using V = Vec<float>;
    using G = Geometry<Cell>;
    static constexpr int exchanges = 1, hiddens = G::hiddens, states = G::states;
    static constexpr int vectors = G::vectors, feds = G::feedbacks;
    // States before the step, states after it, the caller's gradient of h, the maths' own.
    static constexpr int kept = 2 * G::states + 1 + G::saved;
    RNNKERNELS_INLINE static constexpr int hidden_count(const ResidentBackwardCall&) { return hiddens; }
    RNNKERNELS_INLINE static constexpr int state_count(const ResidentBackwardCall&) { return states; }
    RNNKERNELS_INLINE static constexpr int fed_count(const ResidentBackwardCall&) { return feds; }

    template <class Stored>
    RNNKERNELS_INLINE static void fetch(const ResidentBackwardCall& call, const ResidentPlace& at, bool follows,
                                        V* kept) {
        fetch_states<Stored>(call, at, states, follows, kept);
        const BackwardArrays<float>& a = call.a;
        const Index first = at.row * a.kept_row + at.unit;
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::saved; ++k) kept[2 * states + 1 + k] = V(a.saved[first + k * at.hidden]);
    }
    template <class Stored>
    RNNKERNELS_INLINE static void step(const ResidentBackwardCall& call, const ResidentPlace& at, const V* kept,
                                       V product, bool follows, V* carried, V* du) {
        backward_step<(setting_count<Cell> > 0), Cell>(ResidentCellBackwardAt<Cell, Stored>{
            {call.a, at.row, at.unit}, at.hidden, kept, product, follows, carried, du});
    }
    RNNKERNELS_INLINE static void join(const ResidentBackwardCall&, const ResidentPlace&, const V* before,
                                       const V* d_fed, V* carried) {
        if constexpr (vectors > 0) Cell::feedback_backward(before, d_fed, carried);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
