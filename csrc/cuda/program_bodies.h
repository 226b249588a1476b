// What a thread of a cell that is a program loads and stores: for one unit of one row, in the phases of
// recurrence/program.h; and the operations between the two. One text for source that is made of a program and compiled
// at run time (program_source.h), and for a program that is run instruction by instruction where there is no GPU. It
// compiles by itself, with no header of a system's but standard.h's. Not here: the bodies of built-in cells
// (forward_bodies.h, backward_bodies.h).
#pragma once

#include "../passes/operation_list.h"
#include "arrays.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The operations as functions.
#define RNNKERNELS_1(name, ...)                 \
    template <class V>                          \
    RNNKERNELS_INLINE V operation_##name(V a) { \
        return __VA_ARGS__;                     \
    }
#define RNNKERNELS_2(name, ...)                      \
    template <class V>                               \
    RNNKERNELS_INLINE V operation_##name(V a, V b) { \
        return __VA_ARGS__;                          \
    }
#define RNNKERNELS_3(name, ...)                           \
    template <class V>                                    \
    RNNKERNELS_INLINE V operation_##name(V a, V b, V c) { \
        return __VA_ARGS__;                               \
    }
#define RNNKERNELS_4(name, ...)                                \
    template <class V>                                         \
    RNNKERNELS_INLINE V operation_##name(V a, V b, V c, V d) { \
        return __VA_ARGS__;                                    \
    }
RNNKERNELS_OPERATIONS(RNNKERNELS_1, RNNKERNELS_2, RNNKERNELS_3, RNNKERNELS_4)
#undef RNNKERNELS_1
#undef RNNKERNELS_2
#undef RNNKERNELS_3
#undef RNNKERNELS_4

// Where a unit's values lie in a forward. get_<kind>(index, ...) reads an operand, set_<kind>(index, ..., value) writes
// one; between them stand the numbers of the cell's table that place it. Every value is read before any is written.
template <class T>
struct ProgramForwardAt {
    using V = Vec<T>;

    const ForwardArrays<T>& a;
    Index row, unit;
    Index of_batch = row;  // the row of the batch; row: that of the arrays

    RNNKERNELS_INLINE V get_input(int i, int inputs) const {
        const Index column = i * a.hidden + unit;
        V x(T(__builtin_nanf("")));
        if (!a.table) {
            x = V(a.x_part[row * inputs * a.hidden + column]);
        } else {
            const std::int64_t token = a.tokens[a.place(row)];
            if (token >= 0 && token < a.input) x = V(a.table[token * inputs * a.hidden + column]);
        }
        if (a.bias_x) x = x + V(a.bias_x[column]);
        if (a.term) x = x + V(a.term[of_batch * inputs * a.hidden + column]);
        return x;
    }
    // x itself; of a token the vector that is 1 at its place.
    RNNKERNELS_INLINE V get_direct() const {
        const Index place = a.place(row);
        return a.x ? a.load(a.x, place * a.x_row + unit) : V(T(a.tokens[place] == unit ? 1 : 0));
    }
    // Gate i of `gates`, whose row of the bias is the bias_row-th from the first gate's on.
    RNNKERNELS_INLINE V get_hidden(int i, int gates, int bias_row) const {
        return product(a.u_part, a.bias_u, i, gates, bias_row);
    }
    RNNKERNELS_INLINE V get_fed(int i, int gates, int bias_row) const {
        return product(a.fed_part, a.bias_fed, i, gates, bias_row);
    }
    RNNKERNELS_INLINE V get_gated(int i, int gates, int bias_row) const {
        return product(a.gated_part, a.bias_gated, i, gates, bias_row);
    }
    RNNKERNELS_INLINE V get_weight(int k) const { return V(a.diagonal[k * a.hidden + unit]); }
    RNNKERNELS_INLINE V get_step(int k) const {
        return a.load(a.x, a.place(row) * a.x_row + a.input + k * a.hidden + unit);
    }
    RNNKERNELS_INLINE V get_state(int k) const { return V(a.states[k][at()]); }
    // Of what is fed back, where the states after the step are those before the next one.
    RNNKERNELS_INLINE V get_new(int k) const { return get_state(k); }
    RNNKERNELS_INLINE V get_saved(int k) const { return V(a.saved[row * a.kept_row + k * a.hidden + unit]); }

    RNNKERNELS_INLINE void set_saved(int k, V value) const {
        if (a.to_save) a.to_save[row * a.kept_row + k * a.hidden + unit] = value.raw;
    }
    RNNKERNELS_INLINE void set_new(int k, V value) const {
        if (a.made_states) {
            a.made_states[row * a.made_row + k * a.hidden + unit] = value.raw;
            return;
        }
        a.states[k][at()] = value.raw;
        if (k == 0 && a.operand && row < a.next) a.store(a.operand, at(), value);
        store_kept(k, value);
    }
    // Where the caller and a backward will find it.
    RNNKERNELS_INLINE void store_kept(int k, V value) const {
        if (k == 0)
            a.store(a.output, a.place(row) * a.hidden + unit, value);
        else if (a.kept_states)
            a.kept_states[row * a.kept_row + (k - 1) * a.hidden + unit] = value.raw;
    }
    RNNKERNELS_INLINE void set_made(V value) const { store_as<T>(a.made, a.made_dtype, at(), value.raw); }
    RNNKERNELS_INLINE void set_vector(int k, int vectors, V value) const {
        store_as<T>(a.fed, a.fed_dtype, (row * vectors + k) * a.hidden + unit, value.raw);
    }

private:
    RNNKERNELS_INLINE Index at() const { return row * a.hidden + unit; }
    RNNKERNELS_INLINE V product(const T* part, const T* bias, int i, int gates, int bias_row) const {
        const V u(part[(row * gates + i) * a.hidden + unit]);
        return bias ? u + V(bias[bias_row * a.hidden + unit]) : u;
    }
};

// In a backward. `fed`: of what was fed back, whose states after a step are those before the step at work.
template <class T, bool fed>
struct ProgramBackwardAt {
    using V = Vec<T>;

    const BackwardArrays<T>& a;
    Index row, unit;

    RNNKERNELS_INLINE V get_weight(int k) const { return V(a.diagonal[k * a.hidden + unit]); }
    RNNKERNELS_INLINE V get_step(int k) const { return a.load(a.x, element(k)); }
    RNNKERNELS_INLINE V get_state(int k) const {
        if (k > 0) return V(a.before[k][row * a.before_row + unit]);
        if (!a.h) return V(T(0));
        const Index from = a.h_first + row;
        return a.load(a.h, (a.h_places ? a.h_places[from] : from) * a.hidden + unit);
    }
    // As the cell made it.
    RNNKERNELS_INLINE V get_new(int k) const {
        if (fed) return get_state(k);
        if (k > 0 || a.after[0]) return V(a.after[k][row * a.kept_row + unit]);
        return a.load(a.output, a.place(row) * a.hidden + unit);
    }
    RNNKERNELS_INLINE V get_saved(int k) const { return V(a.saved[row * a.kept_row + k * a.hidden + unit]); }
    RNNKERNELS_INLINE V get_d_new(int k, int hiddens) const {
        V d(a.carried[k][at()]);
        if (fed || k > 0) return d;
        if (row < a.next) {
            if (hiddens == 0)
                d = d + V(T(0));  // a product of nothing: it makes 0 of -0, as the CPU's does
            else if (a.product)
                d = V(a.product[at()]) + d;
        }
        return a.d_output ? a.load(a.d_output, a.place(row) * a.hidden + unit) + d : d;
    }
    RNNKERNELS_INLINE V get_d_state(int k) const { return V(a.carried[k][at()]); }
    RNNKERNELS_INLINE V get_slot(int column, int columns) const {
        return a.load(a.gradient, gradient(column, columns));
    }
    RNNKERNELS_INLINE V get_d_made() const { return V(a.gated_part[at()]); }
    RNNKERNELS_INLINE V get_d_vector(int k, int vectors) const {
        return V(a.fed_part[(row * vectors + k) * a.hidden + unit]);
    }

    // One of the slot's columns.
    RNNKERNELS_INLINE void set_slot(int column, int columns, V value) const {
        a.store(a.gradient, gradient(column, columns), value);
    }
    RNNKERNELS_INLINE void set_d_new(int k, V value) const { a.carried[k][at()] = value.raw; }
    RNNKERNELS_INLINE void set_d_state(int k, V value) const { a.carried[k][at()] = value.raw; }
    RNNKERNELS_INLINE void set_made(V value) const { store_as<T>(a.made, a.made_dtype, at(), value.raw); }
    RNNKERNELS_INLINE void set_d_step(int k, V value) const {
        if (!a.dx) return;
        a.store(a.dx, element(k), fed ? a.load(a.dx, element(k)) + value : value);
    }

    // h before the step as the recurrent weight's gradient wants it.
    RNNKERNELS_INLINE void keep_operand() const {
        if (a.operand) a.store(a.operand, at(), get_state(0));
    }
    // What the product of the step gives to h before it.
    RNNKERNELS_INLINE void join_product() const {
        if (a.product) a.carried[0][at()] = (V(a.product[at()]) + V(a.carried[0][at()])).raw;
    }
    // What goes past the cell.
    RNNKERNELS_INLINE void add_past(int states) const {
        if (!a.past) return;
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < states; ++k) {
            const V past(a.past[(row * states + k) * a.hidden + unit]);
            a.carried[k][at()] = (V(a.carried[k][at()]) + past).raw;
        }
    }

private:
    RNNKERNELS_INLINE Index at() const { return row * a.hidden + unit; }
    RNNKERNELS_INLINE Index gradient(int column, int columns) const {
        return (row * columns + column) * a.hidden + unit;
    }
    RNNKERNELS_INLINE Index element(int k) const { return a.place(row) * a.x_row + a.input + k * a.hidden + unit; }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
