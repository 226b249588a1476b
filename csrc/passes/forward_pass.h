// A cell's forward over a strip: for each row and block load, the cell's maths, store (phases.h).
// Not here: the strip's layout (strip.h), options of a call (cpu/strip_options.h).
#pragma once

#include "../math/functions.h"

#include "phases.h"
#include "strip.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// One block of one row of a strip.
template <class Cell, class T>
struct ForwardAt {
    using V = Vec<T>;
    using G = Geometry<Cell>;
    static constexpr int lanes = V::lanes;

    const ForwardStrip<T>& p;
    Index row, block;  // of the layer's blocks
    Index at, left;    // the block's first unit; units of the layer from there on

    // Lanes from one gate of a product to the next.
    RNNKERNELS_INLINE Index gate() const { return left < lanes ? left : lanes; }

    RNNKERNELS_INLINE void load_x(V* x) const {
        clear(x);
        const T* from = p.x[row] + at * G::inputs;
        for (int i = 0; i < G::inputs; ++i) x[input_gates<Cell>.gate[i]] = V::load(from + i * gate());
        if (p.term) {
            const T* term = p.term + row * p.term_row + at;
            for (int i = 0; i < G::inputs; ++i) {
                V& to = x[input_gates<Cell>.gate[i]];
                to = to + V::load(term + i * p.hidden, left);
            }
        }
        if constexpr (G::directs > 0) {
            const V direct = V::load(p.direct[row] + at, left);
            for (int i = 0; i < G::directs; ++i) x[direct_gates<Cell>.gate[i]] = direct;
        }
    }
    RNNKERNELS_INLINE void load_u(V* u) const {
        clear(u);
        load_product(hidden_gates<Cell>, p.u + row * p.u_row, u);
        if constexpr (G::feedbacks > 0) load_product(feedback_gates<Cell>, p.fed + row * p.fed_row, u);
    }
    RNNKERNELS_INLINE void load_gated_u(V* u) const {
        clear(u);
        load_product(gated_gates<Cell>, p.u + row * p.u_row, u);
    }
    // Element-wise weights, then settings where the call has some.
    template <bool held>
    RNNKERNELS_INLINE void load_w(V* w) const {
        for (int k = 0; k < G::diagonals; ++k) w[k] = V::load(p.diagonal + k * p.diagonal_row + at);
        if constexpr (held)
            for (int k = 0; k < G::settings; ++k) w[G::diagonals + k] = V(p.settings[k]);
    }
    RNNKERNELS_INLINE void load_s(V* s) const {
        s[0] = projected<Cell> ? V(T(0)) : V::load(p.h + row * p.h_row + at, left);
        for (int k = 1; k < G::states; ++k) s[k] = V::load(others(k));
    }
    RNNKERNELS_INLINE void store_states(const V*, const V* n) const {
        n[0].store(p.out[row] + at, left);
        if (p.copy) n[0].store(p.copy + row * p.copy_row + at, left);
        for (int k = 1; k < G::states; ++k) n[k].store(others(k));
        if (p.states)
            for (int k = 1; k < G::states; ++k) n[k].store(reserve(p.states) + (k - 1) * lanes);
    }
    RNNKERNELS_INLINE void load_saved(V* saved) const {
        for (int i = 0; i < G::saved; ++i) saved[i] = V::load(reserve(p.saved) + i * lanes);
    }
    RNNKERNELS_INLINE void store_saved(const V* saved) const {
        if (!p.saved) return;
        for (int i = 0; i < G::saved; ++i) saved[i].store(reserve(p.saved) + i * lanes);
    }
    RNNKERNELS_INLINE V load_made() const { return V::load(p.made + row * p.made_row + at); }
    RNNKERNELS_INLINE void store_made(V made) const { made.store(p.made + row * p.made_row + at); }
    RNNKERNELS_INLINE V load_normal() const { return V::load(p.normal + at); }

private:
    RNNKERNELS_INLINE static void clear(V* gates) {
        for (int g = 0; g < G::gates; ++g) gates[g] = V(T(0));
    }
    RNNKERNELS_INLINE void load_product(const GateList& list, const T* from, V* u) const {
        from += (block - p.first) * list.count * lanes;
        for (int i = 0; i < list.count; ++i) u[list.gate[i]] = V::load(from + i * gate());
    }
    RNNKERNELS_INLINE T* others(int k) const {
        return p.others + row * p.others_row + at * (G::states - 1) + (k - 1) * lanes;
    }
    RNNKERNELS_INLINE T* reserve(T* first) const { return first + row * p.reserve_row + block * p.reserve_block; }
};

// phase(at) for every row and block of a strip.
template <class At, class Strip, class Phase>
RNNKERNELS_INLINE void each_block_of(const Strip& p, Phase phase) {
    for (Index row = 0; row < p.rows; ++row)
        for (Index block = p.first; block < p.first + p.blocks; ++block)
            phase(At{p, row, block, block * At::lanes, p.hidden - block * At::lanes});
}

template <class Cell, class T>
void forward_pass(const ForwardStrip<T>& p) {
    using At = ForwardAt<Cell, T>;
    if constexpr (halved<Cell>) {
        each_block_of<At>(p, [](const At& at) RNNKERNELS_INLINED { forward_gates<Cell>(at); });
    } else {
        // The settings of a call are asked for once in a strip: in every block the question costs more than the answer.
        if constexpr (setting_count<Cell> > 0)
            if (p.settings) {
                each_block_of<At>(p, [](const At& at) RNNKERNELS_INLINED { forward_step<true, Cell>(at); });
                return;
            }
        each_block_of<At>(p, [](const At& at) RNNKERNELS_INLINED { forward_step<false, Cell>(at); });
    }
}

template <class Cell, class T>
void forward_state_pass(const ForwardStrip<T>& p) {
    using At = ForwardAt<Cell, T>;
    each_block_of<At>(p, [](const At& at) RNNKERNELS_INLINED { forward_state<Cell>(at); });
}

template <class Cell, class T>
void feedback_pass(const FeedbackStrip<T>& p) {
    using V = Vec<T>;
    using G = Geometry<Cell>;
    constexpr int lanes = V::lanes;
    for (Index row = 0; row < p.rows; ++row)
        for (Index block = p.first; block < p.first + p.blocks; ++block) {
            const Index at = block * lanes, left = p.hidden - at;
            V s[G::states], vectors[G::vectors];
            s[0] = V::load(p.h[row] + at, left);
            for (int k = 1; k < G::states; ++k)
                s[k] = V::load(p.others + row * p.others_row + at * (G::states - 1) + (k - 1) * lanes);
            Cell::feedback(s, vectors);
            for (int k = 0; k < G::vectors; ++k)
                vectors[k].store(p.vectors + row * p.vectors_row + k * p.hidden + at, left);
        }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
