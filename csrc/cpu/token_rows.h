// Token inputs: row t, b of the x part is a column of W_ih plus the bias, and no one-hot matrix exists.
//
// Where the vocabulary is no larger than the tokens of the call, or the weights are prepared for many calls, all
// columns are laid out once as rows of a table and the cell reads its x part straight from there; else each
// token's column is gathered per chunk. Both add bias + weight, the sum a product with a one-hot row would give.
#pragma once

#include "panels.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
struct TokenRows {
    T* table;   // (I, row) or null: gather
    Index row;  // UnitColumns::row
};

template <class T>
TokenRows<T> take_token_rows(Workspace& workspace, Index tokens, Index row) {
    return {workspace.take<T>(tokens * row), row};
}

// One token's column for one block of units, at its place in `row_out`.
template <class T>
void gather_token(Index tokens, const T* weight, const T* bias, const UnitColumns<T>& columns, Index block, Index token,
                  T* row_out) {
    const Index units = columns.units_in(block);
    for (int gate = 0; gate < columns.gates; ++gate) {
        const Index at = columns.vector(block) * columns.lanes + gate * units;
        const T* from = weight + (gate * columns.units + block * columns.lanes) * tokens + token;
        for (Index unit = 0; unit < units; ++unit) row_out[at + unit] = bias[at + unit] + from[unit * tokens];
    }
}

// This thread's share of the table's columns; `gate_rows`: the gates' rows of the weight, in units of H.
template <class T>
void fill_token_table(const TokenRows<T>& rows, Index tokens, const T* weight, const int* gate_rows, const T* bias,
                      const UnitColumns<T>& columns, WeightStorage storage, int thread, int threads) {
    using V = Vec<T>;
    const Index vectors = columns.vectors();
    for (Index vector = vectors * thread / threads; vector < vectors * (thread + 1) / threads; ++vector) {
        const ColumnRows<T> from(columns, vector, weight, gate_rows, tokens);
        const V b = V::load(bias + vector * V::lanes);
        for (Index token = 0; token < tokens; token += kPackedAtOnce<T>) {
            V column[kPackedAtOnce<T>];
            const Index here = tokens - token < kPackedAtOnce<T> ? tokens - token : kPackedAtOnce<T>;
            from.load(token, here, column);
            for (Index i = 0; i < here; ++i)
                (b + as_stored(storage, column[i])).store(rows.table + (token + i) * rows.row + vector * V::lanes);
        }
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
