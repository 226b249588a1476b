// The arrays of one step as its bodies take them: plain data, by value, the same for every cell. Every pointer is at
// the step's first row; what a call or a cell has no use for is null. The engines (forward.h, backward.h) fill them in.
#pragma once

#include "storage.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// `storage` is the dtype of the caller's arrays and of what products multiply; everything else is T.
template <class T>
struct StepArrays {
    Index first{};            // the step's first row among the rows of all steps
    Index next{};             // rows of the step after it
    Index hidden{}, width{};  // units, and those of h
    Dtype storage{};
    const Index* places{};   // of all rows: where they stand in the caller's arrays; null: each its own
    const T* diagonal{};     // (D, H)
    const void* x{};         // (T*B, I and E*H), the caller's
    Index input{}, x_row{};  // I, and numbers of a row of x
    T settings[kMaxSettings]{};

    RNNKERNELS_INLINE Vec<T> load(const void* array, Index at) const { return Vec<T>(load_as<T>(array, storage, at)); }
    RNNKERNELS_INLINE void store(void* array, Index at, Vec<T> value) const {
        store_as<T>(array, storage, at, value.raw);
    }
    // Where a row of the step stands in the caller's arrays.
    RNNKERNELS_INLINE Index place(Index row) const { return places ? places[first + row] : first + row; }
};

template <class T>
struct ForwardArrays : StepArrays<T> {
    const T* x_part{};             // (rows, inputs*H)
    const T* table{};              // (I, inputs*H), instead: a row for each token
    const std::int64_t* tokens{};  // (T*B), the caller's
    const T* bias_x{};             // (inputs*H)
    const T* term{};               // (B, inputs*H)
    const T* u_part{};             // (B, hiddens*H)
    const T* bias_u{};             // (hiddens*H)
    const T* fed_part{};           // (B, feedbacks*H)
    const T* bias_fed{};           // (feedbacks*H)
    const T* gated_part{};         // (B, gateds*H)
    const T* bias_gated{};         // (gateds*H)

    T* states[kMaxStates]{};  // each (B, H), h (B, P): after the last step that a row has had
    T* made_states{};         // (rows, states, H), `made_row` apart: where the cell's states go instead, for options.h
    Index made_row{};
    void* output{};   // (T*B, width), the caller's
    void* operand{};  // (B, width): h as the next step's product reads it, where that is not states[0]

    // What is kept for the backward, (rows, ..., H), rows `kept_row` apart.
    const T* saved{};  // the maths' own, to be read by a step's second half
    T* to_save{};      // and to be written
    T* kept_states{};  // the states after h
    Index kept_row{};

    void* made{};  // (rows, H): what is projected, multiplied again, or normalised
    Dtype made_dtype{};
    const T* normal{};  // (rows, H): it, normalised
    void* fed{};        // (rows, vectors*H): what the step's product reads of the states before it
    Dtype fed_dtype{};
};

template <class T>
struct BackwardArrays : StepArrays<T> {
    T* carried[kMaxStates]{};  // each (B, H), h (B, P): dL/ds on its way to the step before
    const T* product{};      // (next, H): what comes to h through the products of the step behind; null: it is carried
    const T* made_part{};    // (rows, H): dL/d(what is projected)
    const void* d_output{};  // (T*B, width), the caller's; null: none, or carried
    T* past{};               // (rows, states, H): what is added to dL/ds behind the cell

    // The states before the step. h stands in the caller's dtype, at its place among all rows or, of the initial one,
    // row by row.
    const void* h{};
    const Index* h_places{};
    Index h_first{};
    const T* before[kMaxStates]{};  // (rows, H), `before_row` apart: each after h
    Index before_row{};
    // The states after it, as the cell made them, (rows, H), `kept_row` apart. h: null: it stands in `output`.
    const T* after[kMaxStates]{};
    const void* output{};  // (T*B, width), the caller's
    const T* saved{};      // (rows, ..., H), `kept_row` apart
    const T* normals{};    // likewise: what was normalised
    Index kept_row{};

    void* gradient{};       // (rows, columns, H)
    void* operand{};        // (rows, width): h before the step, where that is not the output a step earlier
    const T* gated_part{};  // (rows, H)
    void* made{};           // (rows, H): what was multiplied again; the gradient of what was normalised inside the cell
    Dtype made_dtype{};
    const T* fed_part{};  // (rows, vectors*H): what comes to what was fed back
    void* dx{};           // (T*B, I and E*H), the caller's: where gradients of element-wise inputs go; null: not wanted
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
