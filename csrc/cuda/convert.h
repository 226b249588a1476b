// Element-wise work that knows no cell: gathers, tables of tokens, copies in another dtype, dropped weights.
#pragma once

#include "../recurrence/masks.h"
#include "queue.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// to (count, columns) = rows `places` of from; null places: those that follow each other from `first` on.
template <class T>
struct GatherRows {
    const void* from;
    void* to;
    Dtype storage;
    Rows rows;
    Index first, columns;

    RNNKERNELS_INLINE void operator()(Index row, Index column) const {
        const T value = load_as<T>(from, storage, rows.place(first + row) * columns + column);
        store_as<T>(to, storage, row * columns + column, value);
    }
};

// A copy of an array of one dtype in another.
template <class T>
struct Convert {
    const void* from;
    Dtype from_dtype;
    void* to;
    Dtype to_dtype;

    RNNKERNELS_INLINE void operator()(Index, Index at) const {
        store_as<T>(to, to_dtype, at, load_as<T>(from, from_dtype, at));
    }
};

// table (I, columns) from the first I values of weight_ih's rows, `weight_row` apart.
template <class T>
struct MakeTable {
    const void* weight;
    Dtype storage;
    T* table;
    Index input, weight_row, columns;

    RNNKERNELS_INLINE void operator()(Index token, Index column) const {
        table[token * columns + column] = load_as<T>(weight, storage, column * weight_row + token);
    }
};

// The x part of tokens, straight from weight_ih; NaN for a token that there is not.
template <class T>
struct GatherTokens {
    const void* weight;
    Dtype storage;
    const std::int64_t* tokens;
    Rows rows;
    Index first, input, weight_row, columns;
    T* x_part;

    RNNKERNELS_INLINE void operator()(Index row, Index column) const {
        const std::int64_t token = tokens[rows.place(first + row)];
        x_part[row * columns + column] = token >= 0 && token < input
                                             ? load_as<T>(weight, storage, column * weight_row + token)
                                             : T(__builtin_nanf(""));
    }
};

// to (rows, columns) = from with elements dropped, the others divided by 1 - rate. to may be from. A thread has four
// rows of a column: one evaluation of the generator decides about them all.
template <class T>
struct DropElements {
    const void* from;
    void* to;
    Dtype from_dtype, to_dtype;
    Index rows, columns;
    std::uint64_t key;
    std::uint32_t stream;
    Chance<T> dropped;
    T scale;

    RNNKERNELS_INLINE void operator()(Index group, Index column) const {
        using V = Vec<T>;
        const auto words =
            random_words<T>(key, {static_cast<std::uint32_t>(column), static_cast<std::uint32_t>(group), 0, stream});
        RNNKERNELS_UNROLL(4)
        for (int i = 0; i < 4; ++i) {
            const Index row = group * 4 + i;
            if (row >= rows) continue;
            const Index at = row * columns + column;
            const V kept = V(load_as<T>(from, from_dtype, at)) * V(scale);
            store_as<T>(to, to_dtype, at, dropped.choose(words.word[i], V(T(0)), kept).raw);
        }
    }
};

// Drops elements of a matrix.
template <class T>
void drop_elements(const Queue& queue, const void* from, Dtype from_dtype, void* to, Dtype to_dtype, Index rows,
                   Index columns, double rate, std::uint64_t key, std::uint32_t stream) {
    each(queue, (rows + 3) / 4, columns,
         DropElements<T>{from, to, from_dtype, to_dtype, rows, columns, key, stream, Chance<T>(rate),
                         static_cast<T>(1 / (1 - rate))});
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
