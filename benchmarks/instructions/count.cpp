// count_instructions: one kernel under callgrind, which counts the instructions of `counted_call` and nothing else.
//
//   count_instructions                 the compiler it was built by, then the kernels, one name a line
//   count_instructions SET KERNEL      that one, once to warm up and once to be counted, on one thread
//
// `python -m benchmarks.instructions` runs it and judges the counts.
#include <cstdio>
#include <cstring>
#include <string>

#include "problem.h"

namespace {

using namespace native;
using rnnkernels::BackwardCall;
using rnnkernels::ForwardCall;

#if defined(__clang__)
const char* const compiler = __VERSION__;
#else
const char* const compiler = "GCC " __VERSION__;
#endif

enum class Mode { inference, training, backward };

struct Kernel {
    const char* name;
    const char* cell;
    Mode mode;
    Shape shape;  // T, B, I, H
    bool tokens;
};

// Few, small and different: what is heavy in each is another part of the engine.
const Kernel kernels[] = {
    {"lstm inference T10 B1 I64 H64", "lstm", Mode::inference, {10, 1, 64, 64}, false},
    {"lstm inference T4 B16 I128 H128", "lstm", Mode::inference, {4, 16, 128, 128}, false},
    {"lstm tokens T20 B4 I50 H96", "lstm", Mode::inference, {20, 4, 50, 96}, true},
    {"lstm backward T4 B16 I128 H128", "lstm", Mode::backward, {4, 16, 128, 128}, false},
    {"lstm packing T1 B1 I256 H256", "lstm", Mode::inference, {1, 1, 256, 256}, false},
    {"gru step T1 B1 I64 H64", "gru", Mode::inference, {1, 1, 64, 64}, false},
    {"gru training T8 B4 I64 H64", "gru", Mode::training, {8, 4, 64, 64}, false},
    {"gru_reset_before training T5 B8 I100 H100", "gru_reset_before", Mode::training, {5, 8, 100, 100}, false},
    {"rnn_tanh inference T50 B2 I17 H33", "rnn_tanh", Mode::inference, {50, 2, 17, 33}, false},
    {"rnn_relu backward T50 B1 I64 H64", "rnn_relu", Mode::backward, {50, 1, 64, 64}, false},
    {"ligru backward T50 B1 I64 H64", "ligru", Mode::backward, {50, 1, 64, 64}, false},
    {"mut1 backward T50 B1 I64 H64", "mut1", Mode::backward, {50, 1, 64, 64}, false},
    {"gru_layer_norm backward T50 B1 I64 H64", "gru_layer_norm", Mode::backward, {50, 1, 64, 64}, false},
    {"lstm_layer_norm backward T50 B1 I64 H64", "lstm_layer_norm", Mode::backward, {50, 1, 64, 64}, false},
};

struct Work {
    int set;
    int cell;
    Mode mode;
    ForwardCall forward;
    BackwardCall backward;
};

void run(const Work& work) {
    if (work.mode != Mode::backward) backend().forward(work.set, work.cell, Dtype::float32, work.forward);
    if (work.mode != Mode::inference) backend().backward(work.set, work.cell, Dtype::float32, work.backward);
}

// callgrind finds it by its name; the empty statement keeps the compiler from leaving it by a jump.
extern "C" __attribute__((noinline)) void counted_call(const Work& work) {
    run(work);
    asm volatile("" ::: "memory");
}

int find_cell(const char* name) {
    for (int i = 0; i < backend().cell_count(); ++i)
        if (std::strcmp(backend().cell(i).name, name) == 0) return i;
    return -1;
}

int find_set(const char* name) {
    for (int i = 0; i < backend().set_count(); ++i)
        if (std::strcmp(backend().set_name(i), name) == 0) return i;
    return -1;
}

void count(const Kernel& kernel, int set) {
    const auto p = make_problem<float>(find_cell(kernel.cell), kernel.shape, {true, kernel.tokens, true, true, false});
    Results<float> made, gradients;
    Work work{set, p.cell, kernel.mode, forward_call(set, p, kernel.mode != Mode::inference, made), {}};
    if (kernel.mode != Mode::inference) work.backward = backward_call(p, work.forward, gradients);
    backend().set_num_threads(1);
    backend().forward(set, p.cell, Dtype::float32, work.forward);
    run(work);
    counted_call(work);
}

}  // namespace

int main(int argument_count, char** arguments) {
    if (argument_count == 1) {
        std::printf("%s\n", compiler);
        for (const Kernel& kernel : kernels) std::printf("%s\n", kernel.name);
        return 0;
    }
    const int set = argument_count == 3 ? find_set(arguments[1]) : -1;
    if (set < 0) {
        std::fprintf(stderr, "usage: count_instructions [SET KERNEL], SET one of this machine's and this build's\n");
        return 2;
    }
    for (const Kernel& kernel : kernels)
        if (std::strcmp(arguments[2], kernel.name) == 0) {
            count(kernel, set);
            return 0;
        }
    std::fprintf(stderr, "count_instructions: no kernel '%s'\n", arguments[2]);
    return 2;
}
