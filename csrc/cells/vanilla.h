// The vanilla ("simple", Elman 1990) recurrent network:
//   h' = f(W_ih x + b_ih + W_hh h + b_hh),   f = tanh or max(0, .)
// f's slope is a function of h' alone, so nothing is saved.
#pragma once

#include "cell.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class V>
struct RnnTanh {
    static constexpr const char* name = "rnn_tanh";
    static constexpr const char* states[] = {"h"};
    static constexpr Gate gates[] = {{"a", Input::projected, Operand::hidden, 0, 0}};
    static constexpr int saved_count = 0;
    static constexpr int slot_count = 1;

    static RNNKERNELS_INLINE void forward(const V* x, const V* u, const V*, const V*, V* n, V*) {
        n[0] = tanh(x[0] + u[0]);
    }

    static RNNKERNELS_INLINE void backward(const V*, const V*, const V*, const V* n, const V* dn, V* d, V* ds) {
        d[0] = dn[0] * fma(-n[0], n[0], V(1));
        ds[0] = V(0);
    }
};

template <class V>
struct RnnRelu {
    static constexpr const char* name = "rnn_relu";
    static constexpr const char* states[] = {"h"};
    static constexpr Gate gates[] = {{"a", Input::projected, Operand::hidden, 0, 0}};
    static constexpr int saved_count = 0;
    static constexpr int slot_count = 1;

    static RNNKERNELS_INLINE void forward(const V* x, const V* u, const V*, const V*, V* n, V*) {
        n[0] = relu(x[0] + u[0]);
    }

    static RNNKERNELS_INLINE void backward(const V*, const V*, const V*, const V* n, const V* dn, V* d, V* ds) {
        d[0] = where_positive(n[0], dn[0]);
        ds[0] = V(0);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
