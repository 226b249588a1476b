// Token inputs: row t, b of the x part is a column of W_ih plus the bias, and no one-hot matrix exists.
//
// Where the vocabulary is no larger than the tokens of the call, or the weights are prepared for many calls, all
// columns are laid out once as rows of a table and the cell reads its x part straight from there; else each
// token's column is gathered per chunk. Both add bias + weight, the sum a product with a one-hot row would give: of
// its chains one ends with the weight, and the others add nothing. A token beyond the product's k is in another
// product's (attending.h).
#pragma once

#include "gate_product.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// One token's column for one block of units, at its place in `row_out`.
template <bool rounds, class T>
void gather_token(const GateProduct<T>& input, Index block, Index token, T* row_out) {
    const UnitColumns<T>& columns = input.columns;
    const Index weight_row = input.weight_row;
    const Index units = columns.units_in(block);
    for (int gate = 0; gate < columns.gates; ++gate) {
        const Index at = columns.vector(block) * columns.lanes + gate * units;
        const T* from = input.weight + (input.rows[gate] * columns.units + block * columns.lanes) * weight_row + token;
        for (Index unit = 0; unit < units; ++unit) {
            T weight = token < input.panels.k ? from[unit * weight_row] : T(0);
            if constexpr (rounds) weight = round_to_bfloat16(weight);
            row_out[at + unit] = input.bias[at + unit] + weight;
        }
    }
}

__attribute__((noinline)) inline void gather_rounded_token(const GateProduct<float>& input, Index block, Index token,
                                                           float* row_out) {
    gather_token<true>(input, block, token, row_out);
}

// This thread's share of the columns of the table, (tokens, UnitColumns::row).
template <class T>
void fill_token_table(T* table, const GateProduct<T>& input, Index tokens, int thread, int threads) {
    using V = Vec<T>;
    const Index vectors = input.columns.vectors();
    for (Index vector = vectors * thread / threads; vector < vectors * (thread + 1) / threads; ++vector) {
        const ColumnRows<T> from(input.columns, vector, input.weight, input.rows, input.weight_row);
        const V bias = V::load(input.bias + vector * V::lanes);
        for (Index token = 0; token < tokens; token += kPackedAtOnce<T>) {
            V column[kPackedAtOnce<T>];
            const Index here = tokens - token < kPackedAtOnce<T> ? tokens - token : kPackedAtOnce<T>;
            from.load(token, here, column);
            for (Index i = here - 1; token + i >= input.panels.k && i >= 0; --i) column[i] = V(T(0));
            for (Index i = 0; i < here; ++i)
                (bias + as_stored(input.panels.kept.storage, column[i]))
                    .store(table + (token + i) * input.columns.row() + vector * V::lanes);
        }
    }
}

// The same of weights kept as int8: q * scale of each.
template <class T>
void fill_int8_token_table(T* table, const GateProduct<T>& input, const float* scales, int thread, int threads) {
    if constexpr (sizeof(T) == 4) {
        using V = Vec<T>;
        const Index tokens = input.panels.k, vectors = input.columns.vectors();
        for (Index vector = vectors * thread / threads; vector < vectors * (thread + 1) / threads; ++vector) {
            const ColumnRows<T> from(input.columns, vector, input.weight, input.rows, input.weight_row);
            const V bias = V::load(input.bias + vector * V::lanes);
            const V scale = column_scales(from, input.columns, vector, input.rows, tokens, scales);
            for (Index token = 0; token < tokens; token += kPackedAtOnce<T>) {
                V column[kPackedAtOnce<T>];
                const Index here = tokens - token < kPackedAtOnce<T> ? tokens - token : kPackedAtOnce<T>;
                from.load(token, here, column);
                for (Index i = 0; i < here; ++i)
                    (bias + scale * quantised(column[i], scale))
                        .store(table + (token + i) * input.columns.row() + vector * V::lanes);
            }
        }
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
