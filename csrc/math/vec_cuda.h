// Vec<T> on a GPU: one number, since a thread works on one unit of one row.
//
// The same interface and the same rounding as vec.h's: nvcc contracts nothing (--fmad=false), fma is fused, division
// and square root round as IEEE 754 says. So a cell gives the bits on a GPU that it gives on AVX2 and AVX-512, from the
// same products. Compiled for the host, the same code is what tests run where there is no GPU (cuda/queue.h).
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kVectorBytes = 0;  // a register is one lane

template <class T>
struct Register {
    using type = T;
    static constexpr int lanes = 1;
};

using RawWide = std::uint64_t;
// The 64-bit product of the lower 32 bits.
RNNKERNELS_INLINE RawWide raw_multiply_even(RawWide a, RawWide b) { return (a & 0xffffffffU) * (b & 0xffffffffU); }

RNNKERNELS_INLINE float raw_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
RNNKERNELS_INLINE double raw_fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
RNNKERNELS_INLINE float raw_sqrt(float x) { return __builtin_sqrtf(x); }
RNNKERNELS_INLINE double raw_sqrt(double x) { return __builtin_sqrt(x); }

template <class T>
struct Vec {
    using Lane = T;
    using BitsLane = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    using Bits = BitsLane;
    static constexpr int lanes = 1;

    T raw;

    Vec() = default;
    RNNKERNELS_INLINE Vec(T value) : raw(value) {}

    RNNKERNELS_INLINE Bits bits() const { return __builtin_bit_cast(Bits, raw); }
    static RNNKERNELS_INLINE Vec from_bits(Bits bits) { return Vec(__builtin_bit_cast(T, bits)); }

    friend RNNKERNELS_INLINE Vec operator+(Vec a, Vec b) { return Vec(a.raw + b.raw); }
    friend RNNKERNELS_INLINE Vec operator-(Vec a, Vec b) { return Vec(a.raw - b.raw); }
    friend RNNKERNELS_INLINE Vec operator*(Vec a, Vec b) { return Vec(a.raw * b.raw); }
    friend RNNKERNELS_INLINE Vec operator/(Vec a, Vec b) { return Vec(a.raw / b.raw); }
    friend RNNKERNELS_INLINE Vec operator-(Vec a) { return Vec(-a.raw); }

    // a*b + c, rounded once.
    friend RNNKERNELS_INLINE Vec fma(Vec a, Vec b, Vec c) { return Vec(raw_fma(a.raw, b.raw, c.raw)); }

    // x held inside [low, high]; a NaN stays a NaN.
    friend RNNKERNELS_INLINE Vec clamp(Vec x, Vec low, Vec high) {
        const T above = low.raw > x.raw ? low.raw : x.raw;
        return Vec(high.raw < above ? high.raw : above);
    }
    // `value` where x > 0, elsewhere (where x is a NaN, too) `otherwise`, or 0.
    friend RNNKERNELS_INLINE Vec where_positive(Vec x, Vec value, Vec otherwise) {
        return Vec(x.raw > T(0) ? value.raw : otherwise.raw);
    }
    friend RNNKERNELS_INLINE Vec where_positive(Vec x, Vec value) { return where_positive(x, value, Vec(T(0))); }
    // `value` where |x| < limit or is a NaN, elsewhere 0.
    friend RNNKERNELS_INLINE Vec where_inside(Vec x, Vec limit, Vec value) {
        return Vec(x.raw >= limit.raw || x.raw <= -limit.raw ? T(0) : value.raw);
    }
    // max(0, x); a NaN stays a NaN.
    friend RNNKERNELS_INLINE Vec relu(Vec x) { return Vec(x.raw < T(0) ? T(0) : x.raw); }
    // The larger of the two; a NaN where either is one.
    friend RNNKERNELS_INLINE Vec max(Vec a, Vec b) {
        const T larger = a.raw > b.raw ? a.raw : b.raw;
        return Vec(a.raw == a.raw ? larger : a.raw);
    }
    // The smaller of the two; a NaN where either is one.
    friend RNNKERNELS_INLINE Vec min(Vec a, Vec b) {
        const T smaller = a.raw < b.raw ? a.raw : b.raw;
        return Vec(a.raw == a.raw ? smaller : a.raw);
    }
    // `yes` where a > b, a >= b, a == b, elsewhere (where either is a NaN, too) `no`.
    friend RNNKERNELS_INLINE Vec where_gt(Vec a, Vec b, Vec yes, Vec no) { return a.raw > b.raw ? yes : no; }
    friend RNNKERNELS_INLINE Vec where_ge(Vec a, Vec b, Vec yes, Vec no) { return a.raw >= b.raw ? yes : no; }
    friend RNNKERNELS_INLINE Vec where_eq(Vec a, Vec b, Vec yes, Vec no) { return a.raw == b.raw ? yes : no; }
    // The root, rounded as IEEE 754 says; a NaN below zero.
    friend RNNKERNELS_INLINE Vec sqrt(Vec x) { return Vec(raw_sqrt(x.raw)); }
    friend RNNKERNELS_INLINE Vec abs(Vec x) { return from_bits(x.bits() & static_cast<BitsLane>(~BitsLane{} >> 1)); }
    // x with the sign of `sign`.
    friend RNNKERNELS_INLINE Vec copysign(Vec x, Vec sign) {
        return from_bits(abs(x).bits() | (sign.bits() ^ abs(sign).bits()));
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
