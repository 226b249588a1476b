// The maths of a cell that is a program in a resident kernel (maths.h), with the loads and stores of program_bodies.h.
#pragma once

#include "../program_bodies.h"
#include "maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct ResidentProgramAt : ProgramForwardAt<float> {
    const V *x, *u, *bias, *now;
    V* next;
    int first_fed;  // of u and bias

    RNNKERNELS_INLINE V get_input(int i, int) const { return x[i]; }
    RNNKERNELS_INLINE V get_hidden(int i, int, int) const { return u[i] + bias[i]; }
    RNNKERNELS_INLINE V get_fed(int i, int, int) const { return u[first_fed + i] + bias[first_fed + i]; }
    RNNKERNELS_INLINE V get_state(int k) const { return now[k]; }
    RNNKERNELS_INLINE V get_new(int k) const { return now[k]; }
    RNNKERNELS_INLINE void set_new(int k, V value) const {
        next[k] = value;
        store_kept(k, value);
    }
};

// What is fed back, of the states as they are before a step.
struct ResidentProgramFedAt : ProgramForwardAt<float> {
    const V* now;
    V* fed;

    RNNKERNELS_INLINE V get_state(int k) const { return now[k]; }
    RNNKERNELS_INLINE V get_new(int k) const { return now[k]; }
    RNNKERNELS_INLINE void set_vector(int k, int, V value) const { fed[k] = value; }
};

// Program::run(call, at): its instructions. Program::input_count(call), hidden_count(call), state_count(call): how many
// there are; inputs, hiddens, states: those or, where programs are interpreted, the most that one may have. Of vectors
// that are fed back: Program::feed(call, at), vectors, first_fed(call), fed_count(call).
template <class Program>
struct ResidentProgramMaths {
    using V = Vec<float>;
    static constexpr int exchanges = 1, inputs = Program::inputs, hiddens = Program::hiddens, states = Program::states;
    static constexpr int vectors = Program::vectors;
    RNNKERNELS_INLINE static constexpr int state_count(const ResidentCall& call) { return Program::state_count(call); }

    RNNKERNELS_INLINE static void begin(const ResidentCall& call, Index unit, V* bias) {
        const ForwardArrays<float>& a = call.a;
        RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < Program::hidden_count(call); ++i)
            bias[i] = V(a.bias_u ? a.bias_u[(call.gate_row[i] - call.gate_row[0]) * a.hidden + unit] : 0.0F);
        if constexpr (vectors > 0) {
            const int first = Program::first_fed(call);
            RNNKERNELS_IN_REGISTERS
            for (int i = first; i < first + Program::fed_count(call); ++i)
                bias[i] =
                    V(a.bias_fed ? a.bias_fed[(call.gate_row[i] - call.gate_row[first]) * a.hidden + unit] : 0.0F);
        }
    }
    RNNKERNELS_INLINE static void fetch(const ResidentCall& call, Index row, Index of_batch, Index unit, V* x) {
        RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < Program::input_count(call); ++i)
            x[i] = ProgramForwardAt<float>{call.a, row, unit, of_batch}.get_input(i, Program::input_count(call));
    }
    RNNKERNELS_INLINE static void step(const ResidentCall& call, Index row, Index of_batch, Index unit, const V* x,
                                       const V* u, const V* bias, const V* now, V* next) {
        Program::run(call,
                     ResidentProgramAt{{call.a, row, unit, of_batch}, x, u, bias, now, next, Program::first_fed(call)});
    }
    RNNKERNELS_INLINE static void keep(const ResidentCall& call, Index row, Index of_batch, Index unit, const V* next) {
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < Program::state_count(call); ++k)
            ProgramForwardAt<float>{call.a, row, unit, of_batch}.store_kept(k, next[k]);
    }
    RNNKERNELS_INLINE static void feed(const ResidentCall& call, Index row, Index of_batch, Index unit, const V* now,
                                       V* fed) {
        if constexpr (vectors > 0) Program::feed(call, ResidentProgramFedAt{{call.a, row, unit, of_batch}, now, fed});
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
