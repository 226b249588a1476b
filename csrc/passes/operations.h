// The operations of programs (operation_list.h), each compiled to one loop over the vectors of a chunk. Not here: what
// a chunk is (chunk.h).
#pragma once

#include <utility>

#include "../recurrence/program.h"
#include "operation_list.h"

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

inline constexpr int kCopy = 0;  // the operation's number

#define RNNKERNELS_1(name, ...) operation<1, T>(#name, [](V a) RNNKERNELS_INLINED { return __VA_ARGS__; }),
#define RNNKERNELS_2(name, ...) operation<2, T>(#name, [](V a, V b) RNNKERNELS_INLINED { return __VA_ARGS__; }),
#define RNNKERNELS_3(name, ...) operation<3, T>(#name, [](V a, V b, V c) RNNKERNELS_INLINED { return __VA_ARGS__; }),
#define RNNKERNELS_4(name, ...) \
    operation<4, T>(#name, [](V a, V b, V c, V d) RNNKERNELS_INLINED { return __VA_ARGS__; }),

template <class T, class V = Vec<T>>
inline constexpr Operation<T> kOperations[] = {
    RNNKERNELS_OPERATIONS(RNNKERNELS_1, RNNKERNELS_2, RNNKERNELS_3, RNNKERNELS_4)};
template <class T>
inline constexpr int kOperationCount = static_cast<int>(sizeof(kOperations<T>) / sizeof(Operation<T>));

#undef RNNKERNELS_1
#undef RNNKERNELS_2
#undef RNNKERNELS_3
#undef RNNKERNELS_4

}  // namespace rnnkernels::RNNKERNELS_TARGET
