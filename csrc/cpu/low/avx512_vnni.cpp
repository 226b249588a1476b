// int8 products by AVX512-VNNI's vpdpbusd, for the avx512 set: four products of an unsigned weight and a signed number
// of a row a lane, added to an int32.
#include "avx512_tiles.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

constexpr int kOffset = 128;

// out = init + total * scale of the column
template <int rows, int vectors, int panels>
__attribute__((always_inline)) inline void finish(const LowProduct& of, const TileAt& at,
                                                  const __m512 (&total)[rows][panels][vectors]) {
    each_sum<rows, vectors, panels>([&](int r, int p, int v) __attribute__((always_inline)) {
        const Index column = (p * vectors + v) * kLanes;
        const __m512 scale = _mm512_loadu_ps(at.panel + p * of.panel_size + v * kLanes);
        const __m512 init = _mm512_loadu_ps(at.init + r * of.init_stride + column);
        _mm512_storeu_ps(at.out + r * of.out_stride + column, _mm512_fmadd_ps(total[r][p][v], scale, init));
    });
}

__attribute__((always_inline)) inline __m512i four_of(const float* a) {
    return _mm512_castps_si512(_mm512_set1_ps(*a));
}

// sum + products. Not by _mm512_dpbusd_epi32: GCC 12 copies its sum to another register, and runs out of them.
__attribute__((always_inline)) inline void add_products(__m512i& sum, __m512i weights, __m512i numbers) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(numbers));
}

// Scales of blocks of 8 k: the weights of a block stay in registers for all rows, a sum only for its block.
struct Eights {
    static constexpr int rows_of(int) { return 4; }

    template <int rows, int vectors, int panels>
    static __attribute__((noinline)) void run(const LowProduct& of, const TileAt& at) {
        const Index stride = at.width * kLanes;
        const float* scales = at.rows;
        const float* a = at.rows + 2 * scale_blocks(of.k, kInputBlock);
        const float* w = at.panel + stride;
        __m512 total[rows][panels][vectors];
        each_sum<rows, vectors, panels>([&](int r, int p, int v)
                                            __attribute__((always_inline)) { total[r][p][v] = _mm512_setzero_ps(); });
        const auto add_block = [&]<int groups>() __attribute__((always_inline)) {
            __m512i weight[groups][panels][vectors];
            each_sum<groups, vectors, panels>([&](int g, int p, int v) __attribute__((always_inline)) {
                weight[g][p][v] = _mm512_loadu_si512(w + g * stride + p * of.panel_size + v * kLanes);
                asm("" : "+v"(weight[g][p][v]));  // or GCC loads it again for each row
            });
#pragma GCC unroll 16
            for (int r = 0; r < rows; ++r) {
                const Index row = r * of.row_stride;
                each_sum<1, vectors, panels>([&](int, int p, int v) __attribute__((always_inline)) {
                    __m512i sum = four_of(scales + row + 1);
                    add_products(sum, weight[0][p][v], four_of(a + row));
                    if constexpr (groups == 2) add_products(sum, weight[1][p][v], four_of(a + row + 1));
                    total[r][p][v] =
                        _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scales[row]), total[r][p][v]);
                });
            }
            scales += 2, a += groups, w += groups * stride;
        };
        const Index groups = groups_of(of.k, WeightStorage::int8);
        for (Index i = groups / 2; i > 0; --i) add_block.template operator()<2>();
        if (groups % 2 != 0) add_block.template operator()<1>();
        finish<rows, vectors, panels>(of, at, total);
    }
};

// One scale for a row, or for each longest block of it.
struct Rows {
    static constexpr int rows_of(int) { return 4; }

    template <int rows, int vectors, int panels>
    static __attribute__((noinline)) void run(const LowProduct& of, const TileAt& at) {
        const Index stride = at.width * kLanes;
        const float* scales = at.rows;
        const float* a = at.rows + 2 * scale_blocks(of.k, kLongestBlock);
        const float* w = at.panel + stride;
        __m512 total[rows][panels][vectors];
        each_sum<rows, vectors, panels>([&](int r, int p, int v)
                                            __attribute__((always_inline)) { total[r][p][v] = _mm512_setzero_ps(); });
        for (Index left = groups_of(of.k, WeightStorage::int8); left > 0; left -= kLongestBlock / 4, scales += 2) {
            __m512i sum[rows][panels][vectors];
            each_sum<rows, vectors, panels>([&](int r, int p, int v) __attribute__((always_inline)) {
                sum[r][p][v] = four_of(scales + r * of.row_stride + 1);
            });
            for (Index i = left < kLongestBlock / 4 ? left : kLongestBlock / 4; i > 0; --i, ++a, w += stride) {
                __m512i weight[panels][vectors];
                each_sum<1, vectors, panels>([&](int, int p, int v) __attribute__((always_inline)) {
                    weight[p][v] = _mm512_loadu_si512(w + p * of.panel_size + v * kLanes);
                });
                each_sum<rows, vectors, panels>([&](int r, int p, int v) __attribute__((always_inline)) {
                    add_products(sum[r][p][v], weight[p][v], four_of(a + r * of.row_stride));
                });
            }
            each_sum<rows, vectors, panels>([&](int r, int p, int v) __attribute__((always_inline)) {
                total[r][p][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][p][v]),
                                                 _mm512_set1_ps(scales[r * of.row_stride]), total[r][p][v]);
            });
        }
        finish<rows, vectors, panels>(of, at, total);
    }
};

constexpr unsigned kSize = 0x7fffffffU;  // the bits of a number without its sign

// What numbers are multiplied with, and their scale, where m is the largest of each block.
struct Scales {
    __m512 inverse, scale;

    explicit Scales(__m512 m) {
        const __mmask16 finite = _mm512_cmp_ps_mask(m, _mm512_set1_ps(__builtin_inff()), _CMP_LT_OQ);
        const __mmask16 scaled = finite & _mm512_cmp_ps_mask(m, _mm512_set1_ps(kLeastScaled), _CMP_GE_OQ);
        const __m512 most = _mm512_set1_ps(127.0F);
        inverse = _mm512_maskz_div_ps(scaled, most, m);
        scale = _mm512_mask_mov_ps(_mm512_set1_ps(__builtin_nanf("")), finite, _mm512_maskz_div_ps(scaled, m, most));
    }
};

__mmask16 first_lanes(Index count) {
    return static_cast<__mmask16>(count >= 16 ? 0xffff : count > 0 ? (1 << count) - 1 : 0);
}

// q of 16 numbers. 0 * NaN is a NaN, which becomes 0x80000000, and its lowest byte 0.
__m512i quantised(__m512 a, __m512 inverse) {
    return _mm512_cvt_roundps_epi32(_mm512_mul_ps(a, inverse), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// The size of 16 numbers: as integers they are ordered as the numbers are, inf and then NaNs last.
__m512i size_of(__m512 a) { return _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(kSize)); }

// One scale for `count` numbers.
void convert_block(const float* a, Index count, float* scale, signed char* to) {
    __m512i largest = _mm512_setzero_si512();
    for (Index i = 0; i < count; i += 16)
        largest = _mm512_max_epu32(largest, size_of(_mm512_maskz_loadu_ps(first_lanes(count - i), a + i)));
    const Scales of(_mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(_mm512_reduce_max_epu32(largest)))));
    __m512i sum = _mm512_setzero_si512();
    for (Index i = 0; i < count; i += 16) {
        const __mmask16 here = first_lanes(count - i);
        const __m128i bytes = _mm512_cvtepi32_epi8(quantised(_mm512_maskz_loadu_ps(here, a + i), of.inverse));
        sum = _mm512_add_epi32(sum, _mm512_cvtepi8_epi32(bytes));
        _mm_mask_storeu_epi8(to + i, first_lanes((count - i + 3) / 4 * 4), bytes);
    }
    const int correction = -kOffset * _mm512_reduce_add_epi32(sum);
    _mm_store_ss(scale, _mm512_castps512_ps128(of.scale));
    __builtin_memcpy(scale + 1, &correction, 4);
}

// Blocks of 8: those of 128 numbers at once, so that 16 of them share the divisions.
void convert_eights(const float* a, Index k, float* scales, signed char* to) {
    static_assert(kInputBlock == 8);
    const __m512i pair = _mm512_set_epi32(8, 0, 8, 0, 8, 0, 8, 0, 8, 0, 8, 0, 8, 0, 8, 0);
    const __m512i halves = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    for (Index first = 0; first < k; first += 128, a += 128, to += 128, scales += 32) {
        const Index count = k - first;
        __m512 m = _mm512_setzero_ps();
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            __m512i size = size_of(_mm512_maskz_loadu_ps(first_lanes(count - 16 * i), a + 16 * i));
            size = _mm512_max_epu32(size, _mm512_shuffle_epi32(size, _MM_PERM_BADC));
            size = _mm512_max_epu32(size, _mm512_shuffle_epi32(size, _MM_PERM_CDAB));
            size = _mm512_max_epu32(size, _mm512_shuffle_i32x4(size, size, _MM_SHUFFLE(2, 3, 0, 1)));
            m = _mm512_mask_permutexvar_ps(m, static_cast<__mmask16>(3 << (2 * i)), pair, _mm512_castsi512_ps(size));
        }
        const Scales of(m);
        __m512i correction = _mm512_setzero_si512();
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            if (count <= 16 * i) break;
            const __m512 inverse =
                _mm512_permutexvar_ps(_mm512_add_epi32(halves, _mm512_set1_epi32(2 * i)), of.inverse);
            const __m512 number = _mm512_maskz_loadu_ps(first_lanes(count - 16 * i), a + 16 * i);
            const __m128i bytes = _mm512_cvtepi32_epi8(quantised(number, inverse));
            _mm_mask_storeu_epi8(to + 16 * i, first_lanes((count - 16 * i + 3) / 4 * 4), bytes);
            // Sums of groups of four, then of two groups, in the lanes of their blocks.
            __m128i sum = _mm_dpbusd_epi32(_mm_setzero_si128(), _mm_set1_epi8(static_cast<char>(kOffset)), bytes);
            sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(2, 3, 0, 1)));
            correction = _mm512_mask_permutexvar_epi32(correction, static_cast<__mmask16>(3 << (2 * i)),
                                                       _mm512_set_epi32(2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0),
                                                       _mm512_castsi128_si512(sum));
        }
        correction = _mm512_sub_epi32(_mm512_setzero_si512(), correction);
        const __m512i scale = _mm512_castps_si512(of.scale);
        const __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
        const Index lanes = 2 * ((count + 7) / 8);
        _mm512_mask_storeu_epi32(scales, first_lanes(lanes), _mm512_permutex2var_epi32(scale, low, correction));
        _mm512_mask_storeu_epi32(scales + 16, first_lanes(lanes - 16),
                                 _mm512_permutex2var_epi32(scale, high, correction));
    }
}

void convert(const float* a, Index a_stride, Index rows, Index k, Index block, float* to, Index to_stride) {
    for (Index row = 0; row < rows; ++row, a += a_stride, to += to_stride) {
        auto* const q = reinterpret_cast<signed char*>(to + 2 * scale_blocks(k, block));
        if (block == kInputBlock) {
            convert_eights(a, k, to, q);
        } else {
            for (Index first = 0, number = 0; first < k; first += block, ++number)
                convert_block(a + first, k - first < block ? k - first : block, to + 2 * number, q + first);
        }
    }
}

void product(const LowProduct& of) { of.block == kInputBlock ? run_product<Eights>(of) : run_product<Rows>(of); }

}  // namespace

namespace low {

const LowKernels avx512_vnni{"avx512_vnni", WeightStorage::int8, kLanes, kOffset, convert, product};

}  // namespace low
}  // namespace rnnkernels::cpu
