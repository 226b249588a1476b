// The maths of a cell that is a program in a resident backward (backward_maths.h), with the loads and stores of
// program_bodies.h.
#pragma once

#include "../program_bodies.h"
#include "backward_maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// `states`: as many as kept has, before the step and after it. Columns from `first_hidden` on are what is multiplied,
// and those from `first_fed` on, of gates that multiply vectors.
struct ResidentProgramBackwardAt : ProgramBackwardAt<float, false> {
    const V* kept;
    V product;
    bool follows;
    V *carried, *du;
    int states, first_hidden, hiddens, first_fed = 0, feds = 0;

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
        if (column >= first_fed && column < first_fed + feds) du[hiddens + column - first_fed] = value;
    }
    RNNKERNELS_INLINE void set_d_state(int k, V value) const { carried[k] = value; }
};

// What comes to vectors that a step read; the row is that step's.
struct ResidentProgramFedBackwardAt : ProgramBackwardAt<float, true> {
    const V *before, *d_fed;
    V* carried;

    RNNKERNELS_INLINE V get_state(int k) const { return before[k]; }
    RNNKERNELS_INLINE V get_new(int k) const { return before[k]; }
    RNNKERNELS_INLINE V get_d_new(int k, int) const { return carried[k]; }
    RNNKERNELS_INLINE V get_d_vector(int k, int) const { return d_fed[k]; }
    RNNKERNELS_INLINE void set_d_new(int k, V value) const { carried[k] = value; }
};

// Program::run(call, at): its instructions. Program::hidden_count(call), state_count(call), saved_count(call),
// first_hidden(call): the program's; hiddens, states, saved: those or, where programs are interpreted, the most. Of
// vectors that are fed back: fed_count(call), first_fed(call): a column; where there are some Program::feed(call, at),
// vectors, feds.
template <class Program>
inline constexpr int vectors_of = 0;
template <class Program>
    requires requires { Program::vectors; }
inline constexpr int vectors_of<Program> = Program::vectors;
template <class Program>
inline constexpr int feds_of = 0;
template <class Program>
    requires requires { Program::feds; }
inline constexpr int feds_of<Program> = Program::feds;

template <class Program>
struct ResidentProgramBackward {
    using V = Vec<float>;
    static constexpr int exchanges = 1, hiddens = Program::hiddens, states = Program::states;
    static constexpr int vectors = vectors_of<Program>, feds = feds_of<Program>;
    static constexpr int kept = 2 * states + 1 + Program::saved;
    RNNKERNELS_INLINE static constexpr int hidden_count(const ResidentBackwardCall& call) {
        return Program::hidden_count(call);
    }
    RNNKERNELS_INLINE static constexpr int state_count(const ResidentBackwardCall& call) {
        return Program::state_count(call);
    }
    RNNKERNELS_INLINE static constexpr int fed_count(const ResidentBackwardCall& call) {
        return Program::fed_count(call);
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
                                                     hidden_count(call),
                                                     Program::first_fed(call),
                                                     fed_count(call)});
    }
    RNNKERNELS_INLINE static void join(const ResidentBackwardCall& call, const ResidentPlace& at, const V* before,
                                       const V* d_fed, V* carried) {
        if constexpr (vectors > 0)
            Program::feed(call, ResidentProgramFedBackwardAt{{call.a, at.row, at.unit}, before, d_fed, carried});
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
