// What most calls do not ask for, as bodies around a cell's own: dropout of what recurrent weights multiply, states
// that keep old values, sequences of all states, readings. They know no cell, and a cell's bodies know nothing of them;
// a call that asks for some has a launch or two more in every step.
//
//   forward   Mask · the cell, which leaves its states in `made_states` · Zone · StoreSequences
//   backward  TakeIn · Unzone · the cell, which adds `past` · after the products Mask, CarryDropped
#pragma once

#include "../recurrence/masks.h"
#include "arrays.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// to = from times what recurrent dropout multiplies the row's units by; to may be from. Over (rows, columns).
template <class T>
struct Mask {
    const void* from;
    Dtype from_dtype;
    void* to;
    Dtype to_dtype;
    Index first;           // the first row among the rows of all steps
    Index columns, units;  // vectors of so many units
    Masks<T> masks;

    RNNKERNELS_INLINE void operator()(Index row, Index column) const {
        const Index at = row * columns + column;
        Vec<T> value(load_as<T>(from, from_dtype, at));
        if (masks.drops) value = value * masks.factor(first + row, column % units);
        store_as<T>(to, to_dtype, at, value.raw);
    }
};

// carried += the product that came to a dropped h. Over (rows, H).
template <class T>
struct CarryDropped {
    const T* product;
    T* carried;
    Index first, hidden;
    Masks<T> masks;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        const Index at = row * hidden + unit;
        carried[at] = fma(Vec<T>(product[at]), masks.factor(first + row, unit), Vec<T>(carried[at])).raw;
    }
};

// The states that a unit keeps of those before the step and those that the cell made, from the first-th state on.
template <class T>
struct Zone {
    ForwardArrays<T> a;
    int first, states;
    Masks<T> masks;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using V = Vec<T>;
        const Index at = row * a.hidden + unit;
        V s[kMaxStates], n[kMaxStates];
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < kMaxStates; ++k) {
            const bool is = k >= first && k < states;
            s[k] = V(is ? a.states[k][at] : T(0));
            n[k] = V(is ? a.made_states[row * a.made_row + k * a.hidden + unit] : T(0));
        }
        masks.zone(kMaxStates, a.first + row, unit, s, n);
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < kMaxStates; ++k) {
            if (k < first || k >= states) continue;
            a.states[k][at] = n[k].raw;
            if (k > 0 && a.kept_states) a.kept_states[row * a.kept_row + (k - 1) * a.hidden + unit] = n[k].raw;
            if (k == 0) a.store(a.output, a.place(row) * a.hidden + unit, n[0]);
        }
    }
};

// Its backward: dL/d(states after the step) is divided into what goes to the cell and what goes past it.
template <class T>
struct Unzone {
    BackwardArrays<T> a;
    int first, states;
    Masks<T> masks;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using V = Vec<T>;
        const Index at = row * a.hidden + unit;
        V dn[kMaxStates], past[kMaxStates];
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < kMaxStates; ++k) dn[k] = V(k >= first && k < states ? a.carried[k][at] : T(0));
        masks.unzone(kMaxStates, a.first + row, unit, dn, past);
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < kMaxStates; ++k) {
            if (k < first || k >= states) continue;
            a.carried[k][at] = dn[k].raw;
            a.past[(row * states + k) * a.hidden + unit] = past[k].raw;
        }
    }
};

// The states after h into the caller's arrays of all steps, (T*B, H). Over (rows, H).
template <class T>
struct StoreSequences {
    ForwardArrays<T> a;
    void* sequence[kMaxStates];
    int states;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        for (int k = 1; k < states; ++k)
            if (sequence[k])
                a.store(sequence[k], a.place(row) * a.hidden + unit, Vec<T>(a.states[k][row * a.hidden + unit]));
    }
};

// carried becomes all of dL/d(states after the step), with what comes from the caller; readings are taken.
template <class T>
struct TakeIn {
    BackwardArrays<T> a;
    int first, states;
    const void* given[kMaxStates];  // (T*B, H), the caller's
    T* readings[kMaxStates];        // (rows, H), or null

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        const Index at = row * a.hidden + unit;
        for (int k = first; k < states; ++k) {
            Vec<T> dn(a.carried[k][at]);
            if (k == 0 && row < a.next && a.product) dn = Vec<T>(a.product[at]) + dn;
            if (given[k]) dn = a.load(given[k], a.place(row) * a.hidden + unit) + dn;
            if (readings[k]) readings[k][at] = dn.raw;
            a.carried[k][at] = dn.raw;
        }
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
