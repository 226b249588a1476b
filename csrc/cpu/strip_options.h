// What a call may ask for beside a cell's maths, done to a strip while it stands in the L1 cache, before or after the
// cell's pass; one place for every form of a cell, and nothing of it in a pass:
//   zoneout            each unit of a state keeps its old value, or not
//   recurrent dropout  what the recurrent weights multiply is masked
//   all states         the states after h of every step, and their gradients
//   readings           norms of the gradients of the states after every step (gradient_norms.h)
// A call that asks for none of them pays a question per strip. `rows` are those among all steps' that the strip's rows
// are: a mask belongs to a row of a step (recurrence/masks.h). Scratch arrays hold a strip, without gaps. Not here:
// settings, which are the maths' own (passes/forward_pass.h); weight dropout (dropped_weights.h).
#pragma once

#include "../passes/strip.h"
#include "../recurrence/masks.h"
#include "geometry.h"
#include "gradient_norms.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// ---- zoneout

// The states after h as they stand before the pass, [row][block][state after h][lane] without gaps.
template <class T>
void copy_old_states(const ForwardStrip<T>& p, int states, T* old) {
    if (states == 1) return;  // h alone, which stays where it was
    const Index size = p.blocks * (states - 1) * Vec<T>::lanes;
    for (Index row = 0; row < p.rows; ++row)
        std::memcpy(old + row * size, p.others + row * p.others_row + p.first * (states - 1) * Vec<T>::lanes,
                    static_cast<std::size_t>(size) * sizeof(T));
}

// The new states become what of the old and the new ones each unit keeps. What the maths made goes into `own`, for the
// backward, with the strides of a reserve: [row][block][state][lane]; null: it is not kept.
template <class T>
void zone_strip(const ForwardStrip<T>& p, const CellTable& table, const Masks<T>& masks, const T* old, T* own,
                RowSet rows) {
    using V = Vec<T>;
    constexpr Index lanes = V::lanes;
    const int states = table.states, others = states - 1;
    for (Index row = 0; row < p.rows; ++row)
        for (Index block = p.first; block < p.first + p.blocks; ++block) {
            const Index at = block * lanes, left = p.hidden - at;
            const T* before = old + (row * p.blocks + block - p.first) * others * lanes;
            T* after = p.others + row * p.others_row + block * others * lanes;
            V s[kMaxStates], n[kMaxStates];
            s[0] = table.form == Form::projected ? V(T(0)) : V::load(p.h + row * p.h_row + at, left);
            n[0] = V::load(p.out[row] + at, left);
            for (int k = 1; k < states; ++k) {
                s[k] = V::load(before + (k - 1) * lanes);
                n[k] = V::load(after + (k - 1) * lanes);
            }
            const Index in_reserve = row * p.reserve_row + block * p.reserve_block;
            if (own)
                for (int k = 0; k < states; ++k) n[k].store(own + in_reserve + k * lanes);
            masks.zone(states, rows.at(row), block, s, n);
            n[0].store(p.out[row] + at, left);
            if (p.copy) n[0].store(p.copy + row * p.copy_row + at, left);
            for (int k = 1; k < states; ++k) {
                n[k].store(after + (k - 1) * lanes);
                if (p.states) n[k].store(p.states + in_reserve + (k - 1) * lanes);
            }
        }
}

// dL/d(states after the step), in `carried`, becomes what goes on to the maths; what goes past it to the states before
// the step waits in `past`, [row][block][state][lane] without gaps.
template <class T>
void unzone_strip(const BackwardStrip<T>& p, int states, const Masks<T>& masks, T* past, RowSet rows) {
    using V = Vec<T>;
    constexpr Index lanes = V::lanes;
    for (Index row = 0; row < p.rows; ++row)
        for (Index block = p.first; block < p.first + p.blocks; ++block) {
            T* carried = p.carried + row * p.carried_row + block * states * lanes;
            T* to = past + (row * p.blocks + block - p.first) * states * lanes;
            V dn[kMaxStates], ds[kMaxStates];
            for (int k = 0; k < states; ++k) dn[k] = V::load(carried + k * lanes);
            masks.unzone(states, rows.at(row), block, dn, ds);
            for (int k = 0; k < states; ++k) dn[k].store(carried + k * lanes), ds[k].store(to + k * lanes);
        }
}
template <class T>
void add_past(const BackwardStrip<T>& p, int states, const T* past) {
    using V = Vec<T>;
    const Index size = p.blocks * states * V::lanes;
    for (Index row = 0; row < p.rows; ++row) {
        T* carried = p.carried + row * p.carried_row + p.first * states * V::lanes;
        for (Index i = 0; i < size; i += V::lanes)
            (V::load(carried + i) + V::load(past + row * size + i)).store(carried + i);
    }
}

// ---- recurrent dropout

// Rows of values by unit from these blocks on, all lanes, in place.
template <class T>
void mask_rows(const Masks<T>& masks, RowSet rows, Range blocks, T* values, Index stride) {
    using V = Vec<T>;
    for (Index row = 0; row < rows.count; ++row)
        for (Index block = blocks.first; block < blocks.last; ++block) {
            T* at = values + row * stride + (block - blocks.first) * V::lanes;
            (V::load(at) * masks.factor(rows.at(row), block)).store(at);
        }
}

// What the products of a step will read: h masked, into `to`, and in place the vectors that are fed back.
template <class T>
void mask_operands(const FeedbackStrip<T>& p, int vectors, const Masks<T>& masks, RowSet rows, T* to, Index to_row) {
    using V = Vec<T>;
    for (Index row = 0; row < p.rows; ++row)
        for (Index block = p.first; block < p.first + p.blocks; ++block) {
            const Index at = block * V::lanes, left = p.hidden - at;
            const V factor = masks.factor(rows.at(row), block);
            (V::load(p.h[row] + at, left) * factor).store(to + row * to_row + at, left);
            for (int k = 0; k < vectors; ++k) {
                T* vector = p.vectors + row * p.vectors_row + k * p.hidden + at;
                (V::load(vector, left) * factor).store(vector, left);
            }
        }
}

// Adds to dL/dh what came through the products of the step behind: what they gave to h, through its mask. `rows`: of
// that step. What they gave to the vectors that were fed back is masked in place.
template <class T>
void join_masked(const BackwardStrip<T>& p, T* product, const CellTable& table, const Masks<T>& masks, RowSet rows) {
    using V = Vec<T>;
    for (Index row = 0; row < p.rows; ++row)
        for (Index block = p.first; block < p.first + p.blocks; ++block) {
            T* carried = p.carried + row * p.carried_row + block * table.states * V::lanes;
            T* from = product + row * p.product_row + (block - p.first) * V::lanes;
            const V factor = masks.factor(rows.at(row), block);
            fma(V::load(from), factor, V::load(carried)).store(carried);
            for (int k = 0; k < table.vectors; ++k) {
                from += p.product_vector;
                (V::load(from) * factor).store(from);
            }
        }
}
// The same in a call without masks.
template <class T>
void join(const BackwardStrip<T>& p, int states) {
    using V = Vec<T>;
    for (Index row = 0; row < p.rows; ++row)
        for (Index block = p.first; block < p.first + p.blocks; ++block) {
            T* carried = p.carried + row * p.carried_row + block * states * V::lanes;
            (V::load(p.product + row * p.product_row + (block - p.first) * V::lanes) + V::load(carried)).store(carried);
        }
}

// ---- all states

// State k, after h, of each row, to(row).
template <class T, class To>
RNNKERNELS_INLINE void copy_state(const ForwardStrip<T>& p, int states, int k, To to) {
    using V = Vec<T>;
    for (Index row = 0; row < p.rows; ++row) {
        T* const to_row = to(row);
        for (Index block = p.first; block < p.first + p.blocks; ++block)
            V::load(p.others + row * p.others_row + (block * (states - 1) + k - 1) * V::lanes)
                .store(to_row + block * V::lanes, p.hidden - block * V::lanes);
    }
}

// Adds the caller's gradient of state k after the step, from(row); null: there is none.
template <class T, class From>
RNNKERNELS_INLINE void take_in(const BackwardStrip<T>& p, int states, int k, From from) {
    using V = Vec<T>;
    for (Index row = 0; row < p.rows; ++row) {
        const T* const given = from(row);
        for (Index block = p.first; block < p.first + p.blocks; ++block) {
            T* carried = p.carried + row * p.carried_row + (block * states + k) * V::lanes;
            (V::load(given + block * V::lanes, p.hidden - block * V::lanes) + V::load(carried)).store(carried);
        }
    }
}

// ---- readings

// `rows`: those of the chunk.
template <class T>
void note_norms(const BackwardStrip<T>& p, int states, int k, const GradientNorms<T>& norms, RowSet rows) {
    using V = Vec<T>;
    for (Index row = 0; row < p.rows; ++row)
        for (Index block = p.first; block < p.first + p.blocks; ++block)
            norms.note(rows.at(row), block, k,
                       V::load(p.carried + row * p.carried_row + (block * states + k) * V::lanes),
                       p.hidden - block * V::lanes);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
