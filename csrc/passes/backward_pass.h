// A cell's backward over a strip: for each row and block load, the cell's maths, store (phases.h).
// Not here: the strip's layout (strip.h), options of a call (cpu/strip_options.h).
#pragma once

#include "forward_pass.h"  // each_block_of

namespace rnnkernels::RNNKERNELS_TARGET {

// One block of one row of a strip.
template <class Cell, class T>
struct BackwardAt {
    using V = Vec<T>;
    using G = Geometry<Cell>;
    static constexpr int lanes = V::lanes;
    // The slots that the maths fills: those of the gains of what is normalised, and what lies behind, are the engine's.
    static constexpr int slots = normalised<Cell> ? Cell::slot_count - G::diagonals : G::slots;

    const BackwardStrip<T>& p;
    Index row, block;  // of the layer's blocks
    Index at, left;    // the block's first unit; units of the layer from there on

    // dL/d(the states after the step), but for what the caller gives of the step's own h (load_step). Of a projected
    // cell the product is all that comes to what is projected.
    RNNKERNELS_INLINE void load_dn(V* dn) const {
        for (int k = 0; k < G::states; ++k) dn[k] = V::load(carried(k));
        if constexpr (projected<Cell>)
            dn[0] = load_d_gated();
        else if (p.product)
            dn[0] = load_d_gated() + dn[0];
    }
    // The states before the step, and as the maths made them of these.
    RNNKERNELS_INLINE void load_step(V* s, V* n, V* dn) const {
        load_s(s);
        n[0] = projected<Cell> ? V(T(0)) : V::load(p.out[row] + block * p.out_block, left);
        for (int k = 1; k < G::states; ++k) n[k] = V::load(p.after[k] + row * p.after_row + block * p.after_block);
        if (p.d_out) dn[0] = V::load(p.d_out[row] + at, left) + dn[0];
    }
    RNNKERNELS_INLINE void load_s(V* s) const {
        s[0] = projected<Cell> ? V(T(0)) : V::load(p.h[row] + at, left);
        for (int k = 1; k < G::states; ++k) s[k] = V::load(p.before[k] + row * p.before_row + block * p.before_block);
    }
    RNNKERNELS_INLINE void load_saved(V* saved) const {
        const T* from = p.saved + row * p.reserve_row + block * p.reserve_block;
        for (int i = 0; i < G::saved; ++i) saved[i] = V::load(from + i * lanes);
    }
    // Element-wise weights, then settings where the call has some.
    template <bool held>
    RNNKERNELS_INLINE void load_w(V* w) const {
        for (int k = 0; k < G::diagonals; ++k) w[k] = V::load(p.diagonal + k * p.diagonal_row + at);
        if constexpr (held)
            for (int k = 0; k < G::settings; ++k) w[G::diagonals + k] = V(p.settings[k]);
    }
    RNNKERNELS_INLINE void load_d(V* d) const {
        for (int i = 0; i < slots; ++i) d[i] = V::load(slot(i));
    }
    RNNKERNELS_INLINE void store_d(const V* d) const {
        for (int i = 0; i < slots; ++i) d[i].store(slot(i));
    }
    // All but what the product of the gated state reads: other threads may be at it, for their units.
    RNNKERNELS_INLINE void store_d_of_gates(const V* d) const {
        for (int i = 0; i < slots; ++i)
            if ((gated_slots<Cell> >> i & 1) == 0) d[i].store(slot(i));
    }
    RNNKERNELS_INLINE void load_ds(V* ds) const {
        for (int k = 0; k < G::states; ++k) ds[k] = V::load(carried(k));
    }
    RNNKERNELS_INLINE void store_ds(const V* ds) const {
        for (int k = 0; k < G::states; ++k) ds[k].store(carried(k));
    }
    RNNKERNELS_INLINE V load_d_gated() const { return V::load(product()); }
    RNNKERNELS_INLINE V load_made() const { return V::load(p.made + row * p.made_row + at); }
    RNNKERNELS_INLINE void store_made(V made) const { made.store(p.made + row * p.made_row + at); }
    RNNKERNELS_INLINE V load_normal() const { return V::load(p.normal + at); }

    // What the products gave this block: of h, and p.product_vector further each of what was fed back.
    RNNKERNELS_INLINE const T* product() const { return p.product + row * p.product_row + (block - p.first) * lanes; }
    RNNKERNELS_INLINE T* carried(int k) const { return p.carried + row * p.carried_row + at * G::states + k * lanes; }

private:
    RNNKERNELS_INLINE T* slot(int i) const { return p.d + row * p.d_row + i * p.d_slot + at; }
};

template <class Cell, class T>
void backward_pass(const BackwardStrip<T>& p) {
    using At = BackwardAt<Cell, T>;
    if constexpr (halved<Cell>) {
        each_block_of<At>(p, [](const At& at) RNNKERNELS_INLINED { backward_state<Cell>(at); });
    } else {
        if constexpr (setting_count<Cell> > 0)
            if (p.settings) {
                each_block_of<At>(p, [](const At& at) RNNKERNELS_INLINED { backward_step<true, Cell>(at); });
                return;
            }
        each_block_of<At>(p, [](const At& at) RNNKERNELS_INLINED { backward_step<false, Cell>(at); });
    }
}

template <class Cell, class T>
void backward_gates_pass(const BackwardStrip<T>& p) {
    using At = BackwardAt<Cell, T>;
    each_block_of<At>(p, [](const At& at) RNNKERNELS_INLINED { backward_gates<Cell>(at); });
}

// Adds to `carried` what came to the states after the step through the vectors that were fed back.
template <class Cell, class T>
void feedback_backward_pass(const BackwardStrip<T>& p) {
    using At = BackwardAt<Cell, T>;
    using V = Vec<T>;
    using G = Geometry<Cell>;
    each_block_of<At>(p, [&p](const At& at) RNNKERNELS_INLINED {
        V n[G::states], dn[G::states], d_vectors[G::vectors];
        n[0] = V::load(p.out[at.row] + at.block * p.out_block, at.left);
        for (int k = 1; k < G::states; ++k)
            n[k] = V::load(p.after[k] + at.row * p.after_row + at.block * p.after_block);
        for (int k = 0; k < G::vectors; ++k) d_vectors[k] = V::load(at.product() + (1 + k) * p.product_vector);
        at.load_ds(dn);
        Cell::feedback_backward(n, d_vectors, dn);
        at.store_ds(dn);
    });
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
