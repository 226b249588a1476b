// A built-in cell's maths in a resident backward (backward_maths.h): its own words, with what comes from the step
// behind in registers.
#pragma once

#include "../backward_bodies.h"
#include "backward_maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell>
struct ResidentCellBackwardAt : BackwardAt<Cell, float, true> {
    using Base = BackwardAt<Cell, float, true>;
    using typename Base::G;
    using typename Base::V;

    const V *kept, *product;
    V *carried, *du;

    RNNKERNELS_INLINE void load_dn(V* dn) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) dn[k] = carried[k];
        if (product) dn[0] = *product + dn[0];
    }
    RNNKERNELS_INLINE void load_step(V* s, V* n, V* dn) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) s[k] = kept[k], n[k] = kept[G::states + k];
        if (Base::a.d_output) dn[0] = kept[2 * G::states] + dn[0];
        if (Base::a.operand) Base::a.store(Base::a.operand, Base::at(), s[0]);
    }
    RNNKERNELS_INLINE void load_saved(V* saved) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::saved; ++k) saved[k] = kept[2 * G::states + 1 + k];
    }
    RNNKERNELS_INLINE void store_d(const V* d) const {
        Base::store_d(d);
        RNNKERNELS_UNROLL(8)
        for (int i = 0; i < G::hiddens; ++i) du[i] = d[hidden_slot(i)];
    }
    RNNKERNELS_INLINE void store_ds(const V* ds) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) carried[k] = ds[k];
    }

private:
    static RNNKERNELS_INLINE int hidden_slot(int i) {
        constexpr ProductGates all = table_of<Cell>().hidden;
        return all.slot[i];
    }
};

template <class Cell>
struct ResidentCellBackward {
    using V = Vec<float>;
    using G = Geometry<Cell>;
    static constexpr int hiddens = G::hiddens, states = G::states;
    // States before the step, states after it, the caller's gradient of h, the maths' own.
    static constexpr int kept = 2 * G::states + 1 + G::saved;
    RNNKERNELS_INLINE static constexpr int hidden_count(const ResidentBackwardCall&) { return hiddens; }
    RNNKERNELS_INLINE static constexpr int state_count(const ResidentBackwardCall&) { return states; }

    RNNKERNELS_INLINE static void fetch(const ResidentBackwardCall& call, const ResidentPlace& at, bool follows,
                                        V* kept) {
        const BackwardArrays<float>& a = call.a;
        const auto output = [&](Index row)
                                RNNKERNELS_INLINED { return a.load(a.output, a.place(row) * a.hidden + at.unit); };
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < states; ++k) {
            V& after = kept[states + k];
            if (follows)
                after = kept[k];
            else
                after = k == 0 ? output(at.row) : V(a.after[k][at.row * a.kept_row + at.unit]);
        }
        const Index first = at.of_batch * a.hidden + at.unit;
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < states; ++k) {
            if (at.begins && k == 0)
                kept[k] = a.h ? a.load(a.h, first) : V(0.0F);
            else if (at.begins)
                kept[k] = V(a.before[k][first]);
            else
                kept[k] = k == 0 ? output(at.before) : V(a.after[k][at.before * a.kept_row + at.unit]);
        }
        if (a.d_output) kept[2 * states] = a.load(a.d_output, a.place(at.row) * a.hidden + at.unit);
        BackwardAt<Cell, float, true>{a, at.row, at.unit}.load_saved(kept + 2 * states + 1);
    }
    RNNKERNELS_INLINE static void step(const ResidentBackwardCall& call, const ResidentPlace& at, const V* kept,
                                       const V* product, V* carried, V* du) {
        backward_step<(setting_count<Cell> > 0), Cell>(
            ResidentCellBackwardAt<Cell>{{call.a, at.row, at.unit}, kept, product, carried, du});
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
