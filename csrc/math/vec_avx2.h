// AVX2 and FMA: 256-bit vectors, 16 registers.
#pragma once

#include <immintrin.h>

#include "target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kVectorBytes = 32;
inline constexpr int kRegisters = 16;

RNNKERNELS_INLINE __m256 raw_fma(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
RNNKERNELS_INLINE __m256d raw_fma(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }

}  // namespace rnnkernels::RNNKERNELS_TARGET
