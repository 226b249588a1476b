// What a cell's gate table means for memory on a GPU. A matrix of so many vectors per row is (rows, vectors, H): a
// unit's neighbours are its neighbours in memory, as threads read them.
//
//   x part, u part   (rows, gates that the product feeds, H), in the order of the weight's rows
//   reserve          (rows, saved · states after h · what was normalised · with zoneout the cell's own states, H), then
//   per
//                    row scales, then what was fed back and what was projected, in the operands' dtype
//   gradient         (rows, columns, H), in the operands' dtype
//
// A column is a gradient slot. The slots that a product multiplies with a weight stand side by side in the order of the
// weight's rows, so that it is one product; a slot that two weights want in different company stands there twice.
#pragma once

#include "../recurrence/rows.h"
#include "../recurrence/sizes.h"
#include "storage.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kMostColumns = 32;

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

template <class Cell>
struct Layout {
    using G = Geometry<Cell>;

    struct Places {
        Columns columns;
        int input, hidden, feedback, gated;  // the first column of each product's
        // Of the biases: the same, but for a bias that stands behind a normalisation.
        int input_bias, hidden_bias;
    };
    static constexpr Places make() {
        Places p{};
        int list[16] = {};
        const auto place = [&](const GateList& gates, bool x) {
            for (int i = 0; i < gates.count; ++i) {
                const Gate& gate = Cell::gates[gates.gate[i]];
                list[i] = x ? gate.dx : gate.du;
            }
            return p.columns.place(list, gates.count);
        };
        p.input = p.input_bias = place(input_gates<Cell>, true);
        p.hidden = p.hidden_bias = place(hidden_gates<Cell>, false);
        p.feedback = place(feedback_gates<Cell>, false);
        p.gated = place(gated_gates<Cell>, false);
        for (int slot = 0; slot < G::slots; ++slot)
            if (p.columns.of(slot) < 0) p.columns.place(&slot, 1);
        if (normalised<Cell>) {
            // W_ih x and W_hh h have slots of their own, behind the cell's; each weight's stand side by side.
            for (int i = 0; i < G::inputs; ++i) list[i] = Cell::slot_count + i;
            p.input = p.columns.place(list, G::inputs);
            for (int i = 0; i < G::hiddens; ++i) list[i] = Cell::slot_count + G::inputs + i;
            p.hidden = p.columns.place(list, G::hiddens);
        }
        return p;
    }
    static constexpr Places places = make();
    static constexpr int columns = places.columns.count;

    // Rows of a weight that one product multiplies follow each other.
    static constexpr bool follow(const GateRows& rows, int count) {
        for (int i = 1; i < count; ++i)
            if (rows.row[i] != rows.row[0] + i) return false;
        return true;
    }
    static_assert(follow(hidden_rows<Cell>, G::hiddens) && follow(gated_rows<Cell>, G::gateds) &&
                      follow(feedback_rows<Cell>, G::feedbacks),
                  "the rows of weight_hh that one product multiplies must follow each other");
    static constexpr int first_hidden_row = G::hiddens > 0 ? hidden_rows<Cell>.row[0] : 0;
    static constexpr int first_feedback_row = G::feedbacks > 0 ? feedback_rows<Cell>.row[0] : 0;
    static constexpr int first_gated_row = G::gateds > 0 ? gated_rows<Cell>.row[0] : 0;
};

// What a chunk of steps keeps for each row: the x part, the gradients.
template <class Cell, class T>
Index forward_row_bytes(const Shape& shape) {
    return Geometry<Cell>::inputs * shape.hidden * static_cast<Index>(sizeof(T));
}
template <class Cell>
Index backward_row_bytes(const Shape& shape, Dtype storage) {
    return Layout<Cell>::columns * shape.hidden * bytes_of(storage);
}

// A reserve of so many rows.
template <class Cell, class T>
struct ReserveLayout {
    using G = Geometry<Cell>;
    Index hidden, rows;
    bool zoneout;
    Dtype storage;

    Index vectors() const { return G::reserve(zoneout); }
    Index main() const { return rows * vectors() * hidden * static_cast<Index>(sizeof(T)); }
    Index scales() const { return rows * G::norms * static_cast<Index>(sizeof(T)); }
    Index fed() const { return rows * G::vectors * hidden * bytes_of(storage); }
    Index made() const { return projected<Cell> ? rows * hidden * bytes_of(storage) : 0; }
    Index bytes() const { return main() + scales() + fed() + made(); }

    // Where each part begins in a reserve.
    template <class Void>
    auto* scales_of(Void* reserve) const {
        return at(reserve, main());
    }
    template <class Void>
    auto* fed_of(Void* reserve) const {
        return at(reserve, main() + scales());
    }
    template <class Void>
    auto* made_of(Void* reserve) const {
        return at(reserve, main() + scales() + fed());
    }

private:
    static void* at(void* reserve, Index bytes) { return reserve ? static_cast<char*>(reserve) + bytes : nullptr; }
    static const void* at(const void* reserve, Index bytes) {
        return reserve ? static_cast<const char*>(reserve) + bytes : nullptr;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
