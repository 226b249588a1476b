// A built-in cell's maths in a resident kernel (maths.h).
#pragma once

#include "../forward_bodies.h"
#include "maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell>
struct ResidentCellAt : ForwardAt<Cell, float> {
    using Base = ForwardAt<Cell, float>;
    using typename Base::G;
    using typename Base::V;

    const V *x, *u, *bias, *now;
    V* next;

    RNNKERNELS_INLINE void load_x(V* to) const {
        RNNKERNELS_UNROLL(16)
        for (int g = 0; g < G::gates; ++g) to[g] = x[g];
    }
    RNNKERNELS_INLINE void load_u(V* to) const {
        Base::clear(to);
        Base::template each_of<typename Base::HiddenGates>([&](int i, int g)
                                                               RNNKERNELS_INLINED { to[g] = u[i] + bias[i]; });
        if constexpr (G::feedbacks > 0) {
            constexpr int first = G::hiddens + G::gateds;
            Base::template each_of<typename Base::FeedbackGates>(
                [&](int i, int g) RNNKERNELS_INLINED { to[g] = u[first + i] + bias[first + i]; });
        }
    }
    RNNKERNELS_INLINE void load_s(V* s) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) s[k] = now[k];
    }
    RNNKERNELS_INLINE void store_states(const V*, const V* n) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < G::states; ++k) next[k] = n[k];
        Base::store_kept(n);
    }
};

template <class Cell>
struct ResidentCellMaths {
    using V = Vec<float>;
    using G = Geometry<Cell>;
    static constexpr int exchanges = 1, inputs = G::gates, hiddens = G::hiddens + G::gateds + G::feedbacks;
    static constexpr int states = G::states, vectors = G::vectors;
    RNNKERNELS_INLINE static constexpr int state_count(const ResidentCall&) { return states; }

    RNNKERNELS_INLINE static void begin(const ResidentCall& call, Index unit, V* bias) {
        const ForwardArrays<float>& a = call.a;
        RNNKERNELS_UNROLL(8)
        for (int i = 0; i < G::hiddens; ++i) bias[i] = V(a.bias_u ? a.bias_u[i * a.hidden + unit] : 0.0F);
        if constexpr (G::feedbacks > 0) {
            RNNKERNELS_UNROLL(8)
            for (int i = 0; i < G::feedbacks; ++i)
                bias[G::hiddens + G::gateds + i] = V(a.bias_fed ? a.bias_fed[i * a.hidden + unit] : 0.0F);
        }
    }
    RNNKERNELS_INLINE static void fetch(const ResidentCall& call, Index row, Index of_batch, Index unit, V* x) {
        ForwardAt<Cell, float>{call.a, row, unit, of_batch}.load_x(x);
    }
    RNNKERNELS_INLINE static void step(const ResidentCall& call, Index row, Index of_batch, Index unit, const V* x,
                                       const V* u, const V* bias, const V* now, V* next) {
        forward_step<(setting_count<Cell> > 0), Cell>(
            ResidentCellAt<Cell>{{call.a, row, unit, of_batch}, x, u, bias, now, next});
    }
    RNNKERNELS_INLINE static void keep(const ResidentCall& call, Index row, Index of_batch, Index unit, const V* next) {
        ForwardAt<Cell, float>{call.a, row, unit, of_batch}.store_kept(next);
    }
    RNNKERNELS_INLINE static void feed(const ResidentCall&, Index, Index, Index, const V* now, V* fed) {
        if constexpr (vectors > 0) Cell::feedback(now, fed);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
