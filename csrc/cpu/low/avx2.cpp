// int8 products for the avx2 set, where the processor has no instruction for them: as products of 16 bits in pairs,
// vpmaddwd, whose sums are exact. (vpmaddubsw takes bytes and saturates: 255 * 127 + 255 * 127 is more than 16 bits.)
#include <immintrin.h>

#include "int8.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

struct Avx2 {
    static constexpr int lanes = 8;
    static constexpr int rows = 2;
    using Int = __m256i;
    using Float = __m256;
    // Bytes 0 and 2 of each lane, and 1 and 3, as 16 bits.
    struct Pairs {
        __m256i even, odd;
    };
    using Weights = Pairs;  // zero-extended
    using Numbers = Pairs;  // sign-extended

    static Weights weights(const float* from) {
        const __m256i four = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
        return {_mm256_and_si256(four, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(four, 8)};
    }
    static Numbers numbers(const float* from) {
        const __m256i four = every(from);
        return {_mm256_srai_epi16(_mm256_slli_epi16(four, 8), 8), _mm256_srai_epi16(four, 8)};
    }
    static Int add(Int sum, const Weights& w, const Numbers& a) {
        return _mm256_add_epi32(_mm256_add_epi32(sum, _mm256_madd_epi16(w.even, a.even)),
                                _mm256_madd_epi16(w.odd, a.odd));
    }
    static Int every(const float* from) { return _mm256_castps_si256(_mm256_broadcast_ss(from)); }
    static Float zero() { return _mm256_setzero_ps(); }
    static Float scale(const float* from) { return _mm256_broadcast_ss(from); }
    static Float load(const float* from) { return _mm256_loadu_ps(from); }
    static void store(float* to, Float value) { _mm256_storeu_ps(to, value); }
    static Float number(Int value) { return _mm256_cvtepi32_ps(value); }
    static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
};

}  // namespace

namespace low {

const LowKernels avx2{"avx2", WeightStorage::int8, 8, 128, convert_int8<128>, product_int8<Avx2>};

}  // namespace low
}  // namespace rnnkernels::cpu
