// The maths of a cell that is a program in a resident backward whose step has two products
// (two_products_backward_warp.h).
#pragma once

#include "backward_program_maths.h"
#include "operands.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The first half: du is the gated product's.
struct ResidentProgramStateBackwardAt : ResidentProgramBackwardAt {
    V* d;  // of every column

    RNNKERNELS_INLINE void set_slot(int column, int columns, V value) const {
        ResidentProgramBackwardAt::set_slot(column, columns, value);
        d[column] = value;
    }
};

// The second: `product` is dL/d(the gated state).
struct ResidentProgramGatesBackwardAt : ResidentProgramBackwardAt {
    const V* d;    // the first half's, rounded
    float factor;  // of the gated state

    RNNKERNELS_INLINE V get_slot(int column, int) const { return d[column]; }
    RNNKERNELS_INLINE V get_d_state(int k) const { return carried[k]; }
    RNNKERNELS_INLINE V get_d_made() const { return product; }
    RNNKERNELS_INLINE void set_made(V value) const { ResidentProgramBackwardAt::set_made(value * V(factor)); }
};

// Program::state(call, at), gates(call, at): the instructions of a half. gateds, columns: numbers of the gated product
// and of all gate gradients, or the most of them; gated_count(call), column_count(call), first_gated(call).
template <class Program>
struct TwoProductsProgramBackward : ResidentProgramBackward<Program> {
    using V = Vec<float>;
    static constexpr int exchanges = 2, gateds = Program::gateds, between = Program::columns;
    // The first half may leave something else in the place of dL/ds.
    static constexpr bool past_is_late = true;
    RNNKERNELS_INLINE static constexpr int gated_count(const ResidentBackwardCall& call) {
        return Program::gated_count(call);
    }

    template <class Stored>
    RNNKERNELS_INLINE static void state(const ResidentBackwardCall& call, const ResidentPlace& at, const V* kept,
                                        V product, bool follows, V* carried, V* d, V* du) {
        if (call.a.operand) Stored::set(call.a.operand, at.row * at.hidden + at.unit, kept[0].raw);
        RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < Program::column_count(call); ++i) d[i] = V(0.0F);
        Program::state(call, ResidentProgramStateBackwardAt{{{call.a, at.row, at.unit},
                                                             kept,
                                                             product,
                                                             follows,
                                                             carried,
                                                             du,
                                                             Program::state_count(call),
                                                             Program::first_gated(call),
                                                             Program::gated_count(call)},
                                                            d});
        RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < Program::column_count(call); ++i) d[i] = V(as_kept<Stored>(d[i].raw));
    }
    template <class Stored>
    RNNKERNELS_INLINE static void gates(const ResidentBackwardCall& call, const ResidentPlace& at, const V* kept,
                                        V d_gated, V* carried, const V* d, V* du) {
        const int first = Program::first_hidden(call), count = Program::hidden_count(call);
        RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < count; ++i) du[i] = d[first + i];
        const int first_fed = Program::first_fed(call), feds = Program::fed_count(call);
        RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < feds; ++i) du[count + i] = d[first_fed + i];
        Program::gates(call, ResidentProgramGatesBackwardAt{{{call.a, at.row, at.unit},
                                                             kept,
                                                             d_gated,
                                                             false,
                                                             carried,
                                                             du,
                                                             Program::state_count(call),
                                                             first,
                                                             count,
                                                             first_fed,
                                                             feds},
                                                            d,
                                                            at.factor});
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
