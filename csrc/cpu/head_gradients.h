// The gradient of a weight with heads (recurrence/heads.h): for each head the sum over a chunk's rows of the gradients
// of its units times its numbers of the operand. Each element is summed as one of a dense weight (weight_gradients.h).
#pragma once

#include "weight_gradients.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Panels of one head's columns.
template <class T>
Index head_panels(Index size) {
    constexpr Index columns = OuterProduct<T>::width * OuterProduct<T>::lanes;
    return (size + columns - 1) / columns;
}
// Columns for which an outer product needs room.
template <class T>
Index head_columns(Index units, Index heads) {
    return heads * head_panels<T>(units / heads) * OuterProduct<T>::width * OuterProduct<T>::lanes;
}

// dW (rows of `gates`, size) += or = the sums, `size` units a head. As many heads at a time as have room for their
// panels share a phase.
template <class T, class MatrixRow>
void add_heads(const OuterProduct<T>& outer, const GradientRows<T>& rows, const Index* slots, const ProductGates& gates,
               int heads, Index size, MatrixRow matrix_row, T* out, bool begins, Phases& phases) {
    using O = OuterProduct<T>;
    int weight_rows[kMaxGates];  // in units of a head
    for (int i = 0; i < gates.count; ++i) weight_rows[i] = gates.row[i] * heads;
    const Index vectors = blocks_of<T>(size), of_head = head_panels<T>(size);
    const Index panels = least(of_head, Index{O::kColumnPanels}), together = O::kColumnPanels / panels;
    for (Index first = 0; first < rows.count; first += O::kRowBlock) {
        const Index count = least(rows.count - first, Index{O::kRowBlock});
        const T* const data = rows.data + first * rows.stride;
        for (Index head0 = 0; head0 < heads; head0 += together)
            for (Index panel0 = 0; panel0 < of_head; panel0 += panels) {
                const Index some = least(heads - head0, together), here = least(of_head - panel0, panels);
                phases.everyone([&](int share, int shares) {
                    for (Index p = some * here * share / shares; p < some * here * (share + 1) / shares; ++p) {
                        const Index begin = (head0 + p / here) * size;
                        O::pack_matrix([&](Index row) { return matrix_row(row) + begin; }, first, count,
                                       (panel0 + p % here) * O::width, vectors, size, outer.panel_at(p));
                    }
                });
                phases.everyone([&](int share, int shares) {
                    for (Index i = 0; i < some; ++i) {
                        const Index begin = (head0 + i) * size;
                        O{outer.panel_at(i * here), outer.zeros}.add_tiles(
                            GradientRows<T>{data + begin, rows.stride, count}, slots, weight_rows, gates.count, size,
                            {panel0, panel0 + here}, size, out + begin * size, size, begins && first == 0, share,
                            shares);
                    }
                });
            }
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
