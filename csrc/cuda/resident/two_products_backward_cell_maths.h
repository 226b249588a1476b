// A built-in cell's maths in a resident backward whose step has two products (two_products_backward_warp.h): its own
// two halves, with what goes from one to the other in registers.
#pragma once

#include "backward_cell_maths.h"
#include "operands.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The first half. Gate gradients are stored by the second, which completes them.
template <class Cell, class Stored>
struct ResidentStateBackwardAt : ResidentCellBackwardAt<Cell, Stored> {
    using Base = ResidentCellBackwardAt<Cell, Stored>;
    using typename Base::G;
    using typename Base::V;

    V* d;  // of every slot, rounded

    RNNKERNELS_INLINE void store_d(const V* from) const {
        RNNKERNELS_UNROLL(32)
        for (int i = 0; i < G::slots; ++i) d[i] = V(as_kept<Stored>(from[i].raw));
        RNNKERNELS_UNROLL(8)
        for (int i = 0; i < G::gateds; ++i) Base::du[i] = d[Base::slot(Base::layout.gated + i)];
    }
};

// The second.
template <class Cell, class Stored>
struct ResidentGatesBackwardAt : ResidentCellBackwardAt<Cell, Stored> {
    using Base = ResidentCellBackwardAt<Cell, Stored>;
    using typename Base::G;
    using typename Base::V;

    const V* d;    // the first half's
    float factor;  // of the gated state

    RNNKERNELS_INLINE void load_s(V* s) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) s[k] = Base::kept[k];
    }
    RNNKERNELS_INLINE void load_d(V* to) const {
        RNNKERNELS_UNROLL(32)
        for (int i = 0; i < G::slots; ++i) to[i] = d[i];
    }
    RNNKERNELS_INLINE void load_ds(V* ds) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) ds[k] = Base::carried[k];
    }
    RNNKERNELS_INLINE V load_d_gated() const { return Base::product; }
    RNNKERNELS_INLINE void store_made(V made) const {
        Stored::set(Base::a.made, Base::row * Base::hidden + Base::unit, made.raw * factor);
    }
    RNNKERNELS_INLINE void store_d_of_gates(const V* from) const { Base::store_d(from); }
};

template <class Cell>
struct TwoProductsCellBackward : ResidentCellBackward<Cell> {
    using V = Vec<float>;
    using G = Geometry<Cell>;
    static constexpr int exchanges = 2, gateds = G::gateds, between = G::slots;
    static constexpr bool past_is_late = false;
    RNNKERNELS_INLINE static constexpr int gated_count(const ResidentBackwardCall&) { return gateds; }

    template <class Stored>
    RNNKERNELS_INLINE static void state(const ResidentBackwardCall& call, const ResidentPlace& at, const V* kept,
                                        V product, bool follows, V* carried, V* d, V* du) {
        backward_state<Cell>(ResidentStateBackwardAt<Cell, Stored>{
            {{call.a, at.row, at.unit}, at.hidden, kept, product, follows, carried, du}, d});
    }
    template <class Stored>
    RNNKERNELS_INLINE static void gates(const ResidentBackwardCall& call, const ResidentPlace& at, const V* kept,
                                        V d_gated, V* carried, const V* d, V* du) {
        backward_gates<Cell>(ResidentGatesBackwardAt<Cell, Stored>{
            {{call.a, at.row, at.unit}, at.hidden, kept, d_gated, false, carried, du}, d, at.factor});
    }
};

// Of any cell that resident backwards have.
template <class Cell>
using ResidentBackwardMathsOf =
    std::conditional_t<two_products<Cell>, TwoProductsCellBackward<Cell>, ResidentCellBackward<Cell>>;

}  // namespace rnnkernels::RNNKERNELS_TARGET
