// int8 products for the avx512 set, where the processor has no instruction for them: as products of 16 bits in pairs,
// vpmaddwd, whose sums are exact (avx2.cpp).
#include <immintrin.h>

#include "int8.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

struct Avx512 {
    static constexpr int lanes = 16;
    static constexpr int rows = 3;
    using Int = __m512i;
    using Float = __m512;
    // Bytes 0 and 2 of each lane, and 1 and 3, as 16 bits.
    struct Pairs {
        __m512i even, odd;
    };
    using Weights = Pairs;  // zero-extended
    using Numbers = Pairs;  // sign-extended

    static Weights weights(const float* from) {
        const __m512i four = _mm512_loadu_si512(from);
        return {_mm512_and_si512(four, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(four, 8)};
    }
    static Numbers numbers(const float* from) {
        const __m512i four = every(from);
        return {_mm512_srai_epi16(_mm512_slli_epi16(four, 8), 8), _mm512_srai_epi16(four, 8)};
    }
    static Int add(Int sum, const Weights& w, const Numbers& a) {
        return _mm512_add_epi32(_mm512_add_epi32(sum, _mm512_madd_epi16(w.even, a.even)),
                                _mm512_madd_epi16(w.odd, a.odd));
    }
    static Int every(const float* from) { return _mm512_castps_si512(scale(from)); }
    static Float zero() { return _mm512_setzero_ps(); }
    static Float scale(const float* from) { return _mm512_set1_ps(*from); }
    static Float load(const float* from) { return _mm512_loadu_ps(from); }
    static void store(float* to, Float value) { _mm512_storeu_ps(to, value); }
    static Float number(Int value) { return _mm512_maskz_cvtepi32_ps(0xffff, value); }
    static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
};

}  // namespace

namespace low {

const LowKernels avx512{"avx512", WeightStorage::int8, 16, 128, convert_int8<128>, product_int8<Avx512>};

}  // namespace low
}  // namespace rnnkernels::cpu
