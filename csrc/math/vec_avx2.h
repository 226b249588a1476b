// AVX2 and FMA: 256-bit vectors, 16 registers.
#pragma once

#include <immintrin.h>

#include "target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kVectorBytes = 32;
inline constexpr int kRegisters = 16;

RNNKERNELS_INLINE __m256 raw_fma(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
RNNKERNELS_INLINE __m256d raw_fma(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }

// The larger, the smaller of the two; b where either is a NaN.
RNNKERNELS_INLINE __m256 raw_max(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
RNNKERNELS_INLINE __m256d raw_max(__m256d a, __m256d b) { return _mm256_max_pd(a, b); }
RNNKERNELS_INLINE __m256 raw_min(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }
RNNKERNELS_INLINE __m256d raw_min(__m256d a, __m256d b) { return _mm256_min_pd(a, b); }

RNNKERNELS_INLINE __m256 raw_sqrt(__m256 x) { return _mm256_sqrt_ps(x); }
RNNKERNELS_INLINE __m256d raw_sqrt(__m256d x) { return _mm256_sqrt_pd(x); }

// The first `count` lanes, count in [0, lanes): no other byte of memory is touched.
inline constexpr bool kMaskedMemory = true;
RNNKERNELS_INLINE __m256i first_lanes_of_8(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
RNNKERNELS_INLINE __m256i first_lanes_of_4(int count) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}
RNNKERNELS_INLINE __m256 raw_load_first(const float* from, int count) {
    return _mm256_maskload_ps(from, first_lanes_of_8(count));
}
RNNKERNELS_INLINE __m256d raw_load_first(const double* from, int count) {
    return _mm256_maskload_pd(from, first_lanes_of_4(count));
}
RNNKERNELS_INLINE void raw_store_first(float* to, int count, __m256 value) {
    _mm256_maskstore_ps(to, first_lanes_of_8(count), value);
}
RNNKERNELS_INLINE void raw_store_first(double* to, int count, __m256d value) {
    _mm256_maskstore_pd(to, first_lanes_of_4(count), value);
}

using RawWide = __m256i;  // 64-bit integers
// The 64-bit products of the even 32-bit lanes.
RNNKERNELS_INLINE __m256i raw_multiply_even(__m256i a, __m256i b) { return _mm256_mul_epu32(a, b); }

}  // namespace rnnkernels::RNNKERNELS_TARGET
