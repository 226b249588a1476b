// int8 products with vectors: rows to int8, and the register tile. Included by a file of kernels, which says in a
// struct S what a vector of its processor can do:
//
//   S::lanes, rows, sums     lanes of 32 bits; rows of a tile at most, and vectors of its sums
//   Int, Float               vectors of int32 and float
//   Weights, Numbers         four k of each lane's column, and of a row, as the product wants them
//   weights(p), numbers(p)   loaded from `lanes` lanes, and from one
//   add(sum, w, a)           the four products, exactly, to sum
//   every(p), zero()         one lane's int32 everywhere, as Int; 0, as Float
//   scale(p)                 one float everywhere
//   load, store, number      floats; an Int as Float, rounded to nearest even
//   mul(a, b), fma(a, b, c)  rounded once
//
// Not here: what is computed (kernels.h); products that no instruction helps (generic.h).
#pragma once

#include "kernels.h"

namespace rnnkernels::cpu {
namespace {

// ---- rows ----

// The bits of the largest magnitude. Magnitudes stand in the order of their bits, inf and NaN above all numbers.
RNNKERNELS_LOW_INLINE std::int32_t largest_bits(const float* a, Index count) {
    std::int32_t most = 0;
    for (Index i = 0; i < count; ++i) {
        const std::int32_t bits = __builtin_bit_cast(std::int32_t, a[i]) & 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most;
}

// The integers of a plane, of count numbers that `inverse` scales; their sum. The second plane's: of what the first
// one's rounding left.
RNNKERNELS_LOW_INLINE std::int32_t quantise(const float* a, Index count, float inverse, std::int8_t* q) {
    std::int32_t sum = 0;
    for (Index i = 0; i < count; ++i) {
        const auto rounded = static_cast<std::int32_t>(__builtin_nearbyintf(a[i] * inverse));
        q[i] = static_cast<std::int8_t>(rounded);
        sum += rounded;
    }
    return sum;
}
RNNKERNELS_LOW_INLINE std::int32_t quantise_rest(const float* a, Index count, float inverse, std::int8_t* q) {
    std::int32_t sum = 0;
    for (Index i = 0; i < count; ++i) {
        const float exact = a[i] * inverse;
        const auto rounded =
            static_cast<std::int32_t>(__builtin_nearbyintf((exact - __builtin_nearbyintf(exact)) * kSecondPlane));
        q[i] = static_cast<std::int8_t>(rounded);
        sum += rounded;
    }
    return sum;
}

template <int offset>
void convert_int8(const float* a, Index a_stride, Index rows, Index k, int planes, float* to, Index to_stride) {
    const Index groups = groups_of(k, WeightStorage::int8);
    for (Index row = 0; row < rows; ++row, a += a_stride, to += to_stride) {
        float* scale = to + planes * groups;
        auto* const bytes = reinterpret_cast<std::int8_t*>(to);
        for (Index first = 0; first < k; first += kScaleBlock, scale += 1 + planes) {
            const Index count = k - first < kScaleBlock ? k - first : kScaleBlock;
            const std::int32_t bits = largest_bits(a + first, count);
            const float most = __builtin_bit_cast(float, bits);
            const bool scaled = most >= kLeastScaled && most <= __FLT_MAX__;
            scale[0] = scaled ? most / 127.0F : bits < 0x7f800000 ? 0.0F : __builtin_nanf("");
            for (int plane = 0; plane < planes; ++plane) {
                std::int8_t* const q = bytes + plane * groups * 4 + first;
                std::int32_t sum = 0;
                if (scaled)
                    sum = plane == 0 ? quantise(a + first, count, 127.0F / most, q)
                                     : quantise_rest(a + first, count, 127.0F / most, q);
                for (Index i = scaled ? count : 0; i < (count + 3) / 4 * 4; ++i) q[i] = 0;
                scale[1 + plane] = __builtin_bit_cast(float, -offset* sum);
            }
        }
    }
}

// ---- products ----

// Where a tile stands: its first row and its panel, `step` lanes a group.
struct TileAt {
    const float* rows;
    const float* panel;
    Index step;
    const Index* order;  // of the panel's vectors, in lanes: those with a second plane first
    const float* init;
    float* out;
};

// MR rows times NV vectors of each of NP panels side by side; NF of one panel's vectors have a second plane.
template <class S, int MR, int NP, int NV, int NF>
__attribute__((noinline)) void int8_tile(const LowProduct& of, const TileAt& at) {
    static_assert(NF == 0 || NP == 1);
    constexpr bool in_order = NF == 0 || NF == NV;
    constexpr int second = NF > 0 ? NF : 1;
    const Index groups = groups_of(of.k, WeightStorage::int8), head = 1 + of.planes;
    const float* scales = at.rows + of.planes * groups;
    const float* numbers = at.rows;
    const float* weights = at.panel + of.planes * at.step;
    const auto vector = [&](int v) __attribute__((always_inline)) {
        if constexpr (in_order) return v * Index{S::lanes};
        return at.order[v];
    };
    const auto each = [](auto body) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
            for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) body(r, p, v);
    };
    const float* from[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) from[v] = weights + vector(v);
    typename S::Float total[MR][NP][NV];
    each([&](int r, int p, int v) __attribute__((always_inline)) { total[r][p][v] = S::zero(); });
    for (Index left = groups; left > 0; left -= kScaleBlock / 4, scales += head) {
        typename S::Int sum[MR][NP][NV], rest[MR][second];
        each([&](int r, int p, int v) __attribute__((always_inline)) {
            sum[r][p][v] = S::every(scales + r * of.row_stride + 1);
            if (v < NF) rest[r][v] = S::every(scales + r * of.row_stride + 2);
        });
        for (Index group = left < kScaleBlock / 4 ? left : kScaleBlock / 4; group > 0; --group, ++numbers) {
            typename S::Weights w[NP][NV];
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) {
#pragma GCC unroll 2
                for (int p = 0; p < NP; ++p) w[p][v] = S::weights(from[v] + p * of.panel_size);
                from[v] += at.step;
            }
#pragma GCC unroll 8
            for (int r = 0; r < MR; ++r) {
                const typename S::Numbers a = S::numbers(numbers + r * of.row_stride);
#pragma GCC unroll 2
                for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
                    for (int v = 0; v < NV; ++v) S::add(sum[r][p][v], w[p][v], a);
                if constexpr (NF > 0) {
                    const typename S::Numbers b = S::numbers(numbers + groups + r * of.row_stride);
#pragma GCC unroll 4
                    for (int v = 0; v < NF; ++v) S::add(rest[r][v], w[0][v], b);
                }
            }
        }
        each([&](int r, int p, int v) __attribute__((always_inline)) {
            const typename S::Float scale = S::scale(scales + r * of.row_stride);
            total[r][p][v] = S::fma(S::number(sum[r][p][v]), scale, total[r][p][v]);
            if (v < NF)
                total[r][p][v] = S::fma(S::number(rest[r][v]), S::mul(scale, S::load(at.panel + at.step + vector(v))),
                                        total[r][p][v]);
        });
    }
    each([&](int r, int p, int v) __attribute__((always_inline)) {
        const Index column = p * at.step + vector(v);
        S::store(at.out + r * of.out_stride + column,
                 S::fma(total[r][p][v], S::load(at.panel + p * of.panel_size + vector(v)),
                        S::load(at.init + r * of.init_stride + column)));
    });
}

// Rows of a tile at most.
template <class S, int NP, int NV, int NF>
constexpr int int8_tile_rows() {
    constexpr int fit = S::sums / (NV + NF);
    return NP > 1 || fit < 1 ? 1 : fit < S::rows ? fit : S::rows;
}

template <class S, int NP, int NV, int NF, int MR = 1>
RNNKERNELS_LOW_INLINE void int8_rows(const LowProduct& of, const TileAt& at, int rows) {
    if constexpr (MR < int8_tile_rows<S, NP, NV, NF>()) {
        if (rows > MR) return int8_rows<S, NP, NV, NF, MR + 1>(of, at, rows);
    }
    int8_tile<S, MR, NP, NV, NF>(of, at);
}

// All rows, in tiles that are as even as can be.
template <class S, int NP, int NV, int NF = 0>
__attribute__((noinline)) void int8_panel(const LowProduct& of, TileAt at) {
    constexpr int most = int8_tile_rows<S, NP, NV, NF>();
    for (int left = of.count; left > 0;) {
        const int tiles = (left + most - 1) / most, rows = (left + tiles - 1) / tiles;
        int8_rows<S, NP, NV, NF>(of, at, rows);
        at.rows += rows * of.row_stride;
        at.init += rows * of.init_stride;
        at.out += rows * of.out_stride;
        left -= rows;
    }
}

// Of as many vectors as have a second plane tiles are compiled for none, one, two of four, and all; where others have
// one all have it, which adds nothing to those without (their factor is 0).
template <class S, int NV>
void int8_planes(const LowProduct& of, const TileAt& at, int fine) {
    if (fine == 0) return int8_panel<S, 1, NV>(of, at);
    if (NV > 1 && fine == 1) return int8_panel<S, 1, NV, 1>(of, at);
    if constexpr (NV == 4)
        if (fine == 2) return int8_panel<S, 1, NV, 2>(of, at);
    int8_panel<S, 1, NV, NV>(of, at);
}

// The order of the vectors of a panel, and how many of them have a second plane.
template <class S>
int order_vectors(const float* factors, int vectors, Index* order) {
    int fine = 0, last = vectors;
    for (int v = 0; v < vectors; ++v) {
        std::uint32_t bits = 0;
        for (int lane = 0; lane < S::lanes; ++lane)
            bits |= __builtin_bit_cast(std::uint32_t, factors[v * S::lanes + lane]);
        order[bits != 0 ? fine++ : --last] = v * Index{S::lanes};
    }
    return fine;
}

template <class S>
void product_int8(const LowProduct& of) {
    constexpr int widest = S::lanes == 8 ? 3 : 4;  // no panel of 16 registers has 4
    for (Index vector = 0; vector < of.vectors;) {
        const Index left = of.vectors - vector;
        const int vectors = static_cast<int>(left < of.width ? left : of.width);
        const float* const panel = of.panels + vector / of.width * of.panel_size;
        Index order[kMostLowVectors];
        const TileAt at{
            of.rows, panel, vectors * Index{S::lanes}, order, of.init + vector * S::lanes, of.out + vector * S::lanes};
        vector += vectors;
        if (of.planes == 1 && of.count == 1 && vectors >= 3 && left >= 2 * vectors) {
            // One row leaves too few sums in a panel for the processor to work on side by side.
            vectors == 3 ? int8_panel<S, 2, 3>(of, at) : int8_panel<S, 2, widest>(of, at);
            vector += vectors;
            continue;
        }
        const int fine = of.planes == 1 ? 0 : order_vectors<S>(panel + at.step, vectors, order);
        switch (vectors) {
            case 1: int8_planes<S, 1>(of, at, fine); break;
            case 2: int8_planes<S, 2>(of, at, fine); break;
            case 3: int8_planes<S, 3>(of, at, fine); break;
            default: int8_planes<S, widest>(of, at, fine); break;
        }
    }
}

}  // namespace
}  // namespace rnnkernels::cpu
