// The register tile: rows of A times packed panels of W, accumulated over all of k.
//
//   out[r][v] = init[r][v] + sum over k, ascending, of A[r][k] * W[k][v]          v counts vectors of columns
//
// Every output is a sum of chains of fused multiply-adds, one for every kChain values of k in ascending order: the
// first starts from the initial value, every other one from zero and is added to `out` when it ends. That one rule
// makes results independent of batch, threads and the tile's shape; never split k elsewhere.
// Not here: how W is packed (panels.h), who computes which tile (forward.h, backward.h).
#pragma once

#include "storage.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class N>
constexpr N least(N a, N b) {
    return a < b ? a : b;
}

// Accumulators per tile are MR rows x NV vectors. Two limits: the accumulators, one row of W and a broadcast
// must fit the registers, and 8 or more accumulators are needed to hide the latency of the multiply-add.
inline constexpr int kMostPanelVectors = kRegisters == 32 ? 4 : 3;

constexpr int tile_rows(int vectors) {
    if (kRegisters == 32) return vectors == 4 ? 6 : vectors == 3 ? 8 : 12;
    return vectors == 3 ? 4 : vectors == 2 ? 6 : 12;
}
inline constexpr int kMostRows = 12;

// With so few rows one panel leaves too few accumulators, and several run side by side.
inline constexpr int kFewRows = 3;

constexpr int panels_side_by_side(int rows, int vectors) {
    if (rows > kFewRows) return 1;
    if (rows == 1) return vectors <= 2 ? 4 : 2;
    return rows * vectors * 2 <= (kRegisters == 32 ? 24 : 12) ? 2 : 1;
}

// Vectors per panel for a product with `gates` vectors per unit block: a panel should end where a unit
// block (or a whole number of them) ends. With 16 registers four rows of three vectors took 4 to 10 % less time than
// six of two for four gates, and more for small gradients.
constexpr int panel_vectors(int gates) {
    if (kRegisters == 32) return gates % 3 == 0 && gates % 4 != 0 ? 3 : 4;
    return gates >= 3 ? 3 : 2;
}

// Values of k in a chain, counted from where the product begins. One chain for all of k rounds as often as k is long;
// the error of a sum of chains grows with the root of their number. At 128 outputs of LSTM and GRU are no further from
// float64 than PyTorch's at H 256 to 2048, and the tile takes no longer.
inline constexpr Index kChain = 128;

// The side that is broadcast: `rows` rows whose k runs through `segments` pieces of equal length (the gates
// of a gradient row, say; one piece in the plain case). Interleaved: element (r, k) at [k * row_stride + r].
template <class T>
struct RowBlock {
    const T* data;
    Index row_stride;
    const Index* offsets;  // of each segment
    int segments;
    Index length;  // of each segment
    // Where the product goes on with a sum that has begun: values of k left in its chain; whether `out` holds chains
    // that have ended.
    Index left = kChain;
    bool begun = false;
};

// sum[r][p][v] += A[r][k] * w[p][v]; x points at A[0][k].
template <class T, int MR, int NV, int NP, bool Interleaved>
RNNKERNELS_INLINE void multiply_add(const T* x, Index row_stride, const Vec<T> (&w)[NP][NV],
                                    Vec<T> (&sum)[MR][NP][NV]) {
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
        const Vec<T> a = Vec<T>(x[Interleaved ? r : r * row_stride]);
#pragma GCC unroll 16
        for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v) sum[r][p][v] = fma(a, w[p][v], sum[r][p][v]);
    }
}

// So many links of the chains; x points at A[0][k] of the first.
template <class T, int MR, int NV, int NP, bool Interleaved, WeightStorage Stored>
RNNKERNELS_INLINE void add_links(const T* x, Index row_stride, const T* panel, Index panel_stride, Index links,
                                 Vec<T> (&sum)[MR][NP][NV]) {
    using V = Vec<T>;
    const Index step = Interleaved ? row_stride : 1;
    V w[NP][NV];
    if constexpr (Stored == WeightStorage::full) {
        for (Index k = 0; k < links; ++k, x += step, panel += NV * V::lanes) {
#pragma GCC unroll 16
            for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
                for (int v = 0; v < NV; ++v) w[p][v] = V::load(panel + p * panel_stride + v * V::lanes);
            multiply_add<T, MR, NV, NP, Interleaved>(x, row_stride, w, sum);
        }
    } else {
        for (Index k = 0; k < links; k += 2, x += 2 * step, panel += NV * V::lanes) {
#pragma GCC unroll 16
            for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
                for (int v = 0; v < NV; ++v) w[p][v] = first_of_pair(V::load(panel + p * panel_stride + v * V::lanes));
            multiply_add<T, MR, NV, NP, Interleaved>(x, row_stride, w, sum);
            if (k + 1 == links) break;
#pragma GCC unroll 16
            for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
                for (int v = 0; v < NV; ++v) w[p][v] = second_of_pair(V::load(panel + p * panel_stride + v * V::lanes));
            multiply_add<T, MR, NV, NP, Interleaved>(x + step, row_stride, w, sum);
        }
    }
}

// The end of a chain: out[r][p][v] = sum[r][p][v], added to what stands there where other chains have ended before.
template <class T, int MR, int NV, int NP>
RNNKERNELS_INLINE void end_chain(Vec<T> (&sum)[MR][NP][NV], bool begun, T* out, Index out_stride) {
    using V = Vec<T>;
    if (begun) {
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 16
            for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
                for (int v = 0; v < NV; ++v)
                    sum[r][p][v] = V::load(out + r * out_stride + (p * NV + v) * V::lanes) + sum[r][p][v];
    }
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 16
        for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v) sum[r][p][v].store(out + r * out_stride + (p * NV + v) * V::lanes);
}

// Values of bfloat16 panels stand in pairs: their product has one segment and begins where the sum does, so that no
// chain ends inside a pair.
template <class T, int MR, int NV, int NP, bool Interleaved, WeightStorage Stored = WeightStorage::full>
__attribute__((noinline)) void tile(const RowBlock<T>& a, const T* panel, Index panel_stride, const T* init,
                                    Index init_stride, T* out, Index out_stride) {
    using V = Vec<T>;
    V sum[MR][NP][NV];
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 16
        for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v) sum[r][p][v] = V::load(init + r * init_stride + (p * NV + v) * V::lanes);

    const Index step = Interleaved ? a.row_stride : 1;
    Index left = a.left;
    bool begun = a.begun;
    for (int s = 0; s < a.segments; ++s) {
        const T* x = a.data + a.offsets[s];
        for (Index k = 0; k < a.length;) {
            if (left == 0) {
                end_chain<T, MR, NV, NP>(sum, begun, out, out_stride);
#pragma GCC unroll 16
                for (int r = 0; r < MR; ++r)
#pragma GCC unroll 16
                    for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
                        for (int v = 0; v < NV; ++v) sum[r][p][v] = V(T(0));
                left = kChain, begun = true;
            }
            const Index links = least(a.length - k, left);
            add_links<T, MR, NV, NP, Interleaved, Stored>(x, a.row_stride, panel, panel_stride, links, sum);
            x += links * step, panel += stored_rows(links, Stored) * NV * V::lanes;
            k += links, left -= links;
        }
    }
    end_chain<T, MR, NV, NP>(sum, begun, out, out_stride);
}

template <class T>
using TileFunction = void (*)(const RowBlock<T>&, const T*, Index, const T*, Index, T*, Index);

// The tile for `rows` rows of a panel of `vectors` vectors, `panels` (1, 2 or 4) panels side by side.
template <class T, WeightStorage Stored, int NV, int NP, int MR = 1>
RNNKERNELS_INLINE TileFunction<T> find_rows(int rows) {
    constexpr int most = NP == 1 ? tile_rows(NV) : kFewRows;
    if constexpr (MR < most) {
        if (rows > MR) return find_rows<T, Stored, NV, NP, MR + 1>(rows);
    }
    return tile<T, MR, NV, NP, false, Stored>;
}

template <class T, WeightStorage Stored, int NV>
RNNKERNELS_INLINE TileFunction<T> find_panels(int rows, int panels) {
    if constexpr (NV * 4 <= 8) {
        if (panels == 4) return find_rows<T, Stored, NV, 4>(rows);
    }
    if (panels == 2) return find_rows<T, Stored, NV, 2>(rows);
    return find_rows<T, Stored, NV, 1>(rows);
}

template <class T, WeightStorage Stored>
RNNKERNELS_INLINE TileFunction<T> find_vectors(int rows, int vectors, int panels) {
    switch (vectors) {
        case 1: return find_panels<T, Stored, 1>(rows, panels);
        case 2: return find_panels<T, Stored, 2>(rows, panels);
        case 3: return find_panels<T, Stored, 3>(rows, panels);
        default: return find_panels<T, Stored, kMostPanelVectors>(rows, panels);
    }
}

template <class T>
RNNKERNELS_INLINE TileFunction<T> find_tile(int rows, int vectors, int panels, WeightStorage storage) {
    if constexpr (sizeof(T) == 4) {
        if (storage == WeightStorage::bfloat16) return find_vectors<T, WeightStorage::bfloat16>(rows, vectors, panels);
    }
    return find_vectors<T, WeightStorage::full>(rows, vectors, panels);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
