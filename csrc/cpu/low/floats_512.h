// What int8.h asks of a vector of 512 bits, for the kernels of the avx512 set: all but the products.
#pragma once

#include <immintrin.h>

#include "int8.h"

namespace rnnkernels::cpu {
namespace {

struct Floats512 {
    static constexpr int lanes = 16;
    using Int = __m512i;
    using Float = __m512;

    static Int four(const float* from) { return _mm512_loadu_si512(from); }
    static Int every(const float* from) { return _mm512_castps_si512(_mm512_set1_ps(*from)); }
    static Float zero() { return _mm512_setzero_ps(); }
    static Float scale(const float* from) { return _mm512_set1_ps(*from); }
    static Float load(const float* from) { return _mm512_loadu_ps(from); }
    static void store(float* to, Float value) { _mm512_storeu_ps(to, value); }
    static Float number(Int value) { return _mm512_maskz_cvtepi32_ps(0xffff, value); }
    static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
    static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
};

}  // namespace
}  // namespace rnnkernels::cpu
