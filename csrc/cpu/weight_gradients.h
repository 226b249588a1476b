// Sums over the rows of a chunk: gradients of weights, biases and x, as large products after the step loop.
//
// Every sum has one fixed order: blocks of kRowBlock rows, ascending inside a block, blocks in the order they
// come, chunks from the last to the first. Threads own outputs, never a part of a sum: no atomics, and the
// same bits for any number of threads. `thread` and `threads` are a share and how many there are.
#pragma once

#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The gradient rows of a chunk, (count, slots, padded units).
template <class T>
struct GradientRows {
    const T* data;
    Index stride;
    Index count;
};

// dW[gate's row + unit][column], rows `out_row` apart, += sum over rows of gradient[row][slot + unit] *
// matrix[row][column]
template <class T>
struct OuterProduct {
    static constexpr Index kRowBlock = 128;
    static constexpr Index kPairBlock = 256;    // pairs of rows, in bfloat16
    static constexpr Index kColumnPanels = 16;  // packed at once
    static constexpr int width = panel_vectors(1);
    static constexpr int tile_height = tile_rows(width);
    static constexpr int lanes = Vec<T>::lanes;

    T* packed;       // (panels, kRowBlock or kPairBlock, width*lanes), shared by all threads
    const T* zeros;  // one row of a tile
    Kept kept{};     // how add() multiplies

    template <class MatrixRow>
    void add(const GradientRows<T>& rows, const Index* slots, const int* weight_rows, int gates, Index units,
             MatrixRow matrix_row, Index columns, T* out, Index out_row, bool begins, Phases& phases) const {
        if (gates == 0) return;
        if constexpr (kMayHavePairs<T>)
            if (kept.low != 0) [[unlikely]]
                return add_low(rows, slots, weight_rows, gates, units, matrix_row, columns, out, out_row, begins,
                               phases);
        const Index vectors = blocks_of<T>(columns);
        const Index panels = (vectors + width - 1) / width;
        for (Index first = 0; first < rows.count; first += kRowBlock) {
            const GradientRows<T> block{rows.data + first * rows.stride, rows.stride,
                                        least(rows.count - first, kRowBlock)};
            const bool set = begins && first == 0;  // the first to write: set, do not add
            for (Index panel0 = 0; panel0 < panels; panel0 += kColumnPanels) {
                const Index here = least(panels - panel0, kColumnPanels);
                phases.everyone([&](int share, int shares) {
                    for (Index p = here * share / shares; p < here * (share + 1) / shares; ++p)
                        pack_matrix(matrix_row, first, block.count, (panel0 + p) * width, vectors, columns,
                                    panel_at(p));
                });
                phases.everyone([&](int share, int shares) {
                    add_tiles(block, slots, weight_rows, gates, units, {panel0, panel0 + here}, columns, out, out_row,
                              set, share, shares);
                });
            }
        }
    }

    // By one thread alone: out (units, columns) += the sum over at most kRowBlock rows, or = it. Every element is one
    // chain of multiply-adds, which goes on from what stands there.
    template <class MatrixRow>
    void go_on(const GradientRows<T>& rows, Index units, MatrixRow matrix_row, Index columns, T* out, bool set) const {
        const Index vectors = blocks_of<T>(columns), panels = (vectors + width - 1) / width;
        for (Index panel0 = 0; panel0 < panels; panel0 += kColumnPanels) {
            const Range here{panel0, least(panels, panel0 + kColumnPanels)};
            for (Index p = here.first; p < here.last; ++p)
                pack_matrix(matrix_row, 0, rows.count, p * width, vectors, columns, panel_at(p - here.first));
            for (Index unit = 0; unit < units; unit += tile_height)
                for (Index p = here.first; p < here.last; ++p) {
                    const Index vector = p * width;
                    const RowBlock<T> left{rows.data + unit, rows.stride, kNoOffset, 1, rows.count};
                    go_on_tile(left, panel_at(p - here.first), width_at(vector, vectors),
                               least(units - unit, Index{tile_height}), columns - vector * lanes,
                               out + unit * columns + vector * lanes, columns, set);
                }
        }
    }

    // These panels' columns of a share of the weight's rows.
    void add_tiles(const GradientRows<T>& rows, const Index* slots, const int* weight_rows, int gates, Index units,
                   Range panels, Index columns, T* out, Index out_row, bool set, int share, int shares) const {
        const Index vectors = blocks_of<T>(columns);
        const Index tiles_per_gate = (units + tile_height - 1) / tile_height;
        const Index tiles = tiles_per_gate * gates;
        alignas(64) T strip[tile_height * width * lanes];
        for (Index at = tiles * share / shares; at < tiles * (share + 1) / shares; ++at) {
            const int gate = static_cast<int>(at / tiles_per_gate);
            const Index unit = at % tiles_per_gate * tile_height;
            const Index height = least(units - unit, Index{tile_height});
            // Read where they stand: copying them into rows of a tile cost more than it saved. Rows of the tile beyond
            // `height` multiply what follows the gate's units; nobody reads them.
            const RowBlock<T> left{rows.data + slots[gate] + unit, rows.stride, kNoOffset, 1, rows.count};
            for (Index panel = panels.first; panel < panels.last; ++panel) {
                const Index vector = panel * width;
                const int wide = width_at(vector, vectors);
                tile_of(wide)(left, panel_at(panel - panels.first), 0, zeros, 0, strip, wide * lanes);
                T* to = out + (weight_rows[gate] * units + unit) * out_row + vector * lanes;
                for (Index r = 0; r < height; ++r, to += out_row)
                    add_row(strip + r * wide * lanes, wide, columns - vector * lanes, set, to);
            }
        }
    }

    // [row][vectors of the panel][lanes], zeros beyond the last column.
    template <class MatrixRow>
    static void pack_matrix(MatrixRow matrix_row, Index first, Index count, Index vector, Index vectors, Index columns,
                            T* to) {
        const int wide = width_at(vector, vectors);
        for (Index k = 0; k < count; ++k) {
            const T* from = matrix_row(first + k) + vector * lanes;
            for (int v = 0; v < wide; ++v, to += lanes)
                Vec<T>::load(from + v * lanes, columns - (vector + v) * lanes).store(to);
        }
    }

    T* panel_at(Index p) const { return packed + p * kRowBlock * width * lanes; }
    T* pairs_at(Index p) const { return packed + p * kPairBlock * width * lanes; }

private:
    // add(), of bfloat16 (low_weight_gradients.h).
    template <class MatrixRow>
    void add_low(const GradientRows<T>& rows, const Index* slots, const int* weight_rows, int gates, Index units,
                 MatrixRow matrix_row, Index columns, T* out, Index out_row, bool begins, Phases& phases) const;
    void add_low_tiles(const GradientRows<T>& rows, const Index* slots, const int* weight_rows, int gates, Index units,
                       Range panels, Index columns, T* out, Index out_row, bool set, int share, int shares) const;
    template <class MatrixRow>
    static void pack_pairs(MatrixRow matrix_row, Index first, Index count, Index vector, Index vectors, Index columns,
                           T* to);

    // Of `height` rows and `valid` columns; those that a tile has beyond them are made aside.
    void go_on_tile(const RowBlock<T>& left, const T* panel, int wide, Index height, Index valid, T* out, Index out_row,
                    bool set) const {
        alignas(64) T strip[tile_height * width * lanes] = {};
        const bool whole = height == tile_height && valid >= wide * lanes;
        T* const to = whole ? out : strip;
        const Index row = whole ? out_row : wide * lanes;
        if (!whole && !set)
            for (Index r = 0; r < height; ++r)
                for (int v = 0; v < wide; ++v)
                    Vec<T>::load(out + r * out_row + v * lanes, valid - v * lanes).store(strip + r * row + v * lanes);
        tile_of(wide)(left, panel, 0, set ? zeros : to, set ? 0 : row, to, row);
        if (!whole)
            for (Index r = 0; r < height; ++r) add_row(strip + r * row, wide, valid, true, out + r * out_row);
    }

    // Vectors of the panel that starts at `vector`: the last one may be narrower.
    static int width_at(Index vector, Index vectors) {
        return static_cast<int>(vectors - vector < width ? vectors - vector : width);
    }
    template <int NV = width>
    static TileFunction<T> tile_of(int vectors) {
        if constexpr (NV > 1) {
            if (vectors < NV) return tile_of<NV - 1>(vectors);
        }
        return tile<T, tile_height, NV, 1, true>;
    }

    static void add_row(const T* strip, int vectors, Index valid, bool set, T* out) {
        for (int v = 0; v < vectors; ++v) {
            const Index left = valid - v * lanes;
            const Vec<T> sum = Vec<T>::load(strip + v * lanes);
            (set ? sum : Vec<T>::load(out + v * lanes, left) + sum).store(out + v * lanes, left);
        }
    }
};

// `most_columns`: of the widest matrix that will be summed.
template <class T>
OuterProduct<T> take_outer_product(Workspace& workspace, Index most_columns, Kept kept = {}) {
    using O = OuterProduct<T>;
    const Index panel_columns = O::width * O::lanes;
    Index panels = (most_columns + panel_columns - 1) / panel_columns;
    if (panels > O::kColumnPanels) panels = O::kColumnPanels;
    const Index rows = kept.low != 0 ? O::kPairBlock : O::kRowBlock;
    return {workspace.take<T>(panels * rows * panel_columns), take_zeros<T>(workspace, panel_columns), kept};
}

// Adds the rows of each slot, of the first `vectors` of a row: the gradients of biases and element-wise weights.
template <class T>
void sum_slots(const GradientRows<T>& rows, Index vectors, T* sums, int thread, int threads) {
    using V = Vec<T>;
    constexpr int together = 4;
    const Index last = vectors * (thread + 1) / threads;
    for (Index vector = vectors * thread / threads; vector < last; vector += together) {
        const int width = last - vector < together ? static_cast<int>(last - vector) : together;
        V sum[together];
        for (int v = 0; v < width; ++v) sum[v] = V(T(0));
        for (Index row = 0; row < rows.count; ++row)
            for (int v = 0; v < width; ++v)
                sum[v] = sum[v] + V::load(rows.data + row * rows.stride + (vector + v) * V::lanes);
        for (int v = 0; v < width; ++v) {
            T* to = sums + (vector + v) * V::lanes;
            (V::load(to) + sum[v]).store(to);
        }
    }
}

// Adds one step's rows, each to its own sums (inputs, padded): the gradient of the term that every step adds. Threads
// own vectors.
template <class T>
void sum_terms(const GradientRows<T>& rows, const Index* slots, int gates, Index padded, T* sums, int thread,
               int threads) {
    using V = Vec<T>;
    const Index vectors = padded / V::lanes;
    for (Index row = 0; row < rows.count; ++row)
        for (int i = 0; i < gates; ++i)
            for (Index vector = vectors * thread / threads; vector < vectors * (thread + 1) / threads; ++vector) {
                T* to = sums + (row * gates + i) * padded + vector * V::lanes;
                (V::load(to) + V::load(rows.data + row * rows.stride + slots[i] + vector * V::lanes)).store(to);
            }
}

template <class T>
void write_bias(const T* sums, const Index* slots, const int* weight_rows, int gates, Index units, T* out) {
    if (!out) return;
    for (int i = 0; i < gates; ++i)
        std::memcpy(out + weight_rows[i] * units, sums + slots[i], static_cast<std::size_t>(units) * sizeof(T));
}

// Gradient rows that are converted at a time for dx, where its product is of bfloat16.
inline constexpr Index kLowRows = 48;

// The product of dx, of bfloat16 (low_weight_gradients.h): store(strip, row, rows, vector, vectors).
template <class Store>
void input_product_low(const GradientRows<float>& rows, const Panels<float>& w, const Index* slots, int gates,
                       Index units, const float* zeros, Store store, int thread, int threads, Watch* watch, float* low);

// dx[row] = sum over gates of gradient[row][slot] W_ih[gate], and the slots of gates that take x itself, this
// thread's rows. low: room for kLowRows of them, for a product of bfloat16 (low_weight_gradients.h).
template <class T, class OutRow>
void input_gradient(const GradientRows<T>& rows, const Panels<T>& w, const Index* slots, int gates,
                    const Index* direct_slots, int directs, const Shape& shape, const T* zeros, OutRow out_row,
                    int thread, int threads, Watch* watch, T* low) {
    using V = Vec<T>;
    const auto store = [&](const T* strip, Index row, Index height, Index vector, int width) RNNKERNELS_INLINED {
        for (Index r = 0; r < height; ++r) {
            T* const out = out_row(row + r);
            for (int v = 0; v < width; ++v) {
                const Index column = (vector + v) * V::lanes;
                V d = V::load(strip + (r * width + v) * V::lanes);
                for (int i = 0; i < directs; ++i)
                    d = d + V::load(rows.data + (row + r) * rows.stride + direct_slots[i] + column);
                d.store(out + column, shape.input - column);
            }
        }
    };
    if constexpr (kMayHavePairs<T>)
        if (w.kept.low != 0) [[unlikely]]
            return input_product_low(rows, w, slots, gates, shape.hidden, zeros, store, thread, threads, watch, low);
    alignas(64) T strip[kMostRows * kMostPanelVectors * V::lanes];
    const Index first = rows.count * thread / threads, last = rows.count * (thread + 1) / threads;
    for (Index panel = 0; panel < w.count(); ++panel) {
        const Index vector = panel * w.width;
        const int width = w.width_of(panel);
        for (Index row = first; row < last;) {
            const int height = next_tile(last - row, tile_rows(w.width));
            const RowBlock<T> a{rows.data + row * rows.stride, rows.stride, slots, gates, shape.hidden};
            product(a, height, part_of(w, vector, vector + width), zeros, 0, strip, width * V::lanes);
            store(strip, row, height, vector, width);
            row += height;
            if (row < last) cpu::look(watch);
        }
    }
}

// sums[token][gate][unit] += the gradient of every row that read the token. Threads own blocks of units.
template <class T>
void sum_tokens(const GradientRows<T>& rows, const std::int64_t* tokens, const Index* slots, int gates,
                const Shape& shape, T* sums, bool begins, int thread, int threads) {
    using V = Vec<T>;
    const Index blocks = blocks_of<T>(shape.hidden);
    const Index padded = blocks * V::lanes;
    const Index first = blocks * thread / threads, last = blocks * (thread + 1) / threads;
    if (begins)
        for (Index line = 0; line < shape.input * gates; ++line)
            for (Index block = first; block < last; ++block) V(T(0)).store(sums + line * padded + block * V::lanes);
    for (Index row = 0; row < rows.count; ++row)
        for (int i = 0; i < gates; ++i) {
            T* to = sums + (tokens[row] * gates + i) * padded;
            const T* from = rows.data + row * rows.stride + slots[i];
            for (Index block = first; block < last; ++block)
                (V::load(to + block * V::lanes) + V::load(from + block * V::lanes)).store(to + block * V::lanes);
        }
}

template <class T>
void write_tokens(const T* sums, int gates, const Shape& shape, T* out, Index out_row) {
    const Index padded = blocks_of<T>(shape.hidden) * Vec<T>::lanes;
    for (int i = 0; i < gates; ++i)
        for (Index unit = 0; unit < shape.hidden; ++unit)
            for (Index token = 0; token < shape.input; ++token)
                out[(i * shape.hidden + unit) * out_row + token] = sums[(token * gates + i) * padded + unit];
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
