// A step of a normalised cell on a row: the row of W_ih x and that of W_hh h are normalised, then the cell runs over
// its units; all by the threads of one team, since a sum over the row stands between. What is kept is what the CPU
// keeps (cpu/normalised_forward.h).
#pragma once

#include "forward_bodies.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr double kNormalEpsilon = 1e-5;

// What a row is normalised by.
template <class T>
struct Moments {
    T mean;
    T scale;  // 1 / sqrt(variance + epsilon)

    RNNKERNELS_INLINE T normal(T a) const { return (a - mean) * scale; }
};

template <class T>
RNNKERNELS_INLINE Moments<T> moments_of(const Team& team, const T* row, Index count) {
    const T size = static_cast<T>(count);
    const T mean = team.sum<T>(count, [row](Index i) { return row[i]; }) / size;
    const T variance = team.sum<T>(count, [row, mean](Index i) { return (row[i] - mean) * (row[i] - mean); }) / size;
    return {mean, T(1) / square_root(variance + T(kNormalEpsilon))};
}

template <class Cell, class T>
struct NormalisedForward {
    using V = Vec<T>;
    using G = Geometry<Cell>;
    using Arrays = ForwardArrays<Cell, T>;

    Arrays a;
    StepRows now;

    RNNKERNELS_INLINE void operator()(Index row, const Team& team) const {
        const T* x_row = a.x_row(now, row);
        const T* u_row = a.u_part + row * G::hiddens * a.hidden;
        const T nan = T(__builtin_nanf(""));
        const Moments<T> of_x = x_row ? moments_of(team, x_row, G::inputs * a.hidden) : Moments<T>{nan, nan};
        const Moments<T> of_u = moments_of(team, u_row, G::hiddens * a.hidden);
        keep_scale(team, row, 0, of_x.scale);
        keep_scale(team, row, 1, of_u.scale);
        team.each(a.hidden, [&](Index unit) {
            V x[G::gates], u[G::gates], s[G::states], saved[G::saved + 1];
            a.clear(x), a.clear(u);
            normalise<0, AllInputs>(of_x, x_row ? x_row : u_row, row, unit, a.bias_ih, x);
            normalise<G::inputs, typename Arrays::Hidden>(of_u, u_row, row, unit, a.bias_hh, u);
            if (a.term) add_term(row, unit, x);
            a.load_states(row, unit, s);
            if constexpr (normalises_inner<Cell>) {
                V m;
                Cell::forward_gates(x, u, s, saved, m);
                a.store_saved(now, row, unit, saved);
                a.inner[row * a.hidden + unit] = m.raw;
            } else {
                V n[G::states];
                Cell::forward(x, u, nullptr, s, n, saved);
                if (a.masks.zones) a.zone(now, row, unit, s, n);
                a.store_states(now, row, unit, n);
                if (a.reserve) a.store_saved(now, row, unit, saved);
            }
        });
        if constexpr (normalises_inner<Cell>) finish_row(row, team);
    }

private:
    struct AllInputs {
        static constexpr GateList gates = input_gates<Cell>;
    };
    static constexpr int kInner = G::inputs + G::hiddens;  // the inner value among what is normalised

    // From the value inside the cell, which now stands for all units, to the new states.
    RNNKERNELS_INLINE void finish_row(Index row, const Team& team) const {
        const T* inner = a.inner + row * a.hidden;
        const Moments<T> of_m = moments_of(team, inner, a.hidden);
        keep_scale(team, row, 2, of_m.scale);
        team.each(a.hidden, [&](Index unit) {
            V n[G::states], saved[G::saved + 1];
            RNNKERNELS_UNROLL(16)
            for (int k = 0; k < G::saved; ++k) saved[k] = V(a.saved_between(now, row, unit, k));
            const V normal(of_m.normal(inner[unit]));
            const V y = fma(gain(kInner, unit), normal, gain(kInner + 1, unit));
            Cell::forward_state(saved, V(inner[unit]), y, n);
            if (a.masks.zones) {
                V s[G::states];
                a.load_states(row, unit, s);
                a.zone(now, row, unit, s, n);
            }
            a.store_states(now, row, unit, n);
            if (a.reserve) a.kept(now, row, unit, G::first_normal + kInner) = normal.raw;
        });
    }

    template <int first, class List>
    RNNKERNELS_INLINE void normalise(const Moments<T>& moments, const T* part, Index row, Index unit, const T* shift,
                                     V* to) const {
        constexpr GateList gates = List::gates;
        RNNKERNELS_UNROLL(16)
        for (int i = 0; i < gates.count; ++i) {
            const V normal(moments.normal(part[i * a.hidden + unit]));
            const V moved = shift ? V(shift[i * a.hidden + unit]) : V(T(0));
            to[gates.gate[i]] = fma(gain(first + i, unit), normal, moved);
            if (a.reserve) a.kept(now, row, unit, G::first_normal + first + i) = normal.raw;
        }
    }
    RNNKERNELS_INLINE void add_term(Index row, Index unit, V* x) const {
        constexpr GateList gates = input_gates<Cell>;
        RNNKERNELS_UNROLL(16)
        for (int i = 0; i < G::inputs; ++i)
            x[gates.gate[i]] = x[gates.gate[i]] + V(a.term[(row * G::inputs + i) * a.hidden + unit]);
    }
    RNNKERNELS_INLINE V gain(int k, Index unit) const { return V(a.diagonal[k * a.hidden + unit]); }
    RNNKERNELS_INLINE void keep_scale(const Team& team, Index row, int norm, T scale) const {
        if (a.reserve) team.each(1, [&](Index) { a.scales[(now.first + row) * G::norms + norm] = scale; });
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
