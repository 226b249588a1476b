// Cells with less in them than a GRU.
//
// mgu, the minimal gated unit (Zhou et al. 2016):
//   f  = sigmoid(W_xf x + W_hf h + b_f)
//   n  = tanh(W_xn x + W_hn (f h) + b_n)
//   h' = (1 - f) h + f n                         f keeps the NEW state
// ligru, the light GRU (Ravanelli et al. 2018), without its batch normalisation of W x:
//   z  = sigmoid(W_xz x + W_hz h + b_z)
//   a  = max(0, W_xa x + W_ha h + b_a)
//   h' = z h + (1 - z) a                         z keeps the OLD state
// janet, just another network (van der Westhuizen, Lasenby 2018), an LSTM with its forget gate alone:
//   s  = W_xf x + W_hf h + b_f
//   n  = tanh(W_xn x + W_hn h + b_n)
//   h' = sigmoid(s) h + (1 - sigmoid(s - 1)) n   what is kept and what is let in add up to more than 1
// indrnn, the independently recurrent network (Li et al. 2018), each unit sees itself alone:
//   h' = max(0, W_x x + b + w h)                 w: one number per unit
#pragma once

#include "cell.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class V>
struct Mgu {
    static constexpr const char* name = "mgu";
    static constexpr const char* states[] = {"h"};
    static constexpr Gate gates[] = {
        {"f", Input::projected, Operand::hidden, 0, 0, Reader::sigmoid},
        {"n", Input::projected, Operand::gated, 1, 1},
    };
    static constexpr int saved_count = 2;
    static constexpr int slot_count = 2;

    static RNNKERNELS_INLINE void forward_gates(const V* x, const V* u, const V* s, V* saved, V& gated) {
        saved[0] = sigmoid(x[0] + u[0]);
        gated = saved[0] * s[0];
    }

    static RNNKERNELS_INLINE void forward_state(const V* x, const V* u, const V* s, V* saved, V* next) {
        const V n = tanh(x[1] + u[1]);
        next[0] = fma(saved[0], n - s[0], s[0]);
        saved[1] = n;
    }

    static RNNKERNELS_INLINE void backward_state(const V* saved, const V* s, const V*, const V* dn, V* d, V* ds) {
        const V f = saved[0], n = saved[1];
        d[0] = dn[0] * (n - s[0]);  // dL/df so far
        d[1] = dn[0] * f * fma(-n, n, V(1));
        ds[0] = dn[0] * (V(1) - f);
    }

    static RNNKERNELS_INLINE void backward_gates(const V* saved, const V* s, V dgated, V* d, V* ds, V& gated) {
        const V f = saved[0];
        d[0] = fma(dgated, s[0], d[0]) * f * (V(1) - f);
        ds[0] = fma(dgated, f, ds[0]);
        gated = f * s[0];
    }
};

template <class V>
struct LiGru {
    static constexpr const char* name = "ligru";
    static constexpr const char* states[] = {"h"};
    static constexpr Gate gates[] = {
        {"z", Input::projected, Operand::hidden, 0, 0, Reader::sigmoid},
        {"a", Input::projected, Operand::hidden, 1, 1},
    };
    static constexpr int saved_count = 2;
    static constexpr int slot_count = 2;

    static RNNKERNELS_INLINE void forward(const V* x, const V* u, const V*, const V* s, V* n, V* saved) {
        const V z = sigmoid(x[0] + u[0]);
        const V a = relu(x[1] + u[1]);
        n[0] = fma(z, s[0] - a, a);
        saved[0] = z, saved[1] = a;
    }

    static RNNKERNELS_INLINE void backward(const V* saved, const V*, const V* s, const V*, const V* dn, V* d, V* ds) {
        const V z = saved[0], a = saved[1];
        d[0] = dn[0] * (s[0] - a) * z * (V(1) - z);
        d[1] = where_positive(a, dn[0] * (V(1) - z));
        ds[0] = dn[0] * z;
    }
};

template <class V>
struct Janet {
    static constexpr const char* name = "janet";
    static constexpr const char* states[] = {"h"};
    static constexpr Gate gates[] = {
        {"f", Input::projected, Operand::hidden, 0, 0, Reader::sigmoid},
        {"n", Input::projected, Operand::hidden, 1, 1},
    };
    static constexpr int saved_count = 3;
    static constexpr int slot_count = 2;

    static RNNKERNELS_INLINE void forward(const V* x, const V* u, const V*, const V* s, V* n, V* saved) {
        const V a = x[0] + u[0];
        const V f = sigmoid(a), i = sigmoid(V(1) - a);  // 1 - sigmoid(a - 1), without the subtraction
        const V candidate = tanh(x[1] + u[1]);
        n[0] = fma(f, s[0], i * candidate);
        saved[0] = f, saved[1] = i, saved[2] = candidate;
    }

    static RNNKERNELS_INLINE void backward(const V* saved, const V*, const V* s, const V*, const V* dn, V* d, V* ds) {
        const V f = saved[0], i = saved[1], n = saved[2];
        d[0] = dn[0] * fma(s[0] * f, V(1) - f, -(n * i * (V(1) - i)));
        d[1] = dn[0] * i * fma(-n, n, V(1));
        ds[0] = dn[0] * f;
    }
};

template <class V>
struct IndRnn {
    static constexpr const char* name = "indrnn";
    static constexpr const char* states[] = {"h"};
    static constexpr Gate gates[] = {{"a", Input::projected, Operand::none, 0, 0}};
    static constexpr DiagonalList diagonals{1, {{"h", 1}}};
    static constexpr int saved_count = 0;
    static constexpr int slot_count = 2;

    static RNNKERNELS_INLINE void forward(const V* x, const V*, const V* w, const V* s, V* n, V*) {
        n[0] = relu(fma(w[0], s[0], x[0]));
    }

    static RNNKERNELS_INLINE void backward(const V*, const V* w, const V* s, const V* n, const V* dn, V* d, V* ds) {
        d[0] = where_positive(n[0], dn[0]);
        d[1] = d[0] * s[0];
        ds[0] = d[0] * w[0];
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
