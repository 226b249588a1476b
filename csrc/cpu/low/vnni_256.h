// int8 products for the avx2 set with vpdpbusd of 256 bits: four products of unsigned and signed bytes and their sum in
// one instruction, nothing saturated. Two processors' families encode it differently; avx_vnni.cpp and
// avx512_vnni_256.cpp compile this with their flags.
#pragma once

#include <immintrin.h>

#include "int8.h"

namespace rnnkernels::cpu {
namespace {

struct Vnni256 {
    static constexpr int lanes = 8;
#if defined(__AVX512VL__)
    static constexpr int rows = 4;  // of 32 registers
#else
    static constexpr int rows = 3;
#endif
    using Int = __m256i;
    using Float = __m256;
    using Weights = __m256i;
    using Numbers = __m256i;

    static Weights weights(const float* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
    static Numbers numbers(const float* from) { return every(from); }
    static Int add(Int sum, Weights w, Numbers a) {
#if defined(__AVXVNNI__)
        return _mm256_dpbusd_avx_epi32(sum, w, a);
#else
        return _mm256_dpbusd_epi32(sum, w, a);
#endif
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
}  // namespace rnnkernels::cpu
