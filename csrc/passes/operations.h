// The operations of programs (recurrence/program.h): of each its name and what it computes, one text for every
// instruction set and dtype. Each is compiled to one loop over the vectors of a chunk. An operation rounds as the same
// words of a built-in cell do, so that equal equations have equal bits. Not here: what a chunk is (program_pass.cpp).
#pragma once

#include <utility>

#include "../math/functions.h"

#include "../recurrence/program.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Where the vectors of an operand or a result begin, and how far apart they stand.
template <class T>
struct Line {
    T* at;
    Index step;
};

// An instruction: its operation's loop, and the numbers of its lines.
template <class T>
struct Step {
    void (*run)(const Step& step, const Line<T>* lines, Index count);
    unsigned char out, in[kMostOperands];
};

template <class T, class Function, std::size_t... operand>
RNNKERNELS_INLINE void run_loop(const Step<T>& step, const Line<T>* lines, Index count,
                                std::index_sequence<operand...>) {
    using V = Vec<T>;
    const T* from[] = {lines[step.in[operand]].at...};
    const Index apart[] = {lines[step.in[operand]].step...};
    T* to = lines[step.out].at;
    const Index to_apart = lines[step.out].step;
    for (; count > 0; --count) {
        Function{}(V::load(from[operand])...).store(to);
        to += to_apart;
        ((from[operand] += apart[operand]), ...);
    }
}

template <class T, int operands, class Function>
void run_operation(const Step<T>& step, const Line<T>* lines, Index count) {
    run_loop<T, Function>(step, lines, count, std::make_index_sequence<operands>{});
}

template <class T>
struct Operation {
    const char* name;
    int operands;
    void (*run)(const Step<T>& step, const Line<T>* lines, Index count);
};

template <int operands, class T, class Function>
constexpr Operation<T> operation(const char* name, Function) {
    return {name, operands, run_operation<T, operands, Function>};
}

// s (1 - s) and 1 - t^2: the slopes of sigmoid and tanh in terms of their values.
template <class V>
RNNKERNELS_INLINE V sigmoid_slope(V s) {
    return s * (V(1) - s);
}
template <class V>
RNNKERNELS_INLINE V tanh_slope(V t) {
    return fma(-t, t, V(1));
}

inline constexpr int kCopy = 0;  // the operation's number

#define RNNKERNELS_1(name, ...) operation<1, T>(name, [](V a) RNNKERNELS_INLINED { return __VA_ARGS__; })
#define RNNKERNELS_2(name, ...) operation<2, T>(name, [](V a, V b) RNNKERNELS_INLINED { return __VA_ARGS__; })
#define RNNKERNELS_3(name, ...) operation<3, T>(name, [](V a, V b, V c) RNNKERNELS_INLINED { return __VA_ARGS__; })
#define RNNKERNELS_4(name, ...) operation<4, T>(name, [](V a, V b, V c, V d) RNNKERNELS_INLINED { return __VA_ARGS__; })

// A number, once given, is an operation's for as long as programs are made by another's table: new ones go to the end.
template <class T, class V = Vec<T>>
inline constexpr Operation<T> kOperations[] = {
    RNNKERNELS_1("copy", a),
    RNNKERNELS_2("add", a + b),
    RNNKERNELS_2("sub", a - b),
    RNNKERNELS_2("mul", a* b),
    RNNKERNELS_2("div", a / b),
    RNNKERNELS_1("neg", -a),
    RNNKERNELS_3("fma", fma(a, b, c)),
    RNNKERNELS_1("abs", abs(a)),
    RNNKERNELS_2("maximum", max(a, b)),
    RNNKERNELS_2("minimum", min(a, b)),
    RNNKERNELS_1("sqrt", sqrt(a)),
    RNNKERNELS_1("exp", exp(a)),
    RNNKERNELS_1("expm1", expm1(a)),
    RNNKERNELS_1("log", log(a)),
    RNNKERNELS_1("erf", erf(a)),
    RNNKERNELS_1("sigmoid", sigmoid(a)),
    RNNKERNELS_1("tanh", tanh(a)),
    RNNKERNELS_1("log_sigmoid", log_sigmoid(a)),
    RNNKERNELS_1("relu", relu(a)),
    // c or d: a NaN compares false.
    RNNKERNELS_4("where_gt", where_gt(a, b, c, d)),
    RNNKERNELS_4("where_ge", where_ge(a, b, c, d)),
    RNNKERNELS_4("where_eq", where_eq(a, b, c, d)),
    // What several of these make in one pass over the chunk.
    RNNKERNELS_3("fnma", fma(-a, b, c)),
    RNNKERNELS_3("fms", fma(a, b, -c)),
    RNNKERNELS_3("add3", (a + b) + c),
    RNNKERNELS_3("mul3", (a * b) * c),
    RNNKERNELS_1("one_minus", V(1) - a),
    RNNKERNELS_2("one_minus_mul", (V(1) - a) * b),
    RNNKERNELS_3("sub_mul", (a - b) * c),
    RNNKERNELS_3("lerp", fma(a, b - c, c)),
    RNNKERNELS_2("sigmoid_add", sigmoid(a + b)),
    RNNKERNELS_2("tanh_add", tanh(a + b)),
    RNNKERNELS_3("sigmoid_fma", sigmoid(fma(a, b, c))),
    RNNKERNELS_3("tanh_fma", tanh(fma(a, b, c))),
    RNNKERNELS_4("sigmoid_add_fma", sigmoid(fma(c, d, a + b))),
    RNNKERNELS_2("times_sigmoid_slope", a* sigmoid_slope(b)),
    RNNKERNELS_2("times_tanh_slope", a* tanh_slope(b)),
    RNNKERNELS_3("mul_sigmoid_slope", (a * b) * sigmoid_slope(c)),
    RNNKERNELS_3("mul_tanh_slope", (a * b) * tanh_slope(c)),
};
template <class T>
inline constexpr int kOperationCount = static_cast<int>(sizeof(kOperations<T>) / sizeof(Operation<T>));

#undef RNNKERNELS_1
#undef RNNKERNELS_2
#undef RNNKERNELS_3
#undef RNNKERNELS_4

}  // namespace rnnkernels::RNNKERNELS_TARGET
