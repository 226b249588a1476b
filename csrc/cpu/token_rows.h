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
                  WeightStorage storage, T* row_out) {
    const Index units = columns.units_in(block);
    for (int gate = 0; gate < columns.gates; ++gate)
        for (Index unit = 0; unit < units; ++unit) {
            const Index at = columns.vector(block) * columns.lanes + gate * units + unit;
            T w = weight[((gate * columns.units) + block * columns.lanes + unit) * tokens + token];
            if constexpr (sizeof(T) == 4) {
                if (storage == WeightStorage::bfloat16) round_to_bfloat16(Vec<float>(w)).store(&w, 1);
            }
            row_out[at] = bias[at] + w;
        }
}

// This thread's share of the table's columns.
template <class T>
void fill_token_table(const TokenRows<T>& rows, Index tokens, const T* weight, const T* bias,
                      const UnitColumns<T>& columns, WeightStorage storage, int thread, int threads) {
    const Index blocks = columns.blocks();
    for (Index block = blocks * thread / threads; block < blocks * (thread + 1) / threads; ++block)
        for (Index token = 0; token < tokens; ++token)
            gather_token(tokens, weight, bias, columns, block, token, storage, rows.table + token * rows.row);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
