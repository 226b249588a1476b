// bfloat16 products by AVX512-BF16's vdpbf16ps, for the avx512 set.
//
// What it computes, for a lane of two k, the odd one first, each line rounded once to the nearest float, even in a tie
// (found so on Zen 4, by 2 million random operands and the edges):
//
//   sum = a[2i+1] * w[2i+1] + sum
//   sum = a[2i]   * w[2i]   + sum
//
// Operands and sums below 2^-126 count as zeros, whatever mode the thread is in; the rounding is always to nearest. A
// sum is one chain over all pairs, ascending, from its initial value. A last k without a partner is multiplied beside
// zeros.
#include "avx512_tiles.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

struct Tile {
    static constexpr int rows_of(int) { return 6; }

    template <int rows, int vectors, int panels>
    static __attribute__((noinline)) void run(const LowProduct& of, const TileAt& at) {
        __m512 sum[rows][panels][vectors];
        each_sum<rows, vectors, panels>([&](int r, int p, int v) __attribute__((always_inline)) {
            sum[r][p][v] = _mm512_loadu_ps(at.init + r * of.init_stride + (p * vectors + v) * kLanes);
        });
        const float* a = at.rows;
        const float* w = at.panel;
        for (Index groups = groups_of(of.k, WeightStorage::bfloat16); groups > 0; --groups, ++a) {
            __m512bh weight[panels][vectors];
#pragma GCC unroll 16
            for (int p = 0; p < panels; ++p)
#pragma GCC unroll 16
                for (int v = 0; v < vectors; ++v)
                    weight[p][v] = (__m512bh)_mm512_loadu_ps(w + p * of.panel_size + v * kLanes);
            w += at.width * kLanes;
#pragma GCC unroll 16
            for (int r = 0; r < rows; ++r) {
                const __m512bh pair = (__m512bh)_mm512_set1_ps(a[r * of.row_stride]);
#pragma GCC unroll 16
                for (int p = 0; p < panels; ++p)
#pragma GCC unroll 16
                    for (int v = 0; v < vectors; ++v) sum[r][p][v] = _mm512_dpbf16_ps(sum[r][p][v], weight[p][v], pair);
            }
        }
        each_sum<rows, vectors, panels>([&](int r, int p, int v) __attribute__((always_inline)) {
            _mm512_storeu_ps(at.out + r * of.out_stride + (p * vectors + v) * kLanes, sum[r][p][v]);
        });
    }
};

void convert(const float* a, Index a_stride, Index rows, Index k, int, float* to, Index to_stride) {
    for (Index row = 0; row < rows; ++row, a += a_stride, to += to_stride) {
        Index at = 0;
        for (; at + 32 <= k; at += 32)
            _mm512_storeu_si512(to + at / 2,
                                (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(a + at + 16), _mm512_loadu_ps(a + at)));
        if (at == k) continue;
        const Index left = k - at;  // below 32
        const auto mask = [](Index count) {
            return static_cast<__mmask16>(count >= 16 ? 0xffff : count > 0 ? (1 << count) - 1 : 0);
        };
        const __m512bh last = _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(mask(left - 16), a + at + 16),
                                                  _mm512_maskz_loadu_ps(mask(left), a + at));
        _mm512_mask_storeu_epi32(to + at / 2, mask((left + 1) / 2), (__m512i)last);
    }
}

}  // namespace

namespace low {

const LowKernels avx512_bf16{"avx512_bf16", WeightStorage::bfloat16, kLanes, 0, 16, 2, convert, run_product<Tile>};

}  // namespace low
}  // namespace rnnkernels::cpu
