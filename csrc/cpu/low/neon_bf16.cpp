// bfloat16 products by BFDOT, for the neon set on processors with FEAT_BF16 (part of ARMv8.6).
//
// What it computes, for a lane of two k (Arm's manual, BFDotAdd; the processor's usual mode, in which FPCR.EBF is 0):
//
//   pair = a[2i] * w[2i] + a[2i+1] * w[2i+1]
//   sum  = sum + pair
//
// Both products are exact but for their range. Both sums are rounded to odd: to the float next to zero, whose last bit
// is then set if anything was cut off. So no error has a preferred sign, but one may be twice what rounding to nearest
// would make it. Operands and results below 2^-126 count as zeros, whatever mode the thread is in. A sum is one chain
// over all pairs, ascending, from its initial value. A last k without a partner is multiplied beside zeros.
#include <arm_neon.h>

#include "kernels.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

constexpr int kLanes = 4;
constexpr int kRows = 4;

bfloat16x8_t pairs(const float* from) { return vreinterpretq_bf16_f32(vld1q_f32(from)); }
bfloat16x8_t pair(const float* from) { return vreinterpretq_bf16_f32(vld1q_dup_f32(from)); }

// MR rows times NV vectors of each of NP panels. rows, panel, init, out: of the tile's first row and vector.
template <int MR, int NP, int NV>
__attribute__((noinline)) void tile(const LowProduct& of, const float* rows, const float* panel, const float* init,
                                    float* out) {
    float32x4_t sum[MR][NP][NV];
#pragma GCC unroll 4
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) sum[r][p][v] = vld1q_f32(init + r * of.init_stride + (p * NV + v) * kLanes);
    for (Index group = groups_of(of.k, WeightStorage::bfloat16); group > 0; --group, ++rows, panel += NV * kLanes) {
        bfloat16x8_t a[MR];
#pragma GCC unroll 4
        for (int r = 0; r < MR; ++r) a[r] = pair(rows + r * of.row_stride);
#pragma GCC unroll 2
        for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) {
                const bfloat16x8_t w = pairs(panel + p * of.panel_size + v * kLanes);
#pragma GCC unroll 4
                for (int r = 0; r < MR; ++r) sum[r][p][v] = vbfdotq_f32(sum[r][p][v], a[r], w);
            }
    }
#pragma GCC unroll 4
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) vst1q_f32(out + r * of.out_stride + (p * NV + v) * kLanes, sum[r][p][v]);
}

using Tile = void (*)(const LowProduct&, const float*, const float*, const float*, float*);

template <int NP, int NV, int MR = 1>
Tile tile_of(int rows) {
    if constexpr (MR < (NP == 1 ? kRows : 1)) {
        if (rows > MR) return tile_of<NP, NV, MR + 1>(rows);
    }
    return tile<MR, NP, NV>;
}

template <int NP>
Tile tile_of(int rows, int vectors) {
    switch (vectors) {
        case 1: return tile_of<NP, 1>(rows);
        case 2: return tile_of<NP, 2>(rows);
        case 3: return tile_of<NP, 3>(rows);
        default: return tile_of<NP, 4>(rows);
    }
}

void product(const LowProduct& of) {
    for (Index vector = 0; vector < of.vectors;) {
        const Index left = of.vectors - vector;
        const int vectors = static_cast<int>(left < of.width ? left : of.width);
        // One row leaves too few sums for the processor to work on side by side.
        const int panels = of.count == 1 && left >= 2 * of.width ? 2 : 1;
        const float* const panel = of.panels + vector / of.width * of.panel_size;
        for (int row = 0; row < of.count;) {
            const int rows = of.count - row < kRows ? of.count - row : kRows;
            const Tile run = panels == 2 ? tile_of<2>(rows, vectors) : tile_of<1>(rows, vectors);
            run(of, of.rows + row * of.row_stride, panel, of.init + row * of.init_stride + vector * kLanes,
                of.out + row * of.out_stride + vector * kLanes);
            row += rows;
        }
        vector += panels * vectors;
    }
}

// The nearest bfloat16, to even in a tie; a NaN stays one.
std::uint32_t rounded(float x) {
    const auto bits = __builtin_bit_cast(std::uint32_t, x);
    return (x == x ? bits + 0x7fffU + (bits >> 16 & 1U) : bits | 0x00400000U) >> 16;
}

void convert(const float* a, Index a_stride, Index rows, Index k, int, float* to, Index to_stride) {
    for (Index row = 0; row < rows; ++row, a += a_stride, to += to_stride) {
        auto* const pairs_of = reinterpret_cast<std::uint32_t*>(to);
        for (Index i = 0; i < k / 2; ++i) pairs_of[i] = rounded(a[2 * i]) | rounded(a[2 * i + 1]) << 16;
        if (k % 2 != 0) pairs_of[k / 2] = rounded(a[k - 1]);
    }
}

}  // namespace

namespace low {

const LowKernels neon_bf16{"neon_bf16", WeightStorage::bfloat16, kLanes, 0, 16, 2, convert, product};

}  // namespace low
}  // namespace rnnkernels::cpu
