// LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), and the variants of "LSTM: A
// Search Space Odyssey" (Greff et al. 2015, section II and appendix A), one form with options:
//   i  = sigmoid(x_i + u_i + p_i c)                  p: peepholes, one number per unit
//   f  = sigmoid(x_f + u_f + p_f c)
//   g  = tanh(x_g + u_g)
//   c' = f c + i g                                   held inside [-cell_clip, cell_clip], as cuDNN does
//   o  = sigmoid(x_o + u_o + p_o c')                 sees the NEW c
//   h' = o tanh(c')
// Gate order i f g o, as PyTorch and cuDNN; a gate that a variant lacks has no rows. tanh(c') is computed again in
// the backward, not kept. Greff's NP (no peepholes) is `lstm` itself.
//
// lstm_projected and lstm_peephole_projected (LSTMP: Sak, Senior, Beaufays 2014): h' = W_hr (o tanh(c')), without a
// bias.
#pragma once

#include "cell.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// A gate is learnt; or it is 1 minus the input gate; or 1.
enum class GateForm { own, coupled, absent };

struct LstmOptions {
    GateForm input = GateForm::own;
    GateForm forget = GateForm::own;
    GateForm output = GateForm::own;
    bool input_activation = true;   // tanh in g
    bool output_activation = true;  // tanh in h'
    bool peepholes = true;
    bool gate_recurrence = false;  // i, f and o also see i, f and o of the step before
};

// Where a variant's numbers stand.
template <LstmOptions O>
struct LstmTable {
    static constexpr bool has_i = O.input == GateForm::own;
    static constexpr bool has_f = O.forget == GateForm::own;
    static constexpr bool has_o = O.output == GateForm::own;
    // Slots and saved values: i f g o without the absent.
    static constexpr int i = 0;
    static constexpr int f = i + has_i;
    static constexpr int g = f + has_f;
    static constexpr int o = g + 1;
    static constexpr int count = o + has_o;
    // Peepholes: i f o without the absent; their slots follow the gates'.
    static constexpr int p_i = 0;
    static constexpr int p_f = p_i + has_i;
    static constexpr int p_o = p_f + has_f;

    static constexpr Gate gate(const char* name, bool has, int slot, Reader reader = Reader::sigmoid) {
        if (!has) return {name, Input::none, Operand::none, 0, 0};
        return {name, Input::projected, Operand::hidden, slot, slot, reader};
    }
    static constexpr DiagonalList peepholes() {
        DiagonalList list;
        const auto add = [&](const char* name, bool has) {
            if (!O.peepholes || !has) return;
            list.diagonal[list.count] = {name, count + list.count};
            ++list.count;
        };
        add("i", has_i), add("f", has_f), add("o", has_o);
        return list;
    }
};

template <LstmOptions O>
struct LstmStates {
    static constexpr const char* states[] = {"h", "c"};
    static constexpr Gate gates[] = {LstmTable<O>::gate("i", LstmTable<O>::has_i, LstmTable<O>::i),
                                     LstmTable<O>::gate("f", LstmTable<O>::has_f, LstmTable<O>::f),
                                     LstmTable<O>::gate("g", true, LstmTable<O>::g, Reader::any),
                                     LstmTable<O>::gate("o", LstmTable<O>::has_o, LstmTable<O>::o)};
};

// The element-wise maths of every variant.
template <class V, LstmOptions O>
struct LstmForm : LstmStates<O> {
    using P = LstmTable<O>;
    static constexpr DiagonalList diagonals = P::peepholes();
    static constexpr int saved_count = P::count;
    static constexpr int slot_count = P::count + diagonals.count;
    static constexpr SettingList settings{1, {"cell_clip"}};
    static constexpr int clip = diagonals.count;  // in w[]

    template <bool held = false>
    static RNNKERNELS_INLINE void forward(const V* x, const V* u, const V* w, const V* s, V* n, V* saved) {
        const auto sum = [&](int gate) RNNKERNELS_INLINED {
            const V a = x[gate] + u[gate];
            if constexpr (O.gate_recurrence) return gate == 2 ? a : a + u[gate < 2 ? 4 + gate : 6];
            return a;
        };
        const auto open = [&](int gate, int peephole, V c) RNNKERNELS_INLINED {
            return sigmoid(O.peepholes ? fma(w[peephole], c, sum(gate)) : sum(gate));
        };
        const V g = O.input_activation ? tanh(sum(2)) : sum(2);
        V c = g;
        saved[P::g] = g;
        if constexpr (P::has_i) {
            const V i = open(0, P::p_i, s[1]);
            c = i * g;
            saved[P::i] = i;
        }
        if constexpr (P::has_f) {
            const V f = open(1, P::p_f, s[1]);
            c = fma(f, s[1], c);
            saved[P::f] = f;
        } else if constexpr (O.forget == GateForm::coupled) {
            c = fma(V(1) - saved[P::i], s[1], c);
        } else {
            c = s[1] + c;
        }
        if constexpr (held) c = clamp(c, -w[clip], w[clip]);
        n[0] = O.output_activation ? tanh(c) : c;
        n[1] = c;
        if constexpr (P::has_o) {
            const V o = open(3, P::p_o, c);
            n[0] = o * n[0];
            saved[P::o] = o;
        }
        if constexpr (O.gate_recurrence) n[2] = saved[P::i], n[3] = saved[P::f], n[4] = saved[P::o];
    }

    template <bool held = false>
    static RNNKERNELS_INLINE void backward(const V* saved, const V* w, const V* s, const V* n, const V* dn, V* d,
                                           V* ds) {
        const auto slope = [](V gate) RNNKERNELS_INLINED { return gate * (V(1) - gate); };
        const auto peephole = [&](int k, int gate, V c, V& dc) RNNKERNELS_INLINED {
            if constexpr (O.peepholes) {
                d[P::count + k] = d[gate] * c;
                dc = fma(d[gate], w[k], dc);
            }
        };
        const V g = saved[P::g];
        const V out = O.output_activation ? tanh(n[1]) : n[1];
        V dc = dn[0];
        if constexpr (P::has_o) {
            const V o = saved[P::o];
            V d_o = dn[0] * out;
            if constexpr (O.gate_recurrence) d_o = d_o + dn[4];
            d[P::o] = d_o * slope(o);
            dc = dn[0] * o;
        }
        dc = O.output_activation ? fma(dc, fma(-out, out, V(1)), dn[1]) : dc + dn[1];
        if constexpr (P::has_o) peephole(P::p_o, P::o, n[1], dc);
        if constexpr (held) dc = where_inside(n[1], w[clip], dc);

        V dc_before = dc, d_g = dc;
        if constexpr (P::has_f) {
            V d_f = dc * s[1];
            if constexpr (O.gate_recurrence) d_f = d_f + dn[3];
            d[P::f] = d_f * slope(saved[P::f]);
            dc_before = dc * saved[P::f];
            peephole(P::p_f, P::f, s[1], dc_before);
        } else if constexpr (O.forget == GateForm::coupled) {
            dc_before = dc * (V(1) - saved[P::i]);
        }
        if constexpr (P::has_i) {
            V d_i = O.forget == GateForm::coupled ? dc * (g - s[1]) : dc * g;
            if constexpr (O.gate_recurrence) d_i = d_i + dn[2];
            d[P::i] = d_i * slope(saved[P::i]);
            d_g = dc * saved[P::i];
            peephole(P::p_i, P::i, s[1], dc_before);
        }
        d[P::g] = O.input_activation ? d_g * fma(-g, g, V(1)) : d_g;
        ds[0] = V(0);
        ds[1] = dc_before;
        if constexpr (O.gate_recurrence) ds[2] = ds[3] = ds[4] = V(0);
    }
};

template <class V>
struct Lstm : LstmForm<V, LstmOptions{.peepholes = false}> {
    static constexpr const char* name = "lstm";
};

template <class V>
struct LstmProjected : LstmForm<V, LstmOptions{.peepholes = false}> {
    static constexpr const char* name = "lstm_projected";
    static constexpr bool projection = true;
};

template <class V>
struct LstmPeepholeProjected : LstmForm<V, LstmOptions{}> {
    static constexpr const char* name = "lstm_peephole_projected";
    static constexpr bool projection = true;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
