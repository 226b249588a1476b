// A built-in cell's maths in a resident kernel whose step has two products (two_products_warp.h): its own two halves,
// with loads and stores that keep what goes from one to the other in registers.
#pragma once

#include "cell_maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The first half. What it saves is stored by the second, which completes it.
template <class Cell>
struct ResidentGatesAt : ResidentCellAt<Cell> {
    using typename ResidentCellAt<Cell>::V;

    V* saved;
    V& gated;

    RNNKERNELS_INLINE void store_saved(const V* from) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < Geometry<Cell>::saved; ++k) saved[k] = from[k];
    }
    RNNKERNELS_INLINE void store_made(V made) const { gated = made; }
};

// The second.
template <class Cell>
struct ResidentStateAt : ResidentCellAt<Cell> {
    using Base = ResidentCellAt<Cell>;
    using typename Base::G;
    using typename Base::V;

    const V* saved;

    RNNKERNELS_INLINE void load_saved(V* to) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::saved; ++k) to[k] = saved[k];
    }
    RNNKERNELS_INLINE void load_gated_u(V* to) const {
        Base::clear(to);
        Base::template each_of<typename Base::GatedGates>(
            [&](int i, int g) RNNKERNELS_INLINED { to[g] = Base::u[G::hiddens + i] + Base::bias[G::hiddens + i]; });
    }
};

template <class Cell>
struct TwoProductsCellMaths : ResidentCellMaths<Cell> {
    using V = Vec<float>;
    using G = Geometry<Cell>;
    static constexpr int exchanges = 2, saved = G::saved;
    RNNKERNELS_INLINE static constexpr int hidden_count(const ResidentCall&) { return G::hiddens; }

    RNNKERNELS_INLINE static void begin(const ResidentCall& call, Index unit, V* bias) {
        ResidentCellMaths<Cell>::begin(call, unit, bias);
        const ForwardArrays<float>& a = call.a;
        RNNKERNELS_UNROLL(8)
        for (int i = 0; i < G::gateds; ++i)
            bias[G::hiddens + i] = V(a.bias_gated ? a.bias_gated[i * a.hidden + unit] : 0.0F);
    }
    RNNKERNELS_INLINE static void gates(const ResidentCall& call, Index row, Index of_batch, Index unit, const V* x,
                                        const V* u, const V* bias, const V* now, V* between, V& gated) {
        forward_gates<Cell>(
            ResidentGatesAt<Cell>{{{call.a, row, unit, of_batch}, x, u, bias, now, nullptr}, between, gated});
    }
    RNNKERNELS_INLINE static void state(const ResidentCall& call, Index row, Index of_batch, Index unit, const V* x,
                                        const V* u, const V* bias, const V* now, const V* between, V* next) {
        forward_state<Cell>(ResidentStateAt<Cell>{{{call.a, row, unit, of_batch}, x, u, bias, now, next}, between});
    }
};

// Of any cell that resident kernels have.
template <class Cell>
using ResidentMathsOf = std::conditional_t<two_products<Cell>, TwoProductsCellMaths<Cell>, ResidentCellMaths<Cell>>;

}  // namespace rnnkernels::RNNKERNELS_TARGET
