// Packed weights, and the product of rows with them.
//
// The columns of a product are cut into vectors; several vectors make a panel, stored [k][vectors][lanes] so
// that a tile streams through it. Columns that belong to gates stand unit-major (UnitColumns): all gates of a
// block of units lie side by side, and the cell can run as soon as their panels are done.
// The last panel may be narrower; columns beyond the last unit hold zeros.
#pragma once

#include "storage.h"
#include "tile.h"
#include "workspace.h"

namespace rnnkernels::RNNKERNELS_TARGET {

using cpu::Workspace;

inline constexpr Index kNoOffset[1] = {0};
inline constexpr int kInOrder[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

template <class T>
Index blocks_of(Index columns) {
    return (columns + Vec<T>::lanes - 1) / Vec<T>::lanes;
}

// Where the columns of `gates` gates stand: block of units after block, in a block gate after gate, a vector
// each. In a last block of fewer units than lanes the gates follow each other without gaps, so that 100 units of
// 4 gates are 25 vectors and not 28. A vector loaded there holds its gate's units first, then what follows.
template <class T>
struct UnitColumns {
    static constexpr int lanes = Vec<T>::lanes;
    Index units;
    int gates;

    Index blocks() const { return blocks_of<T>(units); }
    Index units_in(Index block) const { return units - block * lanes < lanes ? units - block * lanes : lanes; }
    Index vectors_in(Index block) const { return (units_in(block) * gates + lanes - 1) / lanes; }
    Index vectors() const { return blocks() == 0 ? 0 : (blocks() - 1) * gates + vectors_in(blocks() - 1); }
    // The first vector of a block; the end of the last one for the block after it.
    Index vector(Index block) const { return block < blocks() ? block * gates : vectors(); }
    // Lanes of a row that holds them all, where every gate of every block can be loaded as a whole vector.
    Index row() const { return blocks() * gates * lanes; }

    // Calls lane_is(lane, gate, unit) for every lane of a vector; gate -1: nothing stands there.
    template <class Function>
    RNNKERNELS_INLINE void each_lane(Index vector, Function lane_is) const {
        const Index block = vector / gates < blocks() ? vector / gates : blocks() - 1;
        const Index here = units_in(block);
        Index unit = (vector - block * gates) * lanes;  // among the block's gates x units, then in its gate
        int gate = 0;
        for (; unit >= here && gate < gates; unit -= here) ++gate;
        for (int lane = 0; lane < lanes; ++lane) {
            lane_is(lane, gate < gates ? gate : -1, block * lanes + unit);
            if (++unit == here) unit = 0, ++gate;
        }
    }
};

template <class T>
struct Panels {
    T* data;
    Index k;        // length of the sum
    Index vectors;  // of columns, padding included
    int width;      // vectors per panel (the last may have fewer)
    Kept kept{};

    Index panel_size() const { return stored_rows(k, kept.storage, kept.planes) * width * Vec<T>::lanes; }
    Index count() const { return (vectors + width - 1) / width; }
    Index size() const { return count() * panel_size(); }
    int width_of(Index panel) const {
        const Index left = vectors - panel * width;
        return static_cast<int>(left < width ? left : width);
    }
};

// The vectors [first, last), first on a panel's edge, last too or the very end.
template <class T>
Panels<T> part_of(Panels<T> panels, Index first, Index last) {
    panels.data += first / panels.width * panels.panel_size();
    panels.vectors = last - first;
    return panels;
}

// Room for the panels of a product over k with columns in `vectors` vectors, `gates` of them a block of units.
template <class T>
Panels<T> take_panels(Workspace& workspace, Index k, int gates, Index vectors) {
    Panels<T> panels{nullptr, k, vectors, panel_vectors(gates)};
    panels.data = workspace.take<T>(panels.size());
    return panels;
}

// The same of a transposed product: k runs over gates and their units. In pairs of units, where they are kept so.
template <class T>
Panels<T> take_transposed(Workspace& workspace, int gates, Index units, Index vectors, Kept kept) {
    const Index of_gate = kept.low != 0 ? 2 * kept.row_lanes(units) : units;
    Panels<T> panels{nullptr, gates * of_gate, vectors, panel_vectors(1), kept};
    panels.data = workspace.take<T>(panels.size());
    return panels;
}

// Values of k that are packed at a time: even, as bfloat16 stores pairs.
template <class T>
inline constexpr int kPackedAtOnce = Vec<T>::lanes > 1 ? Vec<T>::lanes : 2;

// Rows of W that become the lanes of one vector of columns, read along k.
template <class T>
class ColumnRows {
public:
    using V = Vec<T>;

    ColumnRows(const UnitColumns<T>& columns, Index vector, const T* weight, const int* row, Index weight_row) {
        columns.each_lane(vector, [&](int lane, int gate, Index unit) {
            from_[lane] = gate < 0 ? nullptr : weight + (row[gate] * columns.units + unit) * weight_row;
        });
    }

    // The values at k, k + 1, ... as `count` vectors; count is at most kPackedAtOnce.
    RNNKERNELS_INLINE void load(Index k, Index count, V* column) const {
        if constexpr (V::lanes == 1) {
            for (Index i = 0; i < count; ++i) column[i] = from_[0] ? V(from_[0][k + i]) : V(T(0));
        } else {
#pragma GCC unroll 16
            for (int l = 0; l < V::lanes; ++l) column[l] = from_[l] ? V::load(from_[l] + k, count) : V(T(0));
            transpose(column);
        }
    }

private:
    const T* from_[V::lanes];  // null: zeros
};

// Packs panels [first, last) of `to`, whose k runs along the rows of W and whose columns start at vector `origin`:
//   element (k, gate i, unit) = W[(row[i] * units + unit) * weight_row + k]
template <class T>
void pack_gates(const Panels<T>& to, Index origin, const T* weight, Index weight_row, const int* row,
                const UnitColumns<T>& columns, Index first, Index last) {
    using V = Vec<T>;
    for (Index p = first; p < last; ++p) {
        const int width = to.width_of(p);
        for (int v = 0; v < width; ++v) {
            const ColumnRows<T> from(columns, origin + p * to.width + v, weight, row, weight_row);
            T* target = to.data + p * to.panel_size() + v * V::lanes;
            for (Index k = 0; k < to.k; k += kPackedAtOnce<T>) {
                V column[kPackedAtOnce<T>];
                const Index here = to.k - k < kPackedAtOnce<T> ? to.k - k : kPackedAtOnce<T>;
                from.load(k, here, column);
                target = store_panel_rows(to.kept.storage, column, here, target, width * V::lanes);
            }
        }
    }
}

// pack_transposed(), in pairs of units: none has units of two gates, and where they are odd a gate's last has a zero.
inline void pack_transposed_pairs(const Panels<float>& to, const float* weight, const int* row, Index units,
                                  Index columns, Index stride, int thread, int threads) {
    using V = Vec<float>;
    for (Index p = to.count() * thread / threads; p < to.count() * (thread + 1) / threads; ++p) {
        const int width = to.width_of(p);
        float* target = to.data + p * to.panel_size();
        const Index first = p * to.width * V::lanes;
        for (Index k = 0, gate = 0; k < to.k; ++gate)
            for (Index unit = 0; unit < units; unit += 2, k += 2) {
                const float* const source = weight + (row[gate] * units + unit) * stride + first;
                const Index count = least(units - unit, Index{2});
                for (int v = 0; v < width; ++v) {
                    const Index at = v * V::lanes, left = columns - first - at;
                    const V pair[2] = {V::load(source + at, left),
                                       count == 2 ? V::load(source + stride + at, left) : V(0.0F)};
                    target = store_panel_rows(to.kept.storage, pair, count, target, V::lanes);
                }
            }
    }
}

// Packs a share of panels whose columns run along the rows of W (the transposed products of the backward):
//   element (k = (i, unit), column) = W[(row[i] * units + unit) * stride + column]
template <class T>
void pack_transposed(const Panels<T>& to, const T* weight, const int* row, Index units, Index columns, Index stride,
                     int thread, int threads) {
    constexpr int lanes = Vec<T>::lanes;
    if constexpr (sizeof(T) == 4)
        if (to.kept.low != 0) return pack_transposed_pairs(to, weight, row, units, columns, stride, thread, threads);
    for (Index p = to.count() * thread / threads; p < to.count() * (thread + 1) / threads; ++p) {
        const int width = to.width_of(p);
        T* target = to.data + p * to.panel_size();
        const Index first = p * to.width * lanes;
        for (Index k = 0, unit = 0, gate = 0; k < to.k; ++k) {
            const T* source = weight + (row[gate] * units + unit) * stride + first;
            for (int v = 0; v < width; ++v, target += lanes)
                Vec<T>::load(source + v * lanes, columns - first - v * lanes).store(target);
            if (++unit == units) unit = 0, ++gate;
        }
    }
}

// The bias in the order of the columns, zeros where there is none.
template <class T>
T* pack_bias(Workspace& workspace, const T* bias, const int* row, const UnitColumns<T>& columns) {
    const Index count = columns.vectors() * Vec<T>::lanes;
    T* const packed = workspace.take<T>(count);
    T* to = packed;
    for (Index block = 0; block < columns.blocks(); ++block) {
        const Index units = columns.units_in(block);
        for (int gate = 0; gate < columns.gates; ++gate, to += units) {
            const Index from = row[gate] * columns.units + block * Vec<T>::lanes;
            if (units == Vec<T>::lanes)
                (bias ? Vec<T>::load(bias + from) : Vec<T>(T(0))).store(to);
            else
                for (Index unit = 0; unit < units; ++unit) to[unit] = bias ? bias[from + unit] : T(0);
        }
    }
    for (; to < packed + count; ++to) *to = T(0);
    return packed;
}

// run(vector, its panel, vectors of a panel, panels side by side) for tile after tile of the columns.
template <class T, class Run>
RNNKERNELS_INLINE void each_tile(const Panels<T>& w, int rows, Run run) {
    for (Index vector = 0; vector < w.vectors;) {
        const Index panel = vector / w.width;
        const int width = w.width_of(panel);
        int together = panels_side_by_side(rows, width);
        if (vector + together * w.width > w.vectors) together = 1;
        run(vector * Vec<T>::lanes, w.data + panel * w.panel_size(), width, together);
        vector += together * width;
    }
}

// A product of several chains, apart: the few lines of the other are made where they are called.
template <WeightStorage storage, class T>
__attribute__((noinline)) void product_of_chains(const RowBlock<T>& a, int rows, const Panels<T>& w, const T* init,
                                                 Index init_stride, T* out, Index out_stride) {
    each_tile(w, rows, [&](Index column, const T* panel, int width, int together) RNNKERNELS_INLINED {
        if (const auto run = find_tile_of_chains<T, storage>(rows, width, together))
            run(a, panel, w.panel_size(), init + column, init_stride, out + column, out_stride);
        else
            tile_by_tile<T, storage>(find_vectors<T, storage>(rows, width, together), a, rows, width * together,
                                     width * Vec<T>::lanes, panel, w.panel_size(), init + column, init_stride,
                                     out + column, out_stride);
    });
}

template <WeightStorage storage, class T>
RNNKERNELS_INLINE void product_of_floats(const RowBlock<T>& a, int rows, const Panels<T>& w, const T* init,
                                         Index init_stride, T* out, Index out_stride) {
    if (a.before + w.k > kChain) return product_of_chains<storage>(a, rows, w, init, init_stride, out, out_stride);
    each_tile(w, rows, [&](Index column, const T* panel, int width, int together) RNNKERNELS_INLINED {
        find_vectors<T, storage>(rows, width, together)(a, panel, w.panel_size(), init + column, init_stride,
                                                        out + column, out_stride);
    });
}

// The same with weights that are not kept as they are. Rows are converted where kernels of low precision multiply them.
__attribute__((noinline)) inline void product_of_kept(const RowBlock<float>& a, int rows, const Panels<float>& w,
                                                      const float* init, Index init_stride, float* out,
                                                      Index out_stride) {
    if (w.kept.low == 0)
        return product_of_floats<WeightStorage::bfloat16>(a, rows, w, init, init_stride, out, out_stride);
    if (w.vectors == 0) return;
    cpu::low_kernels(w.kept.low)
        .product({a.data, a.row_stride, rows, w.width, w.data, w.panel_size(), w.k, w.kept.planes, w.vectors, init,
                  init_stride, out, out_stride});
}

// out[r][v] for all vectors of the panels. init_stride 0: every row starts from the same values (the bias).
template <class T>
void product(const RowBlock<T>& a, int rows, const Panels<T>& w, const T* init, Index init_stride, T* out,
             Index out_stride) {
    if constexpr (sizeof(T) == 4)
        if (w.kept.storage != WeightStorage::full) [[unlikely]]
            return product_of_kept(a, rows, w, init, init_stride, out, out_stride);
    product_of_floats<WeightStorage::full>(a, rows, w, init, init_stride, out, out_stride);
}

// Rows of a tile of a product with these panels at most.
template <class T>
RNNKERNELS_INLINE int most_rows(const Panels<T>& w) {
    if constexpr (sizeof(T) == 4)
        if (w.kept.low != 0) [[unlikely]]
            return cpu::kMostLowRows;
    return tile_rows(w.width);
}

// `rows` cut into tiles of at most `most` rows as evenly as can be: the number of rows of the first tile.
// (64 rows by 6: nine tiles of 6 and two of 5, not ten of 6 and one of 4.)
inline int next_tile(Index rows, int most) {
    const Index tiles = (rows + most - 1) / most;
    return static_cast<int>((rows + tiles - 1) / tiles);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
