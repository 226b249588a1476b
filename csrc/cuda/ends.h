// Bodies that know no cell: the states before the first step and after the last, their gradients likewise, and what a
// projection does between a cell's h and the next step's. Counts of states are known at run time only.
#pragma once

#include "arrays.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// A state's array in the caller's dtype, each (B, H), h (B, P).
struct CallerStates {
    const void* array[kMaxStates]{};
    int count = 0;
};
struct CallerResults {
    void* array[kMaxStates]{};
    int count = 0;
};

// The rows before each step: numbers of the host's, which come with the kernel's own arguments and need no copy.
struct PutStarts {
    static constexpr Index kMost = 256;
    Index* to;
    Index starts[kMost];

    RNNKERNELS_INLINE void operator()(Index, Index i) const { to[i] = starts[i]; }
};

// The states before the first step. Over (B, the wider of H and P).
template <class T>
struct BeginForward {
    ForwardArrays<T> a;
    CallerStates initial;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        for (int k = 0; k < initial.count; ++k) {
            const Index width = k == 0 ? a.width : a.hidden, at = row * width + unit;
            if (unit >= width) continue;
            const Vec<T> s = initial.array[k] ? a.load(initial.array[k], at) : Vec<T>(T(0));
            a.states[k][at] = s.raw;
            if (k == 0 && a.operand) a.store(a.operand, at, s);
        }
    }
};

// The states after each row's last step. Over (B, the wider of H and P).
template <class T>
struct FinishForward {
    ForwardArrays<T> a;
    CallerResults final_states;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        for (int k = 0; k < final_states.count; ++k) {
            const Index width = k == 0 ? a.width : a.hidden, at = row * width + unit;
            if (unit < width) a.store(final_states.array[k], at, Vec<T>(a.states[k][at]));
        }
    }
};

// h of a projected cell, from its product. Over (rows, P).
template <class T>
struct ForwardProjection {
    ForwardArrays<T> a;
    const T* product;  // (rows, P)

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        const Index at = row * a.width + unit;
        const Vec<T> h(product[at]);
        a.states[0][at] = h.raw;
        a.store(a.output, a.place(row) * a.width + unit, h);
        if (a.operand && row < a.next) a.store(a.operand, at, h);
    }
};

// What arrives at the states after the last step, and the states before the first one in T. Over (B, the wider of H and
// P).
template <class T>
struct BeginBackward {
    BackwardArrays<T> a;
    CallerStates d_final;
    CallerStates initial;
    T* states;  // (states after h, B, H)
    Index batch;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        for (int k = 0; k < d_final.count; ++k) {
            const Index width = k == 0 ? a.width : a.hidden, at = row * width + unit;
            if (unit >= width) continue;
            a.carried[k][at] = of(d_final, k, at);
            if (k > 0) states[(k - 1) * batch * width + at] = of(initial, k, at);
        }
    }

private:
    RNNKERNELS_INLINE T of(const CallerStates& given, int k, Index at) const {
        return given.array[k] ? load_as<T>(given.array[k], a.storage, at) : T(0);
    }
};

// dL/dh of a step of a projected cell, all of it: from the step behind or, where a row has none, from the caller. Over
// (rows, P).
template <class T>
struct BackwardProjection {
    BackwardArrays<T> a;
    void* dh;    // (rows, P)
    T* reading;  // (rows, P), or null

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        const Index at = row * a.width + unit;
        Vec<T> sum(row < a.next ? a.product[at] : a.carried[0][at]);
        if (a.d_output) sum = a.load(a.d_output, a.place(row) * a.width + unit) + sum;
        if (reading) reading[at] = sum.raw;
        a.store(dh, at, sum);
        if (!a.operand) return;
        const Index before = a.h_first + row;
        const Index from = (a.h_places ? a.h_places[before] : before) * a.width + unit;
        a.store(a.operand, at, a.h ? a.load(a.h, from) : Vec<T>(T(0)));
    }
};

// The gradients of the initial states, of which the first `next` rows have a step behind. Over (B, the wider of H and
// P).
template <class T>
struct FinishBackward {
    BackwardArrays<T> a;
    bool projected;
    CallerResults d_states;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        for (int k = 0; k < d_states.count; ++k) {
            const Index width = k == 0 ? a.width : a.hidden, at = row * width + unit;
            if (unit >= width) continue;
            T ds = a.carried[k][at];
            if (k == 0 && row < a.next) ds = projected ? a.product[at] : (a.product ? a.product[at] : T(0)) + ds;
            a.store(d_states.array[k], at, Vec<T>(ds));
        }
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
