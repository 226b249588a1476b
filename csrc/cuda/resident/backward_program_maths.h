// The maths of a cell that is a program in a resident backward (backward_maths.h), with the loads and stores of
// program_bodies.h.
#pragma once

#include "../program_bodies.h"
#include "backward_maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// `states`: as many as kept has, before the step and after it. Columns from `first_hidden` on are what is multiplied.
struct ResidentProgramBackwardAt : ProgramBackwardAt<float, false> {
    const V* kept;
    V product;
    bool follows;
    V *carried, *du;
    int states, first_hidden, hiddens;

    RNNKERNELS_INLINE V get_state(int k) const { return kept[k]; }
    RNNKERNELS_INLINE V get_new(int k) const { return kept[states + k]; }
    RNNKERNELS_INLINE V get_saved(int k) const { return kept[2 * states + 1 + k]; }
    RNNKERNELS_INLINE V get_d_new(int k, int) const {
        if (k > 0) return carried[k];
        const V d = follows ? product + carried[0] : carried[0];
        return a.d_output ? kept[2 * states] + d : d;
    }
    RNNKERNELS_INLINE void set_slot(int column, int columns, V value) const {
        ProgramBackwardAt<float, false>::set_slot(column, columns, value);
        if (column >= first_hidden && column < first_hidden + hiddens) du[column - first_hidden] = value;
    }
    RNNKERNELS_INLINE void set_d_state(int k, V value) const { carried[k] = value; }
};

// Program::run(call, at): its instructions. Program::hidden_count(call), state_count(call), saved_count(call),
// first_hidden(call): the program's; hiddens, states, saved: those or, where programs are interpreted, the most.
template <class Program>
struct ResidentProgramBackward {
    using V = Vec<float>;
    static constexpr int exchanges = 1, hiddens = Program::hiddens, states = Program::states;
    static constexpr int kept = 2 * states + 1 + Program::saved;
    RNNKERNELS_INLINE static constexpr int hidden_count(const ResidentBackwardCall& call) {
        return Program::hidden_count(call);
    }
    RNNKERNELS_INLINE static constexpr int state_count(const ResidentBackwardCall& call) {
        return Program::state_count(call);
    }

    template <class Stored>
    RNNKERNELS_INLINE static void fetch(const ResidentBackwardCall& call, const ResidentPlace& at, bool follows,
                                        V* kept) {
        const int count = state_count(call);
        fetch_states<Stored>(call, at, count, follows, kept);
        const BackwardArrays<float>& a = call.a;
        const Index first = at.row * a.kept_row + at.unit;
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < Program::saved_count(call); ++k)
            kept[2 * count + 1 + k] = V(a.saved[first + k * at.hidden]);
    }
    template <class Stored>
    RNNKERNELS_INLINE static void step(const ResidentBackwardCall& call, const ResidentPlace& at, const V* kept,
                                       V product, bool follows, V* carried, V* du) {
        if (call.a.operand) Stored::set(call.a.operand, at.row * at.hidden + at.unit, kept[0].raw);
        Program::run(call, ResidentProgramBackwardAt{{call.a, at.row, at.unit},
                                                     kept,
                                                     product,
                                                     follows,
                                                     carried,
                                                     du,
                                                     state_count(call),
                                                     Program::first_hidden(call),
                                                     hidden_count(call)});
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
