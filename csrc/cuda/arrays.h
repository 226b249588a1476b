// What the arrays of a forward and of a backward have in common: sizes, which rows a step has, masks, what a cell is
// given beside them. A kernel takes such arrays by value.
#pragma once

#include "../recurrence/masks.h"
#include "layout.h"
#include "queue.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The rows of a step.
struct StepRows {
    Index first;  // among the rows of all steps
    Index count;
    Index next;      // rows of the step after it
    Index in_chunk;  // its first row among those of the chunk
};

// `storage` is the dtype of the caller's arrays and of what products multiply; everything else is T.
template <class Cell, class T>
struct CellArrays {
    using V = Vec<T>;
    using G = Geometry<Cell>;

    Index hidden, width;  // units, and those of h
    Dtype storage;
    Rows rows;
    Masks<T, G::states> masks;
    T settings[G::settings + 1]{};
    const T* diagonal;  // (D, H), or null

    CellArrays(const Inputs& in, Dtype dtype, const T* weights)
        : hidden(in.shape.hidden),
          width(width_of<Cell>(in.shape)),
          storage(dtype),
          rows(in),
          masks(in.noise, rows),
          diagonal(weights) {
        for (int k = 0; k < G::settings; ++k) settings[k] = static_cast<T>(in.settings[k]);
    }

    RNNKERNELS_INLINE V load(const void* array, Index at) const { return V(load_as<T>(array, storage, at)); }
    RNNKERNELS_INLINE void store(void* array, Index at, V value) const { store_as<T>(array, storage, at, value.raw); }
    // Where a row of a step stands in the caller's arrays.
    RNNKERNELS_INLINE Index place(const StepRows& now, Index row) const { return rows.place(now.first + row); }
    // Element-wise weights, then settings.
    RNNKERNELS_INLINE void load_weights(Index unit, V* w) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::diagonals; ++k) w[k] = V(diagonal[k * hidden + unit]);
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::settings; ++k) w[G::diagonals + k] = V(settings[k]);
    }
    // What recurrent dropout multiplies by; 1 where there is none. `row`: among those of all steps.
    RNNKERNELS_INLINE V factor(Index row, Index unit) const { return masks.drops ? masks.factor(row, unit) : V(T(1)); }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
