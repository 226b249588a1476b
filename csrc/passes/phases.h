// A cell's phases: what is loaded, which maths runs, what is stored; the one text for every engine. `At` is a unit of
// work that knows where its values lie: a register of units of one row of a strip (forward_pass.h, backward_pass.h), or
// one unit of one row on a GPU (cuda/forward_bodies.h, cuda/backward_bodies.h). Not here: memory. Not here: what
// follows what (recurrence/order.h).
#pragma once

#include "../recurrence/sizes.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Whether the phases of a cell come in two halves, with a product or a normalisation between them.
template <class Cell>
inline constexpr bool halved = two_products<Cell> || normalises_inner<Cell>;

// A whole step. `held`: the call has numbers for the cell's settings.
template <bool held, class Cell, class At>
RNNKERNELS_INLINE void forward_step(const At& at) {
    using V = typename At::V;
    using G = Geometry<Cell>;
    V x[G::gates], u[G::gates], w[G::diagonals + G::settings + 1], s[G::states], n[G::states], saved[G::saved + 1];
    at.load_x(x);
    at.load_u(u);
    at.load_s(s);
    if constexpr (normalised<Cell>) {
        Cell::forward(x, u, nullptr, s, n, saved);
    } else {
        at.template load_w<held>(w);
        if constexpr (held)
            Cell::template forward<true>(x, u, w, s, n, saved);
        else
            Cell::forward(x, u, w, s, n, saved);
    }
    at.store_states(s, n);
    at.store_saved(saved);
}

// The first half: as far as the value that is multiplied, or normalised, once more.
template <class Cell, class At>
RNNKERNELS_INLINE void forward_gates(const At& at) {
    using V = typename At::V;
    using G = Geometry<Cell>;
    V x[G::gates], u[G::gates], s[G::states], saved[G::saved + 1], made;
    RNNKERNELS_UNROLL(16)
    for (V& value : saved) value = V(0);
    at.load_x(x);
    at.load_u(u);
    at.load_s(s);
    Cell::forward_gates(x, u, s, saved, made);
    at.store_saved(saved);
    at.store_made(made);
}

// The second half.
template <class Cell, class At>
RNNKERNELS_INLINE void forward_state(const At& at) {
    using V = typename At::V;
    using G = Geometry<Cell>;
    V s[G::states], n[G::states], saved[G::saved + 1];
    at.load_s(s);
    at.load_saved(saved);
    if constexpr (normalises_inner<Cell>) {
        Cell::forward_state(saved, at.load_made(), at.load_normal(), n);
        at.store_states(s, n);
    } else {
        V x[G::gates], u[G::gates];
        at.load_x(x);
        at.load_gated_u(u);
        Cell::forward_state(x, u, s, saved, n);
        at.store_states(s, n);
        at.store_saved(saved);
    }
}

template <bool held, class Cell, class At>
RNNKERNELS_INLINE void backward_step(const At& at) {
    using V = typename At::V;
    using G = Geometry<Cell>;
    V saved[G::saved + 1], w[G::diagonals + G::settings + 1], s[G::states], n[G::states], dn[G::states], d[G::slots];
    V ds[G::states];
    at.load_dn(dn);
    at.load_step(s, n, dn);
    at.load_saved(saved);
    if constexpr (normalised<Cell>) {
        Cell::backward(saved, nullptr, s, n, dn, d, ds);
    } else {
        at.template load_w<held>(w);
        if constexpr (held)
            Cell::template backward<true>(saved, w, s, n, dn, d, ds);
        else
            Cell::backward(saved, w, s, n, dn, d, ds);
    }
    at.store_d(d);
    at.store_ds(ds);
}

// The half that comes first in a backward.
template <class Cell, class At>
RNNKERNELS_INLINE void backward_state(const At& at) {
    using V = typename At::V;
    using G = Geometry<Cell>;
    V saved[G::saved + 1], s[G::states], n[G::states], dn[G::states], d[G::slots];
    RNNKERNELS_UNROLL(16)
    for (V& value : d) value = V(0);
    at.load_dn(dn);
    at.load_step(s, n, dn);
    at.load_saved(saved);
    if constexpr (normalises_inner<Cell>) {
        V d_normal;
        Cell::backward_state(saved, at.load_normal(), dn, d, d_normal);
        at.store_d(d);
        at.store_made(d_normal);
        at.store_ds(dn);  // for the other half
    } else {
        V ds[G::states];
        Cell::backward_state(saved, s, n, dn, d, ds);
        at.store_d(d);
        at.store_ds(ds);
    }
}

template <class Cell, class At>
RNNKERNELS_INLINE void backward_gates(const At& at) {
    using V = typename At::V;
    using G = Geometry<Cell>;
    V saved[G::saved + 1], s[G::states], d[G::slots], ds[G::states];
    at.load_saved(saved);
    at.load_s(s);
    at.load_d(d);
    if constexpr (normalises_inner<Cell>) {
        V dn[G::states];
        at.load_ds(dn);
        Cell::backward_gates(saved, s, dn, at.load_made(), d, ds);
        at.store_d(d);
    } else {
        V gated;
        at.load_ds(ds);
        Cell::backward_gates(saved, s, at.load_d_gated(), d, ds, gated);
        at.store_made(gated);
        at.store_d_of_gates(d);
    }
    at.store_ds(ds);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
