// GRU, reset after the product (the form of cuDNN and PyTorch):
//   r, z = sigmoid(W_ih x + b_ih + W_hh h + b_hh)
//   n    = tanh(W_in x + b_in + r (W_hn h + b_hn))
//   h'   = (1 - z) n + z h                         z keeps the OLD state
// Gate order r z n. b_hn stands inside the reset and can never be merged with b_in: gate n's x part and
// recurrent part have gradients, and so slots, of their own.
#pragma once

#include "cell.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class V>
struct Gru {
    static constexpr const char* name = "gru";
    static constexpr const char* states[] = {"h"};
    static constexpr Gate gates[] = {
        {"r", Input::projected, Operand::hidden, 0, 0, Reader::sigmoid},
        {"z", Input::projected, Operand::hidden, 1, 1, Reader::sigmoid},
        {"n", Input::projected, Operand::hidden, 2, 3},
    };
    static constexpr int saved_count = 4;
    static constexpr int slot_count = 4;

    static RNNKERNELS_INLINE void forward(const V* x, const V* u, const V*, const V* s, V* next, V* saved) {
        const V r = sigmoid(x[0] + u[0]);
        const V z = sigmoid(x[1] + u[1]);
        const V n = tanh(fma(r, u[2], x[2]));
        next[0] = fma(z, s[0] - n, n);
        saved[0] = r, saved[1] = z, saved[2] = n, saved[3] = u[2];
    }

    static RNNKERNELS_INLINE void backward(const V* saved, const V*, const V* s, const V*, const V* dn, V* d, V* ds) {
        const V r = saved[0], z = saved[1], n = saved[2], u_n = saved[3];
        const V da_n = dn[0] * (V(1) - z) * fma(-n, n, V(1));
        d[0] = da_n * u_n * r * (V(1) - r);
        d[1] = dn[0] * (s[0] - n) * z * (V(1) - z);
        d[2] = da_n;
        d[3] = da_n * r;
        ds[0] = dn[0] * z;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
