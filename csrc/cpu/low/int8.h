// int8 products with vectors: rows to int8, and the register tile. Included by a file of kernels, which says in a
// struct S what a vector of its processor can do:
//
//   S::lanes, S::rows        lanes of 32 bits; rows of a tile at most
//   Int, Float               vectors of int32 and float
//   Weights, Numbers         four k of each lane's column, and of a row, as the product wants them
//   weights(p), numbers(p)   loaded from `lanes` lanes, and from one
//   add(sum, w, a)           sum + the four products, exactly
//   every(p), zero()         one lane's int32 everywhere, as Int; 0, as Float
//   scale(p)                 one float everywhere
//   load, store, number      floats; an Int as Float, rounded to nearest even
//   fma(a, b, c)             rounded once
//
// Not here: what is computed (kernels.h); products that no instruction helps (generic.h).
#pragma once

#include "kernels.h"

namespace rnnkernels::cpu {
namespace {

// ---- rows ----

// The bits of the largest magnitude. Magnitudes stand in the order of their bits, inf and NaN above all numbers.
template <class Count>
RNNKERNELS_LOW_INLINE std::int32_t largest_bits(const float* a, Count count) {
    std::int32_t most = 0;
    for (Index i = 0; i < count; ++i) {
        const std::int32_t bits = __builtin_bit_cast(std::int32_t, a[i]) & 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most;
}

// count numbers times `inverse`, rounded; their sum.
template <class Count>
RNNKERNELS_LOW_INLINE std::int32_t quantise(const float* a, Count count, float inverse, std::int8_t* q) {
    std::int32_t sum = 0;
    for (Index i = 0; i < count; ++i) {
        const auto rounded = static_cast<std::int32_t>(__builtin_nearbyintf(a[i] * inverse));
        q[i] = static_cast<std::int8_t>(rounded);
        sum += rounded;
    }
    return sum;
}

// kInputBlock, known where it is compiled.
struct InputBlock {
    RNNKERNELS_LOW_INLINE operator Index() const { return kInputBlock; }
};

// A block; `padded` is count, rounded up to whole groups. Count is a constant where all blocks are short.
template <int offset, class Count>
RNNKERNELS_LOW_INLINE void quantise_block(const float* a, Count count, Index padded, float* scale, std::int8_t* q) {
    const std::int32_t bits = largest_bits(a, count);
    const float most = __builtin_bit_cast(float, bits);
    std::int32_t correction = 0;
    if (most >= kLeastScaled && most <= __FLT_MAX__) {
        scale[0] = most / 127.0F;
        correction = -offset * quantise(a, count, 127.0F / most, q);
    } else {
        scale[0] = bits < 0x7f800000 ? 0.0F : __builtin_nanf("");
        for (Index i = 0; i < count; ++i) q[i] = 0;
    }
    for (Index i = count; i < padded; ++i) q[i] = 0;
    scale[1] = __builtin_bit_cast(float, correction);
}

template <int offset>
void convert_int8(const float* a, Index a_stride, Index rows, Index k, Index block, float* to, Index to_stride) {
    for (Index row = 0; row < rows; ++row, a += a_stride, to += to_stride) {
        float* scale = to;
        auto* const q = reinterpret_cast<std::int8_t*>(to + 2 * scale_blocks(k, block));
        Index first = 0;
        if (block == kInputBlock)
            for (; first + kInputBlock <= k; first += kInputBlock, scale += 2)
                quantise_block<offset>(a + first, InputBlock{}, kInputBlock, scale, q + first);
        for (; first < k; first += block, scale += 2) {
            const Index count = k - first < block ? k - first : block;
            quantise_block<offset>(a + first, count, (count + 3) / 4 * 4, scale, q + first);
        }
    }
}

// ---- products ----

// MR rows times NV vectors of each of NP panels. Groups: of a block, where all blocks have as many but the last; else
// 0. rows, panel, init, out: of the tile's first row and vector.
template <class S, int MR, int NP, int NV, int Groups>
__attribute__((noinline)) void int8_tile(const LowProduct& of, const float* rows, const float* panel, Index step,
                                         const float* init, float* out) {
    const Index block = of.block / 4;  // in groups
    const float* scales = rows;
    const float* numbers = rows + 2 * scale_blocks(of.k, of.block);
    const float* weights = panel + step;
    typename S::Float total[MR][NP][NV];
    const auto each = [](auto body) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
            for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) body(r, p, v);
    };
    each([&](int r, int p, int v) __attribute__((always_inline)) { total[r][p][v] = S::zero(); });
    for (Index left = groups_of(of.k, WeightStorage::int8); left > 0; left -= block, scales += 2) {
        typename S::Int sum[MR][NP][NV];
        each([&](int r, int p, int v)
                 __attribute__((always_inline)) { sum[r][p][v] = S::every(scales + r * of.row_stride + 1); });
        const auto add_group = [&]() __attribute__((always_inline)) {
            typename S::Numbers a[MR];
#pragma GCC unroll 4
            for (int r = 0; r < MR; ++r) a[r] = S::numbers(numbers + r * of.row_stride);
#pragma GCC unroll 2
            for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) {
                    const typename S::Weights w = S::weights(weights + p * of.panel_size + v * S::lanes);
#pragma GCC unroll 4
                    for (int r = 0; r < MR; ++r) sum[r][p][v] = S::add(sum[r][p][v], w, a[r]);
                }
            weights += step;
            ++numbers;
        };
        if (Groups > 0 && left >= Groups) {
#pragma GCC unroll 2
            for (int group = 0; group < Groups; ++group) add_group();
        } else {
            for (Index group = left < block ? left : block; group > 0; --group) add_group();
        }
        each([&](int r, int p, int v) __attribute__((always_inline)) {
            total[r][p][v] = S::fma(S::number(sum[r][p][v]), S::scale(scales + r * of.row_stride), total[r][p][v]);
        });
    }
    each([&](int r, int p, int v) __attribute__((always_inline)) {
        const Index at = p * step + v * S::lanes;
        S::store(out + r * of.out_stride + at, S::fma(total[r][p][v], S::load(panel + p * of.panel_size + v * S::lanes),
                                                      S::load(init + r * of.init_stride + at)));
    });
}

using Int8Tile = void (*)(const LowProduct&, const float*, const float*, Index, const float*, float*);

template <class S, int NP, int NV, int MR = 1>
Int8Tile int8_tile_of(int rows, Index block) {
    if constexpr (MR < (NP == 1 ? S::rows : 1)) {
        if (rows > MR) return int8_tile_of<S, NP, NV, MR + 1>(rows, block);
    }
    return block == kInputBlock ? int8_tile<S, MR, NP, NV, kInputBlock / 4> : int8_tile<S, MR, NP, NV, 0>;
}

template <class S, int NP>
Int8Tile int8_tile_of(int rows, int vectors, Index block) {
    switch (vectors) {
        case 1: return int8_tile_of<S, NP, 1>(rows, block);
        case 2: return int8_tile_of<S, NP, 2>(rows, block);
        case 3: return int8_tile_of<S, NP, 3>(rows, block);
        default: return int8_tile_of<S, NP, S::lanes == 8 ? 3 : 4>(rows, block);  // no panel of 16 registers has 4
    }
}

template <class S>
void product_int8(const LowProduct& of) {
    for (Index vector = 0; vector < of.vectors;) {
        const Index left = of.vectors - vector;
        const int vectors = static_cast<int>(left < of.width ? left : of.width);
        // One row leaves too few sums for the processor to work on side by side.
        const int panels = of.count == 1 && left >= 2 * of.width ? 2 : 1;
        const float* const panel = of.panels + vector / of.width * of.panel_size;
        const Index column = vector * S::lanes;
        for (int row = 0; row < of.count;) {
            const int rows = of.count - row < S::rows ? of.count - row : S::rows;
            const Int8Tile run =
                panels == 2 ? int8_tile_of<S, 2>(rows, vectors, of.block) : int8_tile_of<S, 1>(rows, vectors, of.block);
            run(of, of.rows + row * of.row_stride, panel, vectors * Index{S::lanes},
                of.init + row * of.init_stride + column, of.out + row * of.out_stride + column);
            row += rows;
        }
        vector += panels * vectors;
    }
}

}  // namespace
}  // namespace rnnkernels::cpu
