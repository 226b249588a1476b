// The list of the operations that programs may have (recurrence/program.h): of each its name and what it computes of a,
// b, c and d, in one text for every instruction set, dtype and backend. An operation rounds as the same words of a
// built-in cell do, so that equal equations have equal bits. Not here: who runs them (operations.h on a CPU,
// cuda/program_bodies.h on a GPU).
#pragma once

#include "../math/functions.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// s (1 - s) and 1 - t^2: the slopes of sigmoid and tanh in terms of their values.
template <class V>
RNNKERNELS_INLINE V sigmoid_slope(V s) {
    return s * (V(1) - s);
}
template <class V>
RNNKERNELS_INLINE V tanh_slope(V t) {
    return fma(-t, t, V(1));
}

// use_n(name, expression) for each operation of n operands. A number, once given, is an operation's for as long as
// programs are made by another's table: new ones go to the end.
// clang-format off
#define RNNKERNELS_OPERATIONS(use_1, use_2, use_3, use_4) \
    use_1(copy, a) \
    use_2(add, a + b) \
    use_2(sub, a - b) \
    use_2(mul, a * b) \
    use_2(div, a / b) \
    use_1(neg, -a) \
    use_3(fma, fma(a, b, c)) \
    use_1(abs, abs(a)) \
    use_2(maximum, max(a, b)) \
    use_2(minimum, min(a, b)) \
    use_1(sqrt, sqrt(a)) \
    use_1(exp, exp(a)) \
    use_1(expm1, expm1(a)) \
    use_1(log, log(a)) \
    use_1(erf, erf(a)) \
    use_1(sigmoid, sigmoid(a)) \
    use_1(tanh, tanh(a)) \
    use_1(log_sigmoid, log_sigmoid(a)) \
    use_1(relu, relu(a)) \
    /* c or d: a NaN compares false. */ \
    use_4(where_gt, where_gt(a, b, c, d)) \
    use_4(where_ge, where_ge(a, b, c, d)) \
    use_4(where_eq, where_eq(a, b, c, d)) \
    /* What several of these make in one pass over the chunk. */ \
    use_3(fnma, fma(-a, b, c)) \
    use_3(fms, fma(a, b, -c)) \
    use_3(add3, (a + b) + c) \
    use_3(mul3, (a * b) * c) \
    use_1(one_minus, V(1) - a) \
    use_2(one_minus_mul, (V(1) - a) * b) \
    use_3(sub_mul, (a - b) * c) \
    use_3(lerp, fma(a, b - c, c)) \
    use_2(sigmoid_add, sigmoid(a + b)) \
    use_2(tanh_add, tanh(a + b)) \
    use_3(sigmoid_fma, sigmoid(fma(a, b, c))) \
    use_3(tanh_fma, tanh(fma(a, b, c))) \
    use_4(sigmoid_add_fma, sigmoid(fma(c, d, a + b))) \
    use_2(times_sigmoid_slope, a * sigmoid_slope(b)) \
    use_2(times_tanh_slope, a * tanh_slope(b)) \
    use_3(mul_sigmoid_slope, (a * b) * sigmoid_slope(c)) \
    use_3(mul_tanh_slope, (a * b) * tanh_slope(c)) \
    use_2(mul_tanh, a * tanh(b)) \
    use_4(fma_mul, fma(a, b, c * d)) \
    use_4(fma_tanh_slope, fma(a * b, tanh_slope(c), d)) \
    use_4(sub_mul_sigmoid_slope, ((a - b) * c) * sigmoid_slope(d)) \
    use_4(fnma_sigmoid_slope, fma(-a, b, c) * sigmoid_slope(d)) \
    use_4(fnma_tanh_slope, fma(-a, b, c) * tanh_slope(d))
// clang-format on

}  // namespace rnnkernels::RNNKERNELS_TARGET
