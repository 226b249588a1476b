// What a cell's table means for memory on a GPU. A matrix of so many vectors per row is (rows, vectors, H): a unit's
// neighbours are its neighbours in memory, as threads read them.
//
//   x part, u part   (rows, gates that the product feeds, H), in the order of the weight's rows
//   reserve          (rows, vectors, H), the vectors as cell_table.h has them; then per row scales, then what was fed
//   back
//                    and what was projected, in the operands' dtype
//   gradient         (rows, columns, H), in the operands' dtype
//
// A column is a gradient slot. The slots that a product multiplies with a weight stand side by side in the order of the
// weight's rows, so that it is one product; a slot that two weights want in different company stands there twice.
//
// All of it is a function of the table: asked by the engines at run time, and by a cell's bodies when they are
// compiled.
#pragma once

#include "../recurrence/sizes.h"
#include "storage.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kMostColumns = 128;  // a cell's slots, and each once more in company

struct Columns {
    int count = 0;
    int slot[kMostColumns] = {};  // of each column

    // Where `wanted` slots stand side by side, put there if they do not yet.
    constexpr int place(const int* wanted, int many) {
        for (int first = 0; first + many <= count; ++first) {
            bool same = true;
            for (int i = 0; i < many; ++i) same = same && slot[first + i] == wanted[i];
            if (same) return first;
        }
        for (int i = 0; i < many; ++i) slot[count + i] = wanted[i];
        count += many;
        return count - many;
    }
    // A column of a slot.
    constexpr int of(int wanted) const {
        for (int column = 0; column < count; ++column)
            if (slot[column] == wanted) return column;
        return -1;
    }
};

// The first column of each product's gates, of its biases, and its first row of the weight.
struct Layout {
    Columns columns;
    int input, hidden, feedback, gated;
    int input_bias, hidden_bias;  // the same, but for a bias that stands behind a normalisation
    int first_hidden_row, first_feedback_row, first_gated_row;
};

constexpr Layout layout_of(const CellTable& table) {
    Layout layout{};
    Columns& columns = layout.columns;
    layout.input_bias = columns.place(table.input.bias_slot, table.input.count);
    layout.hidden_bias = columns.place(table.hidden.bias_slot, table.hidden.count);
    layout.feedback = columns.place(table.feedback.slot, table.feedback.count);
    layout.gated = columns.place(table.gated.slot, table.gated.count);
    for (int slot = 0; slot < table.slots; ++slot)
        if (columns.of(slot) < 0) columns.place(&slot, 1);
    layout.input = columns.place(table.input.slot, table.input.count);
    layout.hidden = columns.place(table.hidden.slot, table.hidden.count);
    layout.first_hidden_row = table.hidden.row[0];
    layout.first_feedback_row = table.feedback.row[0];
    layout.first_gated_row = table.gated.row[0];
    return layout;
}

// use(first gate, gates, row) for gates of a product whose rows of the weight follow each other: those are one product
// of matrices. A built-in cell's are all of them (rows_follow).
template <class Use>
void each_run(const ProductGates& product, Use use) {
    for (int first = 0, next = 0; first < product.count; first = next) {
        next = first + 1;
        while (next < product.count && product.row[next] == product.row[next - 1] + 1) ++next;
        use(first, next - first, product.row[first]);
    }
}

// Whether the rows of weight_hh that one product multiplies follow each other.
constexpr bool rows_follow(const CellTable& table) {
    for (const ProductGates* product : {&table.hidden, &table.feedback, &table.gated})
        for (int i = 1; i < product->count; ++i)
            if (product->row[i] != product->row[0] + i) return false;
    return true;
}

// What a chunk of steps keeps for each row: the x part, the gradients.
inline Index forward_row_bytes(const CellTable& table, const Shape& shape, Dtype dtype) {
    return table.input.count * shape.hidden * bytes_of(arithmetic_of(dtype));
}
inline Index backward_row_bytes(const CellTable& table, const Shape& shape, Dtype storage) {
    return layout_of(table).columns.count * shape.hidden * bytes_of(storage);
}

// A reserve of so many rows. `zones`: the states as the cell itself made them are kept as well.
struct ReserveLayout {
    Index vectors;                  // of a row
    Index main, scales, fed, made;  // bytes of each part

    ReserveLayout(const CellTable& table, Index hidden, Index rows, bool zones, Dtype storage)
        : vectors(reserve_vectors(table, zones)),
          main(rows * vectors * hidden * bytes_of(arithmetic_of(storage))),
          scales(rows * table.norms * bytes_of(arithmetic_of(storage))),
          fed(rows * table.vectors * hidden * bytes_of(storage)),
          made(table.form == Form::projected ? rows * hidden * bytes_of(storage) : 0) {}

    Index bytes() const { return main + scales + fed + made; }

    // Where each part begins in a reserve.
    template <class Void>
    auto* scales_of(Void* reserve) const {
        return at(reserve, main);
    }
    template <class Void>
    auto* fed_of(Void* reserve) const {
        return at(reserve, main + scales);
    }
    template <class Void>
    auto* made_of(Void* reserve) const {
        return at(reserve, main + scales + fed);
    }

    // What an attending recurrence keeps behind it, aligned (binding/calls.cpp makes room for that).
    template <class Void>
    auto* behind(Void* reserve) const {
        return at(reserve, (bytes() + kBehindReserve - 1) / kBehindReserve * kBehindReserve);
    }

private:
    static void* at(void* reserve, Index bytes) { return reserve ? static_cast<char*>(reserve) + bytes : nullptr; }
    static const void* at(const void* reserve, Index bytes) {
        return reserve ? static_cast<const char*>(reserve) + bytes : nullptr;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
