// int8 products by AVX512-VNNI's vpdpbusd, for the avx512 set: four products of an unsigned weight and a signed number
// of a row a lane, added to an int32.
#include "floats_512.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

constexpr int kOffset = 128;

struct Vnni512 : Floats512 {
    static constexpr int rows = 4, sums = 20;
    using Weights = __m512i;
    using Numbers = __m512i;

    static Weights weights(const float* from) { return four(from); }
    static Numbers numbers(const float* from) { return every(from); }
    // Not by _mm512_dpbusd_epi32: GCC 12 copies its sum to another register, and runs out of them.
    static void add(Int& sum, Weights w, Numbers a) { asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(a)); }
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

// q of 16 numbers. A NaN, as 0 * inf is one, becomes 0x80000000, and its lowest byte 0.
__m512i rounded(__m512 a) { return _mm512_cvt_roundps_epi32(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

// The size of 16 numbers: as integers they are ordered as the numbers are, inf and then NaNs last.
__m512i size_of(__m512 a) { return _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(kSize)); }

// A plane of 16 numbers: stored, and added to its sum.
void put(__m512i q, Index count, signed char* to, __m512i& sum) {
    const __m128i bytes = _mm512_cvtepi32_epi8(q);
    sum = _mm512_add_epi32(sum, _mm512_cvtepi8_epi32(bytes));
    _mm_mask_storeu_epi8(to, first_lanes((count + 3) / 4 * 4), bytes);
}

// `count` numbers of one scale. `rest`: of the second plane, or null.
void convert_block(const float* a, Index count, float* scale, signed char* to, signed char* rest) {
    __m512i largest = _mm512_setzero_si512();
    for (Index i = 0; i < count; i += 16)
        largest = _mm512_max_epu32(largest, size_of(_mm512_maskz_loadu_ps(first_lanes(count - i), a + i)));
    const Scales of(_mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(_mm512_reduce_max_epu32(largest)))));
    __m512i sum[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (Index i = 0; i < count; i += 16) {
        const __m512 exact = _mm512_mul_ps(_mm512_maskz_loadu_ps(first_lanes(count - i), a + i), of.inverse);
        const __m512i q = rounded(exact);
        put(q, count - i, to + i, sum[0]);
        if (rest)
            put(rounded(_mm512_mul_ps(_mm512_sub_ps(exact, _mm512_cvtepi32_ps(q)), _mm512_set1_ps(kSecondPlane))),
                count - i, rest + i, sum[1]);
    }
    _mm_store_ss(scale, _mm512_castps512_ps128(of.scale));
    for (int plane = 0; plane < (rest ? 2 : 1); ++plane) {
        const int correction = -kOffset * _mm512_reduce_add_epi32(sum[plane]);
        __builtin_memcpy(scale + 1 + plane, &correction, 4);
    }
}

void convert(const float* a, Index a_stride, Index rows, Index k, int planes, float* to, Index to_stride) {
    const Index groups = groups_of(k, WeightStorage::int8);
    for (Index row = 0; row < rows; ++row, a += a_stride, to += to_stride) {
        auto* const q = reinterpret_cast<signed char*>(to);
        for (Index first = 0, number = 0; first < k; first += kScaleBlock, ++number)
            convert_block(a + first, k - first < kScaleBlock ? k - first : kScaleBlock,
                          to + planes * groups + (1 + planes) * number, q + first,
                          planes == 2 ? q + 4 * groups + first : nullptr);
    }
}

}  // namespace

namespace low {

const LowKernels avx512_vnni{"avx512_vnni", WeightStorage::int8, 16, kOffset, 16, 4, convert, product_int8<Vnni512>};

}  // namespace low
}  // namespace rnnkernels::cpu
