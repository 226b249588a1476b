// int8 products for the avx2 set, where the processor has no instruction for them: as products of 16 bits in pairs,
// vpmaddwd, whose sums are exact. (vpmaddubsw takes bytes and saturates: 255 * 127 + 255 * 127 is more than 16 bits.)
#include "floats_256.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

// Bytes 0 and 2 of each lane, and 1 and 3, as 16 bits.
struct Pairs {
    __m256i even, odd;
};

struct Avx2 : Floats256 {
    static constexpr int rows = 2, sums = 8;
    using Weights = Pairs;  // zero-extended
    using Numbers = Pairs;  // sign-extended

    static Weights weights(const float* from) {
        const Int bytes = four(from);
        return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(bytes, 8)};
    }
    static Numbers numbers(const float* from) {
        const Int bytes = every(from);
        return {_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), _mm256_srai_epi16(bytes, 8)};
    }
    static void add(Int& sum, const Weights& w, const Numbers& a) {
        sum =
            _mm256_add_epi32(_mm256_add_epi32(sum, _mm256_madd_epi16(w.even, a.even)), _mm256_madd_epi16(w.odd, a.odd));
    }
};

}  // namespace

namespace low {

const LowKernels avx2{"avx2", WeightStorage::int8, 8, 128, 16, 1, convert_int8<128>, product_int8<Avx2>};

}  // namespace low
}  // namespace rnnkernels::cpu
