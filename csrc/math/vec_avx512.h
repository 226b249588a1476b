// AVX-512 (F, VL, DQ, BW): 512-bit vectors, 32 registers.
#pragma once

#include <immintrin.h>

#include "target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kVectorBytes = 64;
inline constexpr int kRegisters = 32;

RNNKERNELS_INLINE __m512 raw_fma(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
RNNKERNELS_INLINE __m512d raw_fma(__m512d a, __m512d b, __m512d c) { return _mm512_fmadd_pd(a, b, c); }

// The larger, the smaller of the two; b where either is a NaN. (Masked by all lanes: GCC 12 warns of its own header
// in the plain form.)
RNNKERNELS_INLINE __m512 raw_max(__m512 a, __m512 b) { return _mm512_mask_max_ps(a, 0xffff, a, b); }
RNNKERNELS_INLINE __m512d raw_max(__m512d a, __m512d b) { return _mm512_mask_max_pd(a, 0xff, a, b); }
RNNKERNELS_INLINE __m512 raw_min(__m512 a, __m512 b) { return _mm512_mask_min_ps(a, 0xffff, a, b); }
RNNKERNELS_INLINE __m512d raw_min(__m512d a, __m512d b) { return _mm512_mask_min_pd(a, 0xff, a, b); }

RNNKERNELS_INLINE __m512 raw_sqrt(__m512 x) { return _mm512_mask_sqrt_ps(x, 0xffff, x); }
RNNKERNELS_INLINE __m512d raw_sqrt(__m512d x) { return _mm512_mask_sqrt_pd(x, 0xff, x); }

// The first `count` lanes, count in [0, lanes): no other byte of memory is touched.
inline constexpr bool kMaskedMemory = true;
RNNKERNELS_INLINE unsigned first_lanes(int count) { return (1U << (count > 0 ? count : 0)) - 1U; }
RNNKERNELS_INLINE __m512 raw_load_first(const float* from, int count) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>(first_lanes(count)), from);
}
RNNKERNELS_INLINE __m512d raw_load_first(const double* from, int count) {
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>(first_lanes(count)), from);
}
RNNKERNELS_INLINE void raw_store_first(float* to, int count, __m512 value) {
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>(first_lanes(count)), value);
}
RNNKERNELS_INLINE void raw_store_first(double* to, int count, __m512d value) {
    _mm512_mask_storeu_pd(to, static_cast<__mmask8>(first_lanes(count)), value);
}

using RawWide = __m512i;  // 64-bit integers
// The 64-bit products of the even 32-bit lanes.
RNNKERNELS_INLINE __m512i raw_multiply_even(__m512i a, __m512i b) { return _mm512_maskz_mul_epu32(0xff, a, b); }

}  // namespace rnnkernels::RNNKERNELS_TARGET
