// What int8.h asks of a vector of 256 bits, for the kernels of the avx2 set: all but the products.
#pragma once

#include <immintrin.h>

#include "int8.h"

namespace rnnkernels::cpu {
namespace {

struct Floats256 {
    static constexpr int lanes = 8;
    using Int = __m256i;
    using Float = __m256;

    static Int four(const float* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
    static Int every(const float* from) { return _mm256_castps_si256(_mm256_broadcast_ss(from)); }
    static Float zero() { return _mm256_setzero_ps(); }
    static Float scale(const float* from) { return _mm256_broadcast_ss(from); }
    static Float load(const float* from) { return _mm256_loadu_ps(from); }
    static void store(float* to, Float value) { _mm256_storeu_ps(to, value); }
    static Float number(Int value) { return _mm256_cvtepi32_ps(value); }
    static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
    static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
};

}  // namespace
}  // namespace rnnkernels::cpu
