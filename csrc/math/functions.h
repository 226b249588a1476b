// exp, expm1, sigmoid, tanh, log_sigmoid, log and erf on vectors, for float and double.
//
// All but log start from one split, e^x = s (1 + m) with s = 2^n and m = e^r - 1, |r| <= ln2/2. Keeping 1 + m
// apart is what makes expm1, tanh and erf exact near zero and sigmoid exact far from it.
//
//   function      error, float / double   valid range                 outside
//   exp           1.1 / 1.1 ULP           |x| <= 87 / 708             the value at the nearer end
//   expm1         2.0 / 2.0 ULP           x <= 87 / 708               likewise
//   sigmoid       2.1 / 2.1 ULP           x >= -87 / -708             likewise
//   tanh          2.6 / 2.6 ULP           all x                       -
//   log_sigmoid   2.0 / 2.0 ULP           x <= 87 / 708               the value at the nearer end
//   log           1.0 / 1.0 ULP           all x                       -
//   erf           3.0 / 3.0 ULP           all x                       -
//
// exp(0) is exactly 1; NaN gives NaN. log(0) is -inf, log(inf) is inf, and log is a NaN below zero. Denormals are
// numbers like others, for log as well, unless the thread takes them as zeros (an engine's threads do): log is -inf
// there. tests/cpu/test_math.py measures exactly this table on every instruction set. The scalar set has no fused
// multiply-add and is held to twice these errors.
#pragma once

#include "vec.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Of one number: rounded as IEEE 754 says, on every set.
RNNKERNELS_INLINE float square_root(float value) { return __builtin_sqrtf(value); }
RNNKERNELS_INLINE double square_root(double value) { return __builtin_sqrt(value); }

// The polynomial with the coefficients Table::terms, from the constant on: Horner's rule from term i, by every step-th.
template <class Table, int i = 0, int step = 1, class V>
RNNKERNELS_INLINE V polynomial(V x) {
    constexpr typename V::Lane term = Table::terms[i];
    if constexpr (i + step >= static_cast<int>(sizeof(Table::terms) / sizeof(term)))
        return V(term);
    else
        return fma(polynomial<Table, i + step, step>(x), x, V(term));
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

// s m + (s - 1).
template <class T>
RNNKERNELS_INLINE Vec<T> expm1(Vec<T> x) {
    const ExpParts<T> e = split_exp(x);
    return fma(e.s, e.m, e.s - Vec<T>(T(1)));
}

// 1 / (1 + e^-x), with 1 + e^-x = s + s (m + 1/s).
template <class T>
RNNKERNELS_INLINE Vec<T> sigmoid(Vec<T> x) {
    const ExpParts<T> e = split_exp(-x);
    return Vec<T>(T(1)) / fma(e.s, e.m + e.inverse_s, e.s);
}

// t / (t + 2) with t = e^2x - 1.
template <class T>
RNNKERNELS_INLINE Vec<T> tanh(Vec<T> x) {
    const Vec<T> t = expm1(x + x);
    return t / (t + Vec<T>(T(2)));
}

// p(v) with log(1 + e) = t + t v p(v), v = t^2, for t = e / (1 + e/2) in [-2/3, 2/3]: twice the argument of an atanh,
// whose series is odd. Least squares with Lawson reweighting, relative error of the logarithm 2^-27.7 and 2^-59.4.
template <class T>
struct LogTable;

template <>
struct LogTable<float> {
    static constexpr std::uint32_t half_root = 0x3f3504f3U;  // the bits of sqrt(1/2)
    static constexpr std::uint32_t fraction = 0x007fffffU;
    static constexpr float bias = 127.0F;
    static constexpr float least = 0x1p-126F;  // below it are denormals, which log raises
    static constexpr float raise = 0x1p25F;
    static constexpr float raised_by = 25.0F;
    static constexpr float infinity = __builtin_inff();
    static constexpr float no_number = __builtin_nanf("");
    static constexpr float terms[] = {0.083333023F, 0.012506727F, 0.0021876406F, 0.00054710952F};
};

template <>
struct LogTable<double> {
    static constexpr std::uint64_t half_root = 0x3fe6a09e667f3bcdULL;
    static constexpr std::uint64_t fraction = 0x000fffffffffffffULL;
    static constexpr double bias = 1023.0;
    static constexpr double least = 0x1p-1022;
    static constexpr double raise = 0x1p54;
    static constexpr double raised_by = 54.0;
    static constexpr double infinity = __builtin_inf();
    static constexpr double no_number = __builtin_nan("");
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

// k log 2 + log(1 + f), x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)).
template <class T>
RNNKERNELS_INLINE Vec<T> log(Vec<T> x) {
    using V = Vec<T>;
    using E = ExpTable<T>;
    using L = LogTable<T>;
    const V raised = where_gt(V(L::least), x, x * V(L::raise), x);
    const V bias =
        where_gt(V(L::least), x, V(E::round_to_integer + (L::bias + L::raised_by)), V(E::round_to_integer + L::bias));
    // In these bits the exponent is k + bias, and the fraction is what 1 + f has beyond sqrt(1/2).
    const typename V::Bits bits = raised.bits() + (E::one - L::half_root);
    const V k = V::from_bits((bits >> E::exponent_shift) + V(E::round_to_integer).bits()) - bias;
    const V f = V::from_bits((bits & L::fraction) + L::half_root) - V(T(1));
    const V half = f * V(T(0.5));
    const V t = f / (half + V(T(1)));
    const V v = t * t;
    const V less = fma(k, V(-E::ln2_low), t * fma(-v, polynomial<L>(v), half));
    const V y = where_gt(V(L::infinity), x, fma(k, V(E::ln2_high), f - less), x);
    return where_gt(x, V(T(0)), y, where_eq(x, V(T(0)), V(-L::infinity), V(L::no_number)));
}

// q(a) with erf(a) = 1 - e^-aq(a), a in [0, limit]; beyond it erf is 1. Least squares with Lawson reweighting, relative
// error of erf 2^-27.9 and 2^-55.4.
template <class T>
struct ErfTable;

template <>
struct ErfTable<float> {
    static constexpr float limit = 4.0F;
    static constexpr float terms[] = {1.1283792F,    0.6366194F,      0.10277783F,    -0.019153059F, -0.0001604083F,
                                      0.0016670407F, -0.00063284463F, 0.00011764358F, -9.256539e-06F};
};

template <>
struct ErfTable<double> {
    static constexpr double limit = 5.9375;
    static constexpr double terms[] = {
        1.1283791670955126,      0.636619772367591,       0.10277260330131496,    -0.019128446993087984,
        -0.00020919485398741486, 0.0016962076702822756,   -0.0005901324319611522, 2.5904505176704737e-05,
        6.442046061140245e-05,   -2.9575650269117667e-05, 3.169652297112693e-06,  3.132978541550053e-06,
        -2.0371985134274227e-06, 5.706365684005004e-07,   -1.170887526056588e-08, -6.57339755537616e-08,
        3.458525300977195e-08,   -1.0773528068983885e-08, 2.3605659834686464e-09, -3.7608138871143934e-10,
        4.30192773240019e-11,    -3.3644802785505617e-12, 1.6149428561703565e-13, -3.592374708097903e-15};
};

// -expm1(-a q(a)) with the sign of x: one polynomial for all x, and a small x has a small error.
template <class T>
RNNKERNELS_INLINE Vec<T> erf(Vec<T> x) {
    using V = Vec<T>;
    using R = ErfTable<T>;
    const V a = clamp(abs(x), V(T(0)), V(R::limit));
    const V aa = a * a;
    // Two chains of half the length; the constant comes last, or its rounding would be one of two.
    const V q = fma(a, fma(a, polynomial<R, 2, 2>(aa), polynomial<R, 1, 2>(aa)), V(R::terms[0]));
    return copysign(expm1(-(a * q)), x);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
