// MUT1, MUT2 and MUT3, the mutated architectures of Jozefowicz, Zaremba and Sutskever 2015:
//   MUT1  z = sigmoid(W_xz x + b_z)                    MUT2  z = sigmoid(W_xz x + W_hz h + b_z)
//         r = sigmoid(W_xr x + W_hr h + b_r)                 r = sigmoid(x + W_hr h + b_r)
//         n = tanh(W_hn (r h) + tanh(x) + b_n)               n = tanh(W_hn (r h) + W_xn x + b_n)
//   MUT3  z = sigmoid(W_xz x + W_hz tanh(h) + b_z)     h' = z n + (1 - z) h        in all three: z keeps the NEW state
//         r = sigmoid(W_xr x + W_hr h + b_r)
//         n = tanh(W_hn (r h) + W_xn x + b_n)
// Gate order z r n. The bare x of MUT1 and MUT2 needs I = H; mut1_projected and mut2_projected have W_x x + b_x there.
#pragma once

#include "cell.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The maths of all three. `tanh_of_x`: gate n sees tanh(x_n), so that its x and recurrent parts have slots of their
// own.
template <class V, bool tanh_of_x>
struct MutForm {
    static constexpr const char* states[] = {"h"};
    static constexpr int saved_count = tanh_of_x ? 4 : 3;
    static constexpr int slot_count = tanh_of_x ? 4 : 3;

    static RNNKERNELS_INLINE void forward_gates(const V* x, const V* u, const V* s, V* saved, V& gated) {
        saved[0] = sigmoid(x[0] + u[0]);
        saved[1] = sigmoid(x[1] + u[1]);
        gated = saved[1] * s[0];
    }

    static RNNKERNELS_INLINE void forward_state(const V* x, const V* u, const V* s, V* saved, V* next) {
        V x_n = x[2];
        if constexpr (tanh_of_x) x_n = saved[3] = tanh(x[2]);
        const V n = tanh(x_n + u[2]);
        next[0] = fma(saved[0], n - s[0], s[0]);
        saved[2] = n;
    }

    static RNNKERNELS_INLINE void backward_state(const V* saved, const V* s, const V*, const V* dn, V* d, V* ds) {
        const V z = saved[0], n = saved[2];
        const V da_n = dn[0] * z * fma(-n, n, V(1));
        d[0] = dn[0] * (n - s[0]) * z * (V(1) - z);
        d[2] = da_n;
        if constexpr (tanh_of_x) d[3] = da_n * fma(-saved[3], saved[3], V(1));
        ds[0] = dn[0] * (V(1) - z);
    }

    static RNNKERNELS_INLINE void backward_gates(const V* saved, const V* s, V dgated, V* d, V* ds, V& gated) {
        const V r = saved[1];
        d[1] = dgated * s[0] * r * (V(1) - r);
        ds[0] = fma(dgated, r, ds[0]);
        gated = r * s[0];
    }
};

template <class V>
struct Mut1 : MutForm<V, true> {
    static constexpr const char* name = "mut1";
    static constexpr Gate gates[] = {
        {"z", Input::projected, Operand::none, 0, 0, Reader::sigmoid},
        {"r", Input::projected, Operand::hidden, 1, 1, Reader::sigmoid},
        {"n", Input::direct, Operand::gated, 3, 2},
    };
};

template <class V>
struct Mut1Projected : MutForm<V, true> {
    static constexpr const char* name = "mut1_projected";
    static constexpr Gate gates[] = {
        {"z", Input::projected, Operand::none, 0, 0, Reader::sigmoid},
        {"r", Input::projected, Operand::hidden, 1, 1, Reader::sigmoid},
        {"n", Input::projected, Operand::gated, 3, 2},
    };
};

template <class V>
struct Mut2 : MutForm<V, false> {
    static constexpr const char* name = "mut2";
    static constexpr Gate gates[] = {
        {"z", Input::projected, Operand::hidden, 0, 0, Reader::sigmoid},
        {"r", Input::direct, Operand::hidden, 1, 1},
        {"n", Input::projected, Operand::gated, 2, 2},
    };
};

template <class V>
struct Mut2Projected : MutForm<V, false> {
    static constexpr const char* name = "mut2_projected";
    static constexpr Gate gates[] = {
        {"z", Input::projected, Operand::hidden, 0, 0, Reader::sigmoid},
        {"r", Input::projected, Operand::hidden, 1, 1, Reader::sigmoid},
        {"n", Input::projected, Operand::gated, 2, 2},
    };
};

template <class V>
struct Mut3 : MutForm<V, false> {
    static constexpr const char* name = "mut3";
    static constexpr Gate gates[] = {
        {"z", Input::projected, Operand::feedback, 0, 0, Reader::sigmoid},
        {"r", Input::projected, Operand::hidden, 1, 1, Reader::sigmoid},
        {"n", Input::projected, Operand::gated, 2, 2},
    };
    static constexpr int feedback_count = 1;

    static RNNKERNELS_INLINE void feedback(const V* n, V* vectors) { vectors[0] = tanh(n[0]); }
    static RNNKERNELS_INLINE void feedback_backward(const V* n, const V* d_vectors, V* dn) {
        const V t = tanh(n[0]);
        dn[0] = fma(d_vectors[0], fma(-t, t, V(1)), dn[0]);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
