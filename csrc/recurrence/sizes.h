// A cell's gate table in numbers, as constants: what passes and a GPU's bodies are compiled with. An engine has them as
// data (cell_table.h). Not here: memory (cpu/geometry.h, cuda/layout.h).
#pragma once

#include "../cells/cell.h"
#include "cell_table.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell>
struct Geometry {
    static constexpr int gates = gate_count<Cell>;
    static constexpr int inputs = input_gates<Cell>.count;
    static constexpr int hiddens = hidden_gates<Cell>.count;
    static constexpr int feedbacks = feedback_gates<Cell>.count;
    static constexpr int gateds = gated_gates<Cell>.count;
    static constexpr int directs = direct_gates<Cell>.count;
    static constexpr int diagonals = diagonal_count<Cell>;
    static constexpr int vectors = feedback_count<Cell>;            // fed back
    static constexpr int recurrents = recurrent_gates<Cell>.count;  // rows of weight_hh
    static constexpr int gg_rows = own_feedback_weight<Cell> ? feedbacks : 0;
    static constexpr int gg_columns = own_feedback_weight<Cell> ? vectors : 0;
    static constexpr int states = state_count<Cell>;
    static constexpr int saved = Cell::saved_count;
    // A normalised cell: rows that are normalised, of x, of u and of one value inside the cell; the vectors of them per
    // block; and the gradient slots of W_ih x and W_hh h, which follow the cell's own.
    static constexpr int norms = normalised<Cell> ? 2 + normalises_inner<Cell> : 0;
    static constexpr int normals = normalised<Cell> ? inputs + hiddens + normalises_inner<Cell> : 0;
    static constexpr int slots = Cell::slot_count + (normalised<Cell> ? inputs + hiddens : 0);
    static constexpr int settings = setting_count<Cell>;

    // Vectors of reserve per block; where among them what was normalised begins, and what the cell itself made.
    static constexpr int first_normal = saved + states - 1;
    static constexpr int first_own = first_normal + normals;
    static constexpr int reserve(bool zones) { return first_own + (zones ? states : 0); }

    static_assert(!projected<Cell> || (!two_products<Cell> && vectors == 0 && !normalised<Cell>),
                  "a projected cell has one product");
    static_assert((diagonals == 0 && settings == 0) || !two_products<Cell>,
                  "the form of two products takes no element-wise weights");
    static_assert(!normalised<Cell> || diagonals == normals + normalises_inner<Cell>, "a gain each, and a shift");
    static_assert(!normalised<Cell> || (directs == 0 && vectors == 0 && gateds == 0 && settings == 0),
                  "other forms' gates");
};

// Units of h.
RNNKERNELS_INLINE Index width_of(const CellTable& table, const Shape& shape) {
    return table.form == Form::projected ? shape.projection : shape.hidden;
}
// Columns of weight_hh: h, or one head of it.
RNNKERNELS_INLINE Index recurrent_row(const CellTable& table, const Shape& shape) {
    const Index width = width_of(table, shape);
    return table.heads > 1 ? width / table.heads : width;
}
// Numbers of a row of x.
RNNKERNELS_INLINE Index x_row(const Shape& shape) { return shape.input + shape.elements; }
// Vectors per block of a reserve.
RNNKERNELS_INLINE int reserve_vectors(const CellTable& table, bool zones) {
    return table.first_own + (zones ? table.states : 0);
}

// Rows of weight_ih (weight_hh) in units of H, for each gate of a list.
struct GateRows {
    int row[kMaxGates];
};
constexpr GateRows rows_in(const GateList& wanted, const GateList& all) {
    GateRows rows{};
    for (int i = 0; i < wanted.count; ++i) rows.row[i] = position(all, wanted.gate[i]);
    return rows;
}
template <class Cell>
inline constexpr GateRows input_rows = rows_in(input_gates<Cell>, input_gates<Cell>);
template <class Cell>
inline constexpr GateRows hidden_rows = rows_in(hidden_gates<Cell>, recurrent_gates<Cell>);
template <class Cell>
inline constexpr GateRows feedback_rows =
    rows_in(feedback_gates<Cell>, own_feedback_weight<Cell> ? feedback_gates<Cell> : recurrent_gates<Cell>);
template <class Cell>
inline constexpr GateRows gated_rows = rows_in(gated_gates<Cell>, recurrent_gates<Cell>);

inline constexpr ProductGates kOneGate{1, {}, {}, {}, 0};  // of a weight that belongs to no gates

}  // namespace rnnkernels::RNNKERNELS_TARGET
