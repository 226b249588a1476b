// The variants of "LSTM: A Search Space Odyssey" (Greff et al. 2015) by name: V, the LSTM with peepholes, and what
// is changed in it, one thing each. Their maths is lstm.h's.
#pragma once

#include "lstm.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// V.
template <class V>
struct LstmPeephole : LstmForm<V, LstmOptions{}> {
    static constexpr const char* name = "lstm_peephole";
};

// NIG: no input gate, i = 1.
template <class V>
struct LstmNig : LstmForm<V, LstmOptions{.input = GateForm::absent}> {
    static constexpr const char* name = "lstm_nig";
};

// NFG: no forget gate, f = 1.
template <class V>
struct LstmNfg : LstmForm<V, LstmOptions{.forget = GateForm::absent}> {
    static constexpr const char* name = "lstm_nfg";
};

// NOG: no output gate, o = 1.
template <class V>
struct LstmNog : LstmForm<V, LstmOptions{.output = GateForm::absent}> {
    static constexpr const char* name = "lstm_nog";
};

// NIAF: no input activation function, g = x_g + u_g.
template <class V>
struct LstmNiaf : LstmForm<V, LstmOptions{.input_activation = false}> {
    static constexpr const char* name = "lstm_niaf";
};

// NOAF: no output activation function, h' = o c'.
template <class V>
struct LstmNoaf : LstmForm<V, LstmOptions{.output_activation = false}> {
    static constexpr const char* name = "lstm_noaf";
};

// CIFG: coupled input and forget gate, f = 1 - i.
template <class V>
struct LstmCifg : LstmForm<V, LstmOptions{.forget = GateForm::coupled}> {
    static constexpr const char* name = "lstm_cifg";
};

// FGR: full gate recurrence. i, f and o also see i, f and o of the step before, through nine more matrices:
//   a_i += R_ii i + R_if f + R_io o, and likewise a_f and a_o;   weight_gg (3H, 3H), rows and columns i f o.
// What the gates were is part of the state.
inline constexpr LstmOptions kFgrOptions{.gate_recurrence = true};

template <>
struct LstmStates<kFgrOptions> {
    using P = LstmTable<kFgrOptions>;
    static constexpr const char* states[] = {"h", "c", "i", "f", "o"};
    static constexpr Gate gates[] = {
        P::gate("i", true, P::i),
        P::gate("f", true, P::f),
        P::gate("g", true, P::g, Reader::any),
        P::gate("o", true, P::o),
        {"i", Input::none, Operand::feedback, P::i, P::i},
        {"f", Input::none, Operand::feedback, P::f, P::f},
        {"o", Input::none, Operand::feedback, P::o, P::o},
    };
};

template <class V>
struct LstmFgr : LstmForm<V, kFgrOptions> {
    static constexpr const char* name = "lstm_fgr";
    static constexpr int feedback_count = 3;

    static RNNKERNELS_INLINE void feedback(const V* n, V* vectors) {
        for (int k = 0; k < 3; ++k) vectors[k] = n[2 + k];
    }
    static RNNKERNELS_INLINE void feedback_backward(const V*, const V* d_vectors, V* dn) {
        for (int k = 0; k < 3; ++k) dn[2 + k] = dn[2 + k] + d_vectors[k];
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
