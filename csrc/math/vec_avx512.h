// AVX-512 (F, VL, DQ, BW): 512-bit vectors, 32 registers.
#pragma once

#include <immintrin.h>

#include "target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kVectorBytes = 64;
inline constexpr int kRegisters = 32;

RNNKERNELS_INLINE __m512 raw_fma(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
RNNKERNELS_INLINE __m512d raw_fma(__m512d a, __m512d b, __m512d c) { return _mm512_fmadd_pd(a, b, c); }

}  // namespace rnnkernels::RNNKERNELS_TARGET
