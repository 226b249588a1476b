// Packed weights, and the product of rows with them.
//
// The columns of a product are cut into vectors; several vectors make a panel, stored [k][vectors][lanes] so
// that a tile streams through it. Columns that belong to gates stand unit-major, vector = block * gates + i:
// all gates of a block of units lie side by side, and the cell can run as soon as their panels are done.
// The last panel may be narrower; columns beyond the last unit hold zeros.
#pragma once

#include "tile.h"
#include "workspace.h"

namespace rnnkernels::RNNKERNELS_TARGET {

using cpu::Workspace;

inline constexpr Index kNoOffset[1] = {0};

template <class T>
struct Panels {
    T* data;
    Index k;        // length of the sum
    Index vectors;  // of columns, padding included
    int width;      // vectors per panel (the last may have fewer)

    Index panel_size() const { return k * width * Vec<T>::lanes; }
    Index count() const { return (vectors + width - 1) / width; }
    int width_of(Index panel) const {
        const Index left = vectors - panel * width;
        return static_cast<int>(left < width ? left : width);
    }
};

template <class T>
Index blocks_of(Index columns) {
    return (columns + Vec<T>::lanes - 1) / Vec<T>::lanes;
}

// Room for the panels of a product of `gates` gates (1: plain columns) of `columns` columns over k.
template <class T>
Panels<T> take_panels(Workspace& workspace, Index k, int gates, Index columns) {
    Panels<T> panels{nullptr, k, blocks_of<T>(columns) * gates, panel_vectors(gates)};
    panels.data = workspace.take<T>(panels.count() * panels.panel_size());
    return panels;
}

// Packs the share of thread `thread` of `threads` of panels whose k runs along the rows of W:
//   element (k, gate i, unit) = W[(row[i] * units + unit) * k_length + k]
template <class T>
void pack_gates(const Panels<T>& to, const T* weight, const int* row, int gates, Index units, int thread, int threads) {
    constexpr int lanes = Vec<T>::lanes;
    const Index k_length = to.k;
    for (Index p = to.count() * thread / threads; p < to.count() * (thread + 1) / threads; ++p) {
        const int width = to.width_of(p);
        T* panel = to.data + p * to.panel_size();
        for (int v = 0; v < width; ++v) {
            const Index vector = p * to.width + v;
            const Index block = vector / gates;
            const T* source = weight + (row[vector % gates] * units + block * lanes) * k_length;
            const Index valid = units - block * lanes < lanes ? units - block * lanes : lanes;
            for (Index k = 0; k < k_length; ++k) {
                T* target = panel + (k * width + v) * lanes;
                for (Index l = 0; l < valid; ++l) target[l] = source[l * k_length + k];
                for (Index l = valid; l < lanes; ++l) target[l] = T(0);
            }
        }
    }
}

// Packs a share of panels whose columns run along the rows of W (the transposed products of the backward):
//   element (k = (i, unit), column) = W[(row[i] * units + unit) * columns + column]
template <class T>
void pack_transposed(const Panels<T>& to, const T* weight, const int* row, Index units, Index columns, int thread,
                     int threads) {
    constexpr int lanes = Vec<T>::lanes;
    for (Index p = to.count() * thread / threads; p < to.count() * (thread + 1) / threads; ++p) {
        const int width = to.width_of(p);
        T* target = to.data + p * to.panel_size();
        const Index first = p * to.width * lanes;
        for (Index k = 0; k < to.k; ++k) {
            const T* source = weight + (row[k / units] * units + k % units) * columns;
            for (int v = 0; v < width; ++v, target += lanes) {
                const Index column = first + v * lanes;
                Vec<T>::load(source + column, columns - column).store(target);
            }
        }
    }
}

// The bias in the order of the columns, zeros where there is none: [blocks][gates][lanes].
template <class T>
T* pack_bias(Workspace& workspace, const T* bias, const int* row, int gates, Index units) {
    constexpr int lanes = Vec<T>::lanes;
    const Index blocks = blocks_of<T>(units);
    T* packed = workspace.take<T>(blocks * gates * lanes);
    for (Index b = 0; b < blocks; ++b)
        for (int i = 0; i < gates; ++i)
            for (int l = 0; l < lanes; ++l) {
                const Index unit = b * lanes + l;
                packed[(b * gates + i) * lanes + l] = bias && unit < units ? bias[row[i] * units + unit] : T(0);
            }
    return packed;
}

// out[r][v] for the vectors [first, last) of the panels, first on a panel's edge, last too or the very end;
// init and out point at column `first`. init_stride 0: every row starts from the same values (the bias).
template <class T>
void product(const RowBlock<T>& a, int rows, const Panels<T>& w, Index first, Index last, const T* init,
             Index init_stride, T* out, Index out_stride) {
    constexpr int lanes = Vec<T>::lanes;
    for (Index vector = first; vector < last;) {
        const Index panel = vector / w.width;
        const int width = w.width_of(panel);
        int together = panels_side_by_side(rows, width);
        if (vector + together * w.width > last) together = 1;
        const TileFunction<T> run = find_tile<T>(rows, width, together);
        const Index column = (vector - first) * lanes;
        run(a, w.data + panel * w.panel_size(), w.panel_size(), init + column, init_stride, out + column, out_stride);
        vector += together * width;
    }
}

// `rows` cut into tiles of at most `most` rows as evenly as can be: the number of rows of the first tile.
// (64 rows by 6: nine tiles of 6 and two of 5, not ten of 6 and one of 4.)
inline int next_tile(Index rows, int most) {
    const Index tiles = (rows + most - 1) / most;
    return static_cast<int>((rows + tiles - 1) / tiles);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
