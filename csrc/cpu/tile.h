// The register tile: rows of A times packed panels of W, accumulated over all of k.
//
//   out[r][v] = init[r][v] + sum over k, ascending, of A[r][k] * W[k][v]          v counts vectors of columns
//
// A chain is fused multiply-adds in ascending k from its initial value, whatever the tile's shape. The sum of a longer
// k has several (each_chain): the first starts from the initial value, the others from zero, and each is added to those
// before it when it ends. That one rule makes results independent of batch, threads and cutting; never split k
// elsewhere.
// Not here: how W is packed (panels.h), who computes which tile (forward.h, backward.h).
#pragma once

#include "storage.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class N>
constexpr N least(N a, N b) {
    return a < b ? a : b;
}

// The most values of k in a chain. One chain over all of a long k rounds its sum as often as k is long; of a sum of
// chains the error grows with the root of their number. With 128, outputs of LSTM and GRU of 512 to 2048 units are no
// further from float64 than PyTorch's.
inline constexpr Index kChain = 128;

// Accumulators per tile are MR rows x NV vectors. Two limits: the accumulators, one row of W and a broadcast
// must fit the registers, and 8 or more accumulators are needed to hide the latency of the multiply-add.
inline constexpr int kMostPanelVectors = kRegisters == 32 ? 4 : 3;

constexpr int tile_rows(int vectors) {
    if (kRegisters == 32) return vectors == 4 ? 6 : vectors == 3 ? 8 : 12;
    return vectors == 3 ? 4 : vectors == 2 ? 6 : 12;
}
inline constexpr int kMostRows = 12;
inline constexpr int kMostTileVectors = 8;  // of panels side by side

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

// The side that is broadcast: `rows` rows whose k runs through `segments` pieces of equal length (the gates
// of a gradient row, say; one piece in the plain case). Interleaved: element (r, k) at [k * row_stride + r].
template <class T>
struct RowBlock {
    const T* data;
    Index row_stride;
    const Index* offsets;  // of each segment
    int segments;
    Index length;      // of each segment
    Index before = 0;  // values of k that the sum has had already: chains of them that have ended stand in `out`
};

// run(chain, values of k before it among the rows') for each chain of a sum. One ends after kChain values of k of a
// segment and where the segment ends; of segments no longer than that it has as many as fit.
template <class T, class Run>
RNNKERNELS_INLINE void each_chain(const RowBlock<T>& a, Run run) {
    RowBlock<T> chain = a;
    Index left = kChain - a.before % kChain, done = 0;
    const int together = a.length > 0 && a.length < left ? static_cast<int>(left / a.length) : 1;
    for (int s = 0; s < a.segments; s += together) {
        chain.offsets = a.offsets + s, chain.segments = least(together, a.segments - s);
        Index k = 0;
        do {
            chain.data = a.data + k, chain.length = least(a.length - k, left);
            run(chain, done);
            k += chain.length, done += chain.segments * chain.length;
            left = chain.before = kChain;
        } while (k < a.length);
    }
}

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

// So many links of every chain; x points at A[0][k] of the first.
template <class T, int MR, int NV, int NP, bool Interleaved, WeightStorage Stored>
RNNKERNELS_INLINE void add_links(const T* x, Index row_stride, const T*& panel, Index panel_stride, Index links,
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

// A sum of one chain.
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

    for (int s = 0; s < a.segments; ++s)
        add_links<T, MR, NV, NP, Interleaved, Stored>(a.data + a.offsets[s], a.row_stride, panel, panel_stride,
                                                      a.length, sum);

#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 16
        for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v) sum[r][p][v].store(out + r * out_stride + (p * NV + v) * V::lanes);
}

// out[r][p][v] = sum[r][p][v], added to what stands there if chains have ended before.
template <bool Begun, class T, int MR, int NV, int NP>
RNNKERNELS_INLINE void end_chain(const Vec<T> (&sum)[MR][NP][NV], T* out, Index out_stride) {
    using V = Vec<T>;
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 16
        for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v) {
                T* const to = out + (p * NV + v) * V::lanes;
                (Begun ? V::load(to) + sum[r][p][v] : sum[r][p][v]).store(to);
            }
        out += out_stride;
        asm volatile("" : "+r"(out));  // or the address of every vector is made before the loop and kept in memory
    }
}

// A sum of several chains. Their ends take 1 % of the time of a large product. As calls of `tile` they took 3 %.
template <class T, int MR, int NV, int NP, bool Interleaved, WeightStorage Stored>
__attribute__((noinline)) void tile_of_chains(const RowBlock<T>& a, const T* panel, Index panel_stride, const T* init,
                                              Index init_stride, T* out, Index out_stride) {
    using V = Vec<T>;
    V sum[MR][NP][NV];
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 16
        for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v) sum[r][p][v] = V::load(init + r * init_stride + (p * NV + v) * V::lanes);

    each_chain(a, [&](const RowBlock<T>& chain, Index done) RNNKERNELS_INLINED {
        if (done > 0) {
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 16
                for (int p = 0; p < NP; ++p)
#pragma GCC unroll 16
                    for (int v = 0; v < NV; ++v) sum[r][p][v] = V(T(0));
        }
        for (int s = 0; s < chain.segments; ++s)
            add_links<T, MR, NV, NP, Interleaved, Stored>(chain.data + chain.offsets[s], chain.row_stride, panel,
                                                          panel_stride, chain.length, sum);
        if (chain.before < kChain)
            end_chain<false>(sum, out, out_stride);
        else
            end_chain<true>(sum, out, out_stride);
    });
}

template <class T>
using TileFunction = void (*)(const RowBlock<T>&, const T*, Index, const T*, Index, T*, Index);

// The tile for `rows` rows of a panel of `vectors` vectors, `panels` (1, 2 or 4) panels side by side; of several
// chains or of one.
template <class T, bool Chains, WeightStorage Stored, int NV, int NP, int MR = 1>
RNNKERNELS_INLINE TileFunction<T> find_rows(int rows) {
    constexpr int most = NP == 1 ? tile_rows(NV) : kFewRows;
    if constexpr (MR < most) {
        if (rows > MR) return find_rows<T, Chains, Stored, NV, NP, MR + 1>(rows);
    }
    if constexpr (Chains) return tile_of_chains<T, MR, NV, NP, false, Stored>;
    return tile<T, MR, NV, NP, false, Stored>;
}

template <class T, bool Chains, WeightStorage Stored, int NV>
RNNKERNELS_INLINE TileFunction<T> find_panels(int rows, int panels) {
    if constexpr (NV * 4 <= 8) {
        if (panels == 4) return find_rows<T, Chains, Stored, NV, 4>(rows);
    }
    if (panels == 2) return find_rows<T, Chains, Stored, NV, 2>(rows);
    return find_rows<T, Chains, Stored, NV, 1>(rows);
}

template <class T, WeightStorage Stored>
RNNKERNELS_INLINE TileFunction<T> find_vectors(int rows, int vectors, int panels) {
    switch (vectors) {
        case 1: return find_panels<T, false, Stored, 1>(rows, panels);
        case 2: return find_panels<T, false, Stored, 2>(rows, panels);
        case 3: return find_panels<T, false, Stored, 3>(rows, panels);
        default: return find_panels<T, false, Stored, kMostPanelVectors>(rows, panels);
    }
}

// Those of several chains, of whole panels of full precision and of sets with vectors; null for all others, whose
// chains are tiles of their own: a tile of chains is twice as long as one of a chain, and the module as much larger.
template <class T, WeightStorage Stored>
RNNKERNELS_INLINE TileFunction<T> find_tile_of_chains(int rows, int vectors, int panels) {
    if constexpr (Stored == WeightStorage::full && Vec<T>::lanes > 1) {
        if (vectors == kMostPanelVectors) return find_panels<T, true, Stored, kMostPanelVectors>(rows, panels);
        if (vectors == kMostPanelVectors - 1) return find_panels<T, true, Stored, kMostPanelVectors - 1>(rows, panels);
    }
    return nullptr;
}

// A sum of several chains as a tile for each; `vectors`: of its columns in all panels, `stride`: of a row of a panel.
template <class T, WeightStorage Stored>
__attribute__((noinline)) void tile_by_tile(TileFunction<T> run, const RowBlock<T>& a, int rows, int vectors,
                                            Index stride, const T* panel, Index panel_stride, const T* init,
                                            Index init_stride, T* out, Index out_stride) {
    using V = Vec<T>;
    alignas(64) static constexpr T zeros[kMostTileVectors * V::lanes] = {};
    alignas(64) T strip[kMostRows * kMostTileVectors * V::lanes];
    const Index width = vectors * V::lanes;
    each_chain(a, [&](const RowBlock<T>& chain, Index done) {
        const T* const of_chain = panel + stored_rows(done, Stored) * stride;
        if (chain.before < kChain) return run(chain, of_chain, panel_stride, init, init_stride, out, out_stride);
        run(chain, of_chain, panel_stride, zeros, 0, strip, width);
        for (int r = 0; r < rows; ++r)
            for (Index at = 0; at < width; at += V::lanes) {
                T* const to = out + r * out_stride + at;
                (V::load(to) + V::load(strip + r * width + at)).store(to);
            }
    });
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
