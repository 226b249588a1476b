// LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; no peepholes):
//   i, f, o = sigmoid(.),  g = tanh(.)      each of W_ih x + b_ih + W_hh h + b_hh
//   c' = f c + i g
//   h' = o tanh(c')
// Gate order i f g o, as PyTorch and cuDNN. tanh(c') is computed again in the backward, not kept.
#pragma once

#include "cell.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class V>
struct Lstm {
    static constexpr const char* name = "lstm";
    static constexpr const char* states[] = {"h", "c"};
    static constexpr Gate gates[] = {
        {"i", true, Operand::hidden, 0, 0},
        {"f", true, Operand::hidden, 1, 1},
        {"g", true, Operand::hidden, 2, 2},
        {"o", true, Operand::hidden, 3, 3},
    };
    static constexpr int saved_count = 4;
    static constexpr int slot_count = 4;

    static RNNKERNELS_INLINE void forward(const V* x, const V* u, const V* s, V* n, V* saved) {
        const V i = sigmoid(x[0] + u[0]);
        const V f = sigmoid(x[1] + u[1]);
        const V g = tanh(x[2] + u[2]);
        const V o = sigmoid(x[3] + u[3]);
        const V c = fma(f, s[1], i * g);
        n[0] = o * tanh(c);
        n[1] = c;
        saved[0] = i, saved[1] = f, saved[2] = g, saved[3] = o;
    }

    static RNNKERNELS_INLINE void backward(const V* saved, const V* s, const V* n, const V* dn, V* d, V* ds) {
        const V i = saved[0], f = saved[1], g = saved[2], o = saved[3];
        const V tanh_c = tanh(n[1]);
        const V dc = fma(dn[0] * o, fma(-tanh_c, tanh_c, V(1)), dn[1]);
        d[0] = dc * g * i * (V(1) - i);
        d[1] = dc * s[1] * f * (V(1) - f);
        d[2] = dc * i * fma(-g, g, V(1));
        d[3] = dn[0] * tanh_c * o * (V(1) - o);
        ds[0] = V(0);
        ds[1] = dc * f;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
