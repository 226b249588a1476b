// The sums of weight_gradients.h in bfloat16: operands are rounded and multiplied in pairs, sums are float.
//
// A weight's gradient sums over rows: a pair is two rows of a chunk, of the gradient and of the matrix. The gradient's
// side is a tile of one vector of units, turned so that a unit's rows follow each other, and then converted as rows of
// any product are (low/kernels.h). dx sums over gates and units, as the products of a step do (low_backward.h).
// The order of a sum is that of weight_gradients.h, but for a block's length: kPairBlock pairs.
#pragma once

#include "low_rows.h"
#include "weight_gradients.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
template <class MatrixRow>
[[gnu::noinline]] void OuterProduct<T>::add_low(const GradientRows<T>& rows, const Index* slots, const int* weight_rows,
                                                int gates, Index units, MatrixRow matrix_row, Index columns, T* out,
                                                Index out_row, bool begins, Phases& phases) const {
    const Index vectors = blocks_of<T>(columns), panels = (vectors + width - 1) / width;
    for (Index first = 0; first < rows.count; first += 2 * kPairBlock) {
        const GradientRows<T> block{rows.data + first * rows.stride, rows.stride,
                                    least(rows.count - first, 2 * kPairBlock)};
        const bool set = begins && first == 0;
        for (Index panel0 = 0; panel0 < panels; panel0 += kColumnPanels) {
            const Index here = least(panels - panel0, kColumnPanels);
            phases.everyone([&](int share, int shares) {
                for (Index p = here * share / shares; p < here * (share + 1) / shares; ++p)
                    pack_pairs(matrix_row, first, block.count, (panel0 + p) * width, vectors, columns, pairs_at(p));
            });
            phases.everyone([&](int share, int shares) {
                add_low_tiles(block, slots, weight_rows, gates, units, {panel0, panel0 + here}, columns, out, out_row,
                              set, share, shares);
            });
        }
    }
}

// add_tiles(), of at most kPairBlock pairs of rows.
template <class T>
void OuterProduct<T>::add_low_tiles(const GradientRows<T>& rows, const Index* slots, const int* weight_rows, int gates,
                                    Index units, Range panels, Index columns, T* out, Index out_row, bool set,
                                    int share, int shares) const {
    constexpr Index together = 2 * lanes;  // rows that are turned at a time
    const cpu::LowKernels& kernels = cpu::low_kernels(kept.low);
    const Index vectors = blocks_of<T>(columns), tiles_per_gate = blocks_of<T>(units), tiles = tiles_per_gate * gates;
    alignas(64) T turned[lanes * together];
    alignas(64) T left[lanes * kPairBlock];
    alignas(64) T strip[lanes * width * lanes];
    for (Index at = tiles * share / shares; at < tiles * (share + 1) / shares; ++at) {
        const int gate = static_cast<int>(at / tiles_per_gate);
        const Index unit = at % tiles_per_gate * lanes;
        const int height = static_cast<int>(least(units - unit, Index{lanes}));
        for (Index row = 0; row < rows.count; row += together) {
            const Index here = least(rows.count - row, together);
            for (Index some = 0; some < here; some += lanes) {
                const T* const from = rows.data + (row + some) * rows.stride + slots[gate] + unit;
                Vec<T> column[lanes];
#pragma GCC unroll 16
                for (int r = 0; r < lanes; ++r)
                    column[r] = some + r < here ? Vec<T>::load(from + r * rows.stride) : Vec<T>(T(0));
                transpose(column);
#pragma GCC unroll 16
                for (int u = 0; u < lanes; ++u) column[u].store(turned + u * together + some);
            }
            kernels.convert(turned, together, height, here, kept.planes, left + row / 2, kPairBlock);
        }
        for (Index panel = panels.first; panel < panels.last; ++panel) {
            const Index vector = panel * width;
            const int wide = width_at(vector, vectors);
            kernels.product({left, kPairBlock, height, wide, pairs_at(panel - panels.first), 0, rows.count, kept.planes,
                             wide, zeros, 0, strip, wide * lanes});
            T* to = out + (weight_rows[gate] * units + unit) * out_row + vector * lanes;
            for (int r = 0; r < height; ++r, to += out_row)
                add_row(strip + r * wide * lanes, wide, columns - vector * lanes, set, to);
        }
    }
}

// pack_matrix(), [pair of rows][vectors of the panel][lanes]; the last of an odd number stands beside zeros.
template <class T>
template <class MatrixRow>
void OuterProduct<T>::pack_pairs(MatrixRow matrix_row, Index first, Index count, Index vector, Index vectors,
                                 Index columns, T* to) {
    using V = Vec<T>;
    const int wide = width_at(vector, vectors);
    for (Index k = 0; k < count; k += 2) {
        const Index here = least(count - k, Index{2});
        const T* const one = matrix_row(first + k) + vector * lanes;
        const T* const other = here == 2 ? matrix_row(first + k + 1) + vector * lanes : one;
        for (int v = 0; v < wide; ++v) {
            const Index valid = columns - (vector + v) * lanes;
            const V pair[2] = {V::load(one + v * lanes, valid), V::load(other + v * lanes, valid)};
            to = store_panel_rows(WeightStorage::bfloat16, pair, here, to, lanes);
        }
    }
}

template <class Store>
[[gnu::noinline]] void input_product_low(const GradientRows<float>& rows, const Panels<float>& w, const Index* slots,
                                         int gates, Index units, const float* zeros, Store store, int thread,
                                         int threads, Watch* watch, float* low) {
    constexpr Index lanes = Vec<float>::lanes;
    alignas(64) float strip[kLowRows * kMostPanelVectors * lanes];
    const Index last = rows.count * (thread + 1) / threads;
    for (Index row = rows.count * thread / threads; row < last; row += kLowRows) {
        const Index count = least(last - row, kLowRows);
        const RowBlock<float> a{rows.data + row * rows.stride, rows.stride, slots, gates, units};
        const ProductRows<float> converted = convert_segments(w.kept, a, RowSet{0, count}, low);
        for (Index panel = 0; panel < w.count(); ++panel) {
            const Index vector = panel * w.width;
            const int width = w.width_of(panel);
            product_of_pairs(converted.data, converted.stride, count, part_of(w, vector, vector + width), zeros, strip,
                             width * lanes);
            store(strip, row, count, vector, width);
        }
        if (row + kLowRows < last) cpu::look(watch);
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
