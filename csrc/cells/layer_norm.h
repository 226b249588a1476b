// Layer-normalised cells (Ba, Kiros and Hinton 2016, "Layer Normalization"). With
//   LN(a) = gain (a - mean(a)) / sqrt(var(a) + 1e-5) + shift       mean and variance over a row of a
//   x = LN(W_ih x), u = LN(W_hh h)                                 over all gates and units; the shifts are the biases
// lstm_layer_norm (their eq. 20 to 22):
//   i, f, o = sigmoid(x + u), g = tanh(x_g + u_g)
//   c' = f c + i g
//   h' = o tanh(LN(c'))                                            over the units
// gru_layer_norm: the maths of gru.h on these x and u.
// Not here: the normalisation, which needs whole rows (cpu/normalise.h).
#pragma once

#include "gru.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class V>
struct LstmLayerNorm {
    static constexpr const char* name = "lstm_layer_norm";
    static constexpr const char* states[] = {"h", "c"};
    static constexpr Gate gates[] = {
        {"i", Input::projected, Operand::hidden, 0, 0, Reader::sigmoid},
        {"f", Input::projected, Operand::hidden, 1, 1, Reader::sigmoid},
        {"g", Input::projected, Operand::hidden, 2, 2},
        {"o", Input::projected, Operand::hidden, 3, 3, Reader::sigmoid},
    };
    static constexpr Normalisation normalisation = Normalisation::products_and_inner;
    static constexpr DiagonalList diagonals{10,
                                            {{"x_i", 4, Initial::one},
                                             {"x_f", 5, Initial::one},
                                             {"x_g", 6, Initial::one},
                                             {"x_o", 7, Initial::one},
                                             {"u_i", 8, Initial::one},
                                             {"u_f", 9, Initial::one},
                                             {"u_g", 10, Initial::one},
                                             {"u_o", 11, Initial::one},
                                             {"c", 12, Initial::one},
                                             {"c_shift", 13, Initial::zero}}};
    static constexpr int saved_count = 4;
    static constexpr int slot_count = 14;

    static RNNKERNELS_INLINE void forward_gates(const V* x, const V* u, const V* s, V* saved, V& m) {
        const V i = sigmoid(x[0] + u[0]);
        const V f = sigmoid(x[1] + u[1]);
        const V g = tanh(x[2] + u[2]);
        m = fma(f, s[1], i * g);
        saved[0] = i, saved[1] = f, saved[2] = g, saved[3] = sigmoid(x[3] + u[3]);
    }

    static RNNKERNELS_INLINE void forward_state(const V* saved, V m, V y, V* n) {
        n[0] = saved[3] * tanh(y);
        n[1] = m;
    }

    static RNNKERNELS_INLINE void backward_state(const V* saved, V y, const V* dn, V* d, V& dy) {
        const V o = saved[3], out = tanh(y);
        d[3] = dn[0] * out * o * (V(1) - o);
        dy = dn[0] * o * fma(-out, out, V(1));
    }

    static RNNKERNELS_INLINE void backward_gates(const V* saved, const V* s, const V* dn, V dm, V* d, V* ds) {
        const V i = saved[0], f = saved[1], g = saved[2], dc = dn[1] + dm;
        d[0] = dc * g * i * (V(1) - i);
        d[1] = dc * s[1] * f * (V(1) - f);
        d[2] = dc * i * fma(-g, g, V(1));
        ds[0] = V(0);
        ds[1] = dc * f;
    }
};

template <class V>
struct GruLayerNorm : Gru<V> {
    static constexpr const char* name = "gru_layer_norm";
    static constexpr Normalisation normalisation = Normalisation::products;
    static constexpr DiagonalList diagonals{6,
                                            {{"x_r", 4, Initial::one},
                                             {"x_z", 5, Initial::one},
                                             {"x_n", 6, Initial::one},
                                             {"u_r", 7, Initial::one},
                                             {"u_z", 8, Initial::one},
                                             {"u_n", 9, Initial::one}}};
    static constexpr int slot_count = Gru<V>::slot_count + diagonals.count;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
