// GRU, reset before the product (Cho et al. 2014; the lecture's form; Keras reset_after=False, ONNX's default):
//   r, z = sigmoid(W_ih x + b_ih + W_hh h + b_hh)
//   n    = tanh(W_in x + b_in + W_hn (r h) + b_hn)
//   h'   = (1 - z) n + z h                         z keeps the OLD state
// Gate order r z n. Gate n waits for r: two products per step, of h and of the gated state r h.
#pragma once

#include "cell.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class V>
struct GruResetBefore {
    static constexpr const char* name = "gru_reset_before";
    static constexpr const char* states[] = {"h"};
    static constexpr Gate gates[] = {
        {"r", Input::projected, Operand::hidden, 0, 0, Reader::sigmoid},
        {"z", Input::projected, Operand::hidden, 1, 1, Reader::sigmoid},
        {"n", Input::projected, Operand::gated, 2, 2},
    };
    static constexpr int saved_count = 3;
    static constexpr int slot_count = 3;

    static RNNKERNELS_INLINE void forward_gates(const V* x, const V* u, const V* s, V* saved, V& gated) {
        saved[0] = sigmoid(x[0] + u[0]);
        saved[1] = sigmoid(x[1] + u[1]);
        gated = saved[0] * s[0];
    }

    static RNNKERNELS_INLINE void forward_state(const V* x, const V* u, const V* s, V* saved, V* next) {
        const V n = tanh(x[2] + u[2]);
        next[0] = fma(saved[1], s[0] - n, n);
        saved[2] = n;
    }

    static RNNKERNELS_INLINE void backward_state(const V* saved, const V* s, const V*, const V* dn, V* d, V* ds) {
        const V z = saved[1], n = saved[2];
        d[1] = dn[0] * (s[0] - n) * z * (V(1) - z);
        d[2] = dn[0] * (V(1) - z) * fma(-n, n, V(1));
        ds[0] = dn[0] * z;
    }

    static RNNKERNELS_INLINE void backward_gates(const V* saved, const V* s, V dgated, V* d, V* ds, V& gated) {
        const V r = saved[0];
        d[0] = dgated * s[0] * r * (V(1) - r);
        ds[0] = fma(dgated, r, ds[0]);
        gated = r * s[0];
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
