// sLSTM (Beck et al. 2024, "xLSTM"), one head: an LSTM whose input gate is an exponential, with a
// normaliser n, and a stabiliser m that keeps both from overflowing. With a = x + u:
//   z  = tanh(a_z),  o = sigmoid(a_o)
//   l  = log sigmoid(a_f) + m            slstm_exp, whose forget gate is an exponential too: a_f + m
//   m' = max(l, a_i)
//   i  = exp(a_i - m'),  f = exp(l - m')
//   c' = f c + i z
//   n' = f n + i
//   h' = o c' / n'
// Gate order i f z o, as the authors' code, which sets m' = a_i in a first step (c = n = 0). No need: then c' / n' is z
// for any m', and all that later outputs see of it is c' and n' times e^m', which do not depend on m' either.
//
// Of i and f one is 1 and the other e = exp(-|a_i - l|), so one exponential serves both. It is kept with the sign of
// a_i - l, which says where m' came from. The backward is the full derivative, m's included: none is stopped.
#pragma once

#include "cell.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class V, bool exponential_forget>
struct SlstmForm {
    static constexpr const char* states[] = {"h", "c", "n", "m"};
    // c, n and m are one value in parts: to keep one of them and not the others has no meaning. (A 4, since Clang does
    // not complete the type of an array in a template where it is only read.)
    static constexpr StateFlags state_flags[4] = {
        {}, {.zoned = false}, {.zoned = false, .positive = true}, {.zoned = false}};
    static constexpr Gate gates[] = {
        {"i", Input::projected, Operand::hidden, 0, 0},
        {"f", Input::projected, Operand::hidden, 1, 1},
        {"z", Input::projected, Operand::hidden, 2, 2},
        {"o", Input::projected, Operand::hidden, 3, 3, Reader::sigmoid},
    };
    static constexpr int saved_count = exponential_forget ? 3 : 4;  // e with a sign, z, o, a_f
    static constexpr int slot_count = 4;

    static RNNKERNELS_INLINE void forward(const V* x, const V* u, const V*, const V* s, V* n, V* saved) {
        const V a_i = x[0] + u[0], a_f = x[1] + u[1];
        const V z = tanh(x[2] + u[2]), o = sigmoid(x[3] + u[3]);
        V l = s[3];
        if constexpr (exponential_forget) {
            l = a_f + l;
        } else {
            l = log_sigmoid(a_f) + l;
            saved[3] = a_f;
        }
        const V lead = a_i - l, e = exp(-abs(lead));
        const V i = where_positive(lead, V(1), e), f = where_positive(lead, e, V(1));
        n[1] = fma(f, s[1], i * z);
        n[2] = fma(f, s[2], i);
        n[3] = max(l, a_i);
        n[0] = o * (n[1] / n[2]);
        saved[0] = where_positive(lead, e, -e), saved[1] = z, saved[2] = o;
    }

    static RNNKERNELS_INLINE void backward(const V* saved, const V*, const V* s, const V* n, const V* dn, V* d, V* ds) {
        const V sign = saved[0], e = abs(sign), z = saved[1], o = saved[2];
        const V i = where_positive(sign, V(1), e), f = where_positive(sign, e, V(1));
        const V inverse = V(1) / n[2], ratio = n[1] * inverse, by_h = dn[0] * o * inverse;
        const V d_c = dn[1] + by_h, d_n = fma(-by_h, ratio, dn[2]);
        // log e is the smaller of a_i and l minus the larger, which is m': the gate that is 1 has no slope.
        const V smaller = e * where_positive(sign, fma(d_c, s[1], d_n * s[2]), fma(d_c, z, d_n));
        const V larger = dn[3] - smaller;
        const V d_l = where_positive(sign, smaller, larger);
        d[0] = where_positive(sign, larger, smaller);
        d[1] = d_l;
        if constexpr (!exponential_forget) d[1] = d_l * sigmoid(-saved[3]);
        d[2] = d_c * i * fma(-z, z, V(1));
        d[3] = dn[0] * ratio * o * (V(1) - o);
        ds[0] = V(0);
        ds[1] = d_c * f;
        ds[2] = d_n * f;
        ds[3] = d_l;
    }
};

template <class V>
struct Slstm : SlstmForm<V, false> {
    static constexpr const char* name = "slstm";
};

template <class V>
struct SlstmExp : SlstmForm<V, true> {
    static constexpr const char* name = "slstm_exp";
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
