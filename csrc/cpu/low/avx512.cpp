// int8 products for the avx512 set, where the processor has no instruction for them: as products of 16 bits in pairs,
// vpmaddwd, whose sums are exact (avx2.cpp).
#include "floats_512.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

// Bytes 0 and 2 of each lane, and 1 and 3, as 16 bits.
struct Pairs {
    __m512i even, odd;
};

struct Avx512 : Floats512 {
    static constexpr int rows = 3, sums = 12;
    using Weights = Pairs;  // zero-extended
    using Numbers = Pairs;  // sign-extended

    static Weights weights(const float* from) {
        const Int bytes = four(from);
        return {_mm512_and_si512(bytes, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(bytes, 8)};
    }
    static Numbers numbers(const float* from) {
        const Int bytes = every(from);
        return {_mm512_srai_epi16(_mm512_slli_epi16(bytes, 8), 8), _mm512_srai_epi16(bytes, 8)};
    }
    static void add(Int& sum, const Weights& w, const Numbers& a) {
        sum =
            _mm512_add_epi32(_mm512_add_epi32(sum, _mm512_madd_epi16(w.even, a.even)), _mm512_madd_epi16(w.odd, a.odd));
    }
};

}  // namespace

namespace low {

const LowKernels avx512{"avx512", WeightStorage::int8, 16, 128, 16, 1, convert_int8<128>, product_int8<Avx512>};

}  // namespace low
}  // namespace rnnkernels::cpu
