// Sums over the rows of a chunk that are no products of matrices: of biases and element-wise weights, of the term, of
// tokens, of readings. Every sum has one fixed order, in every call of the same sizes: no atomics, the same bits again
// and again.
#pragma once

#include "../recurrence/norm.h"
#include "../recurrence/rows.h"
#include "queue.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr Index kSumRows = 64;  // rows that one thread adds

// parts (blocks, columns): of every block of rows their sum. Over (blocks, columns).
template <class T>
struct SumBlocks {
    const void* rows;
    Dtype storage;
    Index count, columns;
    T* parts;

    RNNKERNELS_INLINE void operator()(Index block, Index column) const {
        const Index last = (block + 1) * kSumRows < count ? (block + 1) * kSumRows : count;
        T sum = 0;
        for (Index row = block * kSumRows; row < last; ++row) sum += load_as<T>(rows, storage, row * columns + column);
        parts[block * columns + column] = sum;
    }
};

// sums (columns) += the parts, in ascending order. Over (1, columns).
template <class T>
struct AddBlocks {
    const T* parts;
    Index blocks, columns;
    T* sums;

    RNNKERNELS_INLINE void operator()(Index, Index column) const {
        T sum = 0;
        for (Index block = 0; block < blocks; ++block) sum += parts[block * columns + column];
        sums[column] += sum;
    }
};

// sums (B, columns) += the first columns of a step's rows, `stride` apart. Over (rows of the step, columns).
template <class T>
struct AddTerms {
    const void* rows;
    Dtype storage;
    Index first, stride, columns;
    T* sums;

    RNNKERNELS_INLINE void operator()(Index row, Index column) const {
        sums[row * columns + column] += load_as<T>(rows, storage, (first + row) * stride + column);
    }
};

// A chunk's rows by token: the rows of token k are list[begin[k]] to list[begin[k + 1]], in ascending order. Tokens
// that there are not stand in none.
struct RowsOfTokens {
    Index* begin;  // (I + 1)
    Index* list;   // (rows of a chunk)
};

// begin[k + 1] = how many rows have token k. Over (1, I).
struct CountTokens {
    const std::int64_t* tokens;
    Rows rows;
    Index first, count;
    RowsOfTokens of;

    RNNKERNELS_INLINE void operator()(Index, Index token) const {
        Index many = 0;
        for (Index row = 0; row < count; ++row) many += tokens[rows.place(first + row)] == token;
        of.begin[token + 1] = many;
    }
};

// Counts become begins. One thread.
struct AddCounts {
    Index input;
    RowsOfTokens of;

    RNNKERNELS_INLINE void operator()(Index, Index) const {
        Index sum = of.begin[0] = 0;
        for (Index token = 0; token < input; ++token) of.begin[token + 1] = sum += of.begin[token + 1];
    }
};

// Over (1, I).
struct ListTokens {
    const std::int64_t* tokens;
    Rows rows;
    Index first, count;
    RowsOfTokens of;

    RNNKERNELS_INLINE void operator()(Index, Index token) const {
        Index to = of.begin[token];
        for (Index row = 0; row < count; ++row)
            if (tokens[rows.place(first + row)] == token) of.list[to++] = row;
    }
};

// dweight (columns, I, rows `weight_row` apart) = or += for each token the first columns of its rows, `stride` apart.
// Over (I, columns).
template <class T>
struct AddTokens {
    const void* rows;
    Dtype storage;
    Index stride, weight_row;  // of gradients, of dweight
    RowsOfTokens of;
    bool accumulate;
    T* dweight;

    RNNKERNELS_INLINE void operator()(Index token, Index column) const {
        T& to = dweight[column * weight_row + token];
        T sum = accumulate ? to : T(0);
        for (Index i = of.begin[token]; i < of.begin[token + 1]; ++i)
            sum += load_as<T>(rows, storage, of.list[i] * stride + column);
        to = sum;
    }
};

// dx of a chunk in the caller's array, with what gates that take x itself add. Over (rows of the chunk, I).
template <class T>
struct ScatterInputGradient {
    const T* dx;  // (rows of the chunk, I)
    const void* gradient;
    Dtype storage;
    Rows rows;
    Index first, input, to_row, stride;
    void* to;  // (T*B, I and what stands behind it), rows `to_row` apart
    int directs;
    int column[kMaxGates];  // each direct gate's, I = H wide

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        T sum = dx[row * input + unit];
        for (int i = 0; i < directs; ++i) sum += load_as<T>(gradient, storage, row * stride + column[i] * input + unit);
        store_as<T>(to, storage, rows.place(first + row) * to_row + unit, sum);
    }
};

// norms[place of a row] = its norm.
template <class T>
struct WriteNorms {
    const T* values;  // (rows of a chunk, units)
    Index units, first;
    Rows rows;
    void* norms;
    Dtype storage;

    RNNKERNELS_INLINE void operator()(Index row, const Team& team) const {
        using S = NormScale<T>;
        const T* from = values + row * units;
        const auto sum = [&](T scale) {
            return team.sum<T>(units, [from, scale](Index i) { return from[i] * scale * (from[i] * scale); });
        };
        const T norm = norm_of_sums(sum(1), sum(S::up), sum(S::down));
        team.each(1, [&](Index) { store_as<T>(norms, storage, rows.place(first + row), norm); });
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
