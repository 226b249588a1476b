// Token inputs: row t, b of the x part is a column of W_ih plus the bias, and no one-hot matrix exists.
//
// Where the vocabulary is no larger than the tokens of the call, all columns are laid out once as rows of a
// table and the cell reads its x part straight from there; else each token's column is gathered per chunk.
// Both add bias + weight, the sum a product with a one-hot row would give.
// The gradient goes the same way back: threads own units, so that no two write one place.
#pragma once

#include "panels.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
struct TokenRows {
    T* table;   // (I, row) or null: gather
    Index row;  // blocks * gates * lanes
};

template <class T>
TokenRows<T> take_token_rows(Workspace& workspace, const Shape& shape, Index row) {
    if (shape.input > shape.steps * shape.batch) return {nullptr, row};
    return {workspace.take<T>(shape.input * row), row};
}

// One token's column for one block of units, at its place in `row_out`.
template <class T>
void gather_token(const Shape& shape, const T* weight, const T* bias, int gates, Index block, Index token, T* row_out) {
    constexpr int lanes = Vec<T>::lanes;
    for (int i = 0; i < gates; ++i)
        for (int l = 0; l < lanes; ++l) {
            const Index unit = block * lanes + l;
            const Index at = (block * gates + i) * lanes + l;
            row_out[at] =
                unit < shape.hidden ? bias[at] + weight[(i * shape.hidden + unit) * shape.input + token] : T(0);
        }
}

// This thread's share of the table's columns.
template <class T>
void fill_token_table(const TokenRows<T>& rows, const Shape& shape, const T* weight, const T* bias, int gates,
                      int thread, int threads) {
    if (!rows.table) return;
    const Index blocks = blocks_of<T>(shape.hidden);
    for (Index block = blocks * thread / threads; block < blocks * (thread + 1) / threads; ++block)
        for (Index token = 0; token < shape.input; ++token)
            gather_token(shape, weight, bias, gates, block, token, rows.table + token * rows.row);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
