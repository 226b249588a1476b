// exp, sigmoid, tanh and log_sigmoid on vectors, for float and double.
//
// All start from one split, e^x = s (1 + m) with s = 2^n and m = e^r - 1, |r| <= ln2/2. Keeping 1 + m
// apart is what makes tanh exact near zero and sigmoid exact far from it.
//
//   function      error, float / double   valid range                 outside
//   exp           1.1 / 1.1 ULP           |x| <= 87 / 708             the value at the nearer end
//   sigmoid       2.1 / 2.1 ULP           x >= -87 / -708             likewise
//   tanh          2.6 / 2.6 ULP           all x                       -
//   log_sigmoid   2.0 / 2.0 ULP           x <= 87 / 708               the value at the nearer end
//
// exp(0) is exactly 1; NaN gives NaN. tests/test_math.py measures exactly this table on every instruction set. The
// scalar set has no fused multiply-add and is held to twice these errors.
#pragma once

#include "vec.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Of one number: rounded as IEEE 754 says, on every set.
RNNKERNELS_INLINE float square_root(float value) { return __builtin_sqrtf(value); }
RNNKERNELS_INLINE double square_root(double value) { return __builtin_sqrt(value); }

// The polynomial with the coefficients Table::terms, from the constant on: Horner's rule from term i.
template <class Table, int i = 0, class V>
RNNKERNELS_INLINE V polynomial(V x) {
    constexpr typename V::Lane term = Table::terms[i];
    if constexpr (i + 1 == sizeof(Table::terms) / sizeof(term))
        return V(term);
    else
        return fma(polynomial<Table, i + 1>(x), x, V(term));
}

template <class T>
struct ExpTable;

// q(r) with e^r - 1 = r + r^2 q(r): least squares with Lawson reweighting, error 2^-26.1.
template <>
struct ExpTable<float> {
    static constexpr float limit = 87.0F;
    static constexpr float round_to_integer = 12582912.0F;  // 1.5 * 2^23: adding it leaves n in the low bits
    static constexpr float log2_e = 1.44269504088896340736F;
    static constexpr float ln2_high = 0.693359375F;  // few enough bits that n * ln2_high is exact
    static constexpr float ln2_low = -2.12194440054690583e-4F;
    static constexpr int exponent_shift = 23;
    static constexpr std::uint32_t one = 0x3f800000U;
    static constexpr std::uint32_t twice_bias = 0x7f000000U;  // bits(2^n) + bits(2^-n)
    static constexpr float terms[] = {0.5F, 0.16666541993618011F, 0.04166628047823906F, 0.008366710506379604F,
                                      0.0013946667313575745F};
};

// The Taylor series to r^13/13!: its remainder, 4e-18, is below half an ULP of the sum.
template <>
struct ExpTable<double> {
    static constexpr double limit = 708.0;
    static constexpr double round_to_integer = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr double log2_e = 1.44269504088896340736;
    static constexpr double ln2_high = 6.93147180369123816490e-01;
    static constexpr double ln2_low = 1.90821492927058770002e-10;
    static constexpr int exponent_shift = 52;
    static constexpr std::uint64_t one = 0x3ff0000000000000ULL;
    static constexpr std::uint64_t twice_bias = 0x7fe0000000000000ULL;
    static constexpr double terms[] = {1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,
                                       1.0 / 720,     1.0 / 5040,     1.0 / 40320,     1.0 / 362880,
                                       1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
};

template <class T>
struct ExpParts {
    Vec<T> s;          // 2^n
    Vec<T> inverse_s;  // 2^-n
    Vec<T> m;          // e^r - 1
};

template <class T>
RNNKERNELS_INLINE ExpParts<T> split_exp(Vec<T> x) {
    using V = Vec<T>;
    using E = ExpTable<T>;
    x = clamp(x, V(-E::limit), V(E::limit));
    const V shifted = fma(x, V(E::log2_e), V(E::round_to_integer));
    const V n = shifted - V(E::round_to_integer);
    V r = fma(n, V(-E::ln2_high), x);
    r = fma(n, V(-E::ln2_low), r);
    const V q = polynomial<E>(r);
    const V m = fma(r * r, q, r);
    const typename V::Bits s = (shifted.bits() << E::exponent_shift) + E::one;
    return {V::from_bits(s), V::from_bits(E::twice_bias - s), m};
}

template <class T>
RNNKERNELS_INLINE Vec<T> exp(Vec<T> x) {
    const ExpParts<T> e = split_exp(x);
    return fma(e.s, e.m, e.s);
}

// 1 / (1 + e^-x), with 1 + e^-x = s + s (m + 1/s).
template <class T>
RNNKERNELS_INLINE Vec<T> sigmoid(Vec<T> x) {
    const ExpParts<T> e = split_exp(-x);
    return Vec<T>(T(1)) / fma(e.s, e.m + e.inverse_s, e.s);
}

// t / (t + 2) with t = e^2x - 1 = s m + (s - 1).
template <class T>
RNNKERNELS_INLINE Vec<T> tanh(Vec<T> x) {
    const ExpParts<T> e = split_exp(x + x);
    const Vec<T> t = fma(e.s, e.m, e.s - Vec<T>(T(1)));
    return t / (t + Vec<T>(T(2)));
}

// p(v) with log(1 + e) = t + t v p(v), v = t^2, for t = e / (1 + e/2) in [0, 2/3]: half the argument of an atanh,
// whose series is odd. Least squares with Lawson reweighting, relative error of the logarithm 2^-27.7 and 2^-59.4.
template <class T>
struct LogTable;

template <>
struct LogTable<float> {
    static constexpr float terms[] = {0.083333023F, 0.012506727F, 0.0021876406F, 0.00054710952F};
};

template <>
struct LogTable<double> {
    static constexpr double terms[] = {0.08333333333333288,   0.012500000000048484,  0.0022321428553214446,
                                       0.0004340278115981552, 8.877804918791024e-05, 1.8782407829650212e-05,
                                       4.059179739755923e-06, 9.235346814805745e-07, 1.591670003298842e-07,
                                       8.110915110570806e-08};
};

// min(x, 0) - log(1 + e^-|x|), with t + t v p = e - t (e/2 - v p): the errors of t and p weigh little where e is small.
template <class T>
RNNKERNELS_INLINE Vec<T> log_sigmoid(Vec<T> x) {
    using V = Vec<T>;
    using L = LogTable<T>;
    const V e = exp(-abs(x));
    const V half = e * V(T(0.5));
    const V t = e / (half + V(T(1)));
    const V v = t * t;
    return -(relu(-x) + fma(-t, fma(-v, polynomial<L>(v), half), e));
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
