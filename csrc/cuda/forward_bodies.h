// What the threads of a forward do: for each unit of each row of a step, read the products, run the cell, write the new
// states. In what order the bodies run, and the products between them, is forward.h's.
#pragma once

#include "arrays.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The arrays of a forward; null where the call or the cell has none.
template <class Cell, class T>
struct ForwardArrays : CellArrays<Cell, T> {
    using Base = CellArrays<Cell, T>;
    using V = Vec<T>;
    using G = Geometry<Cell>;
    using Base::factor;
    using Base::hidden;
    using Base::load;
    using Base::masks;
    using Base::place;
    using Base::store;
    using Base::width;

    Index input{};
    const T* bias_ih{};  // (inputs*H)
    const T* bias_hh{};  // (recurrents*H)
    const T* term{};     // (B, inputs*H)
    const void* x{};     // (T*B, I), the caller's
    const std::int64_t* tokens{};
    const T* table{};      // (I, inputs*H): a row for each token
    T* x_part{};           // (rows of a chunk, inputs*H)
    T* u_part{};           // (B, hiddens*H)
    T* feedback_part{};    // (B, feedbacks*H)
    T* gated_part{};       // (B, gateds*H)
    T* projection_part{};  // (B, P)
    const void* initial[G::states]{};
    T* states[G::states]{};  // each (B, H), h (B, P): after the last step that a row has had
    void* operand{};         // (B, width): h as the recurrent weight sees it, where it is not states[0]
    void* feedback{};        // (rows, or B without a reserve, vectors*H)
    void* gated{};           // (B, H)
    void* made{};            // (rows, or B without a reserve, H): what becomes h, where it is projected
    T* between{};            // (B, saved, H): from one phase to the next, where nothing is kept
    T* inner{};              // (B, H): what is normalised inside the cell
    T* reserve{};            // (rows, vectors, H)
    T* scales{};             // (rows, norms)
    void* output{};          // (T*B, width), the caller's
    void* sequence[G::states]{};
    void* final_state[G::states]{};

    using Base::Base;

    // The x part of a row of a step; null for a token that there is not.
    RNNKERNELS_INLINE const T* x_row(const StepRows& now, Index row) const {
        if (!table) return x_part + (now.in_chunk + row) * G::inputs * hidden;
        const std::int64_t token = tokens[place(now, row)];
        return token >= 0 && token < input ? table + token * G::inputs * hidden : nullptr;
    }
    RNNKERNELS_INLINE void load_x(const StepRows& now, Index row, Index unit, V* x_g) const {
        constexpr GateList gates = input_gates<Cell>;
        constexpr GateList direct = direct_gates<Cell>;
        clear(x_g);
        const T* from = x_row(now, row);
        RNNKERNELS_UNROLL(16)
        for (int i = 0; i < G::inputs; ++i) {
            const Index at = i * hidden + unit;
            V v = from ? V(from[at]) : V(T(__builtin_nanf("")));
            if (bias_ih) v = v + V(bias_ih[at]);
            if (term) v = v + V(term[row * G::inputs * hidden + at]);
            x_g[gates.gate[i]] = v;
        }
        if constexpr (G::directs > 0) {
            const V itself = direct_x(now, row, unit);
            RNNKERNELS_UNROLL(16)
            for (int i = 0; i < G::directs; ++i) x_g[direct.gate[i]] = itself;
        }
    }
    // x itself; of a token the vector that is 1 at its place.
    RNNKERNELS_INLINE V direct_x(const StepRows& now, Index row, Index unit) const {
        const Index at = place(now, row);
        if (x) return load(x, at * input + unit);
        return V(T(tokens[at] == unit ? 1 : 0));
    }
    RNNKERNELS_INLINE static void clear(V* gates) {
        RNNKERNELS_UNROLL(16)
        for (int g = 0; g < G::gates; ++g) gates[g] = V(T(0));
    }
    // Of a product's part, (rows, gates of the list, H); `bias` is that of its first gate, or null.
    template <class Lists>
    RNNKERNELS_INLINE void load_u(const T* part, const T* bias, Index row, Index unit, V* u) const {
        constexpr GateList gates = Lists::gates;
        RNNKERNELS_UNROLL(16)
        for (int i = 0; i < gates.count; ++i) {
            const V v(part[(row * gates.count + i) * hidden + unit]);
            u[gates.gate[i]] = bias ? v + V(bias[i * hidden + unit]) : v;
        }
    }
    struct Hidden {
        static constexpr GateList gates = hidden_gates<Cell>;
    };
    struct Feedback {
        static constexpr GateList gates = feedback_gates<Cell>;
    };
    struct Gated {
        static constexpr GateList gates = gated_gates<Cell>;
    };
    RNNKERNELS_INLINE const T* bias_from(int weight_row) const {
        return bias_hh ? bias_hh + weight_row * hidden : nullptr;
    }
    RNNKERNELS_INLINE void load_recurrent(Index row, Index unit, V* u) const {
        constexpr int first_hidden = Layout<Cell>::first_hidden_row, first_fed = Layout<Cell>::first_feedback_row;
        clear(u);
        load_u<Hidden>(u_part, bias_from(first_hidden), row, unit, u);
        if constexpr (G::vectors > 0)
            load_u<Feedback>(feedback_part, own_feedback_weight<Cell> ? nullptr : bias_from(first_fed), row, unit, u);
    }
    RNNKERNELS_INLINE void load_states(Index row, Index unit, V* s) const {
        if constexpr (projected<Cell>)
            s[0] = V(T(0));
        else
            s[0] = V(states[0][row * hidden + unit]);
        RNNKERNELS_UNROLL(8)
        for (int k = 1; k < G::states; ++k) s[k] = V(states[k][row * hidden + unit]);
    }
    // What a row keeps for the backward: vector k of it.
    RNNKERNELS_INLINE T& kept(const StepRows& now, Index row, Index unit, int k) const {
        return reserve[((now.first + row) * G::reserve(masks.zones) + k) * hidden + unit];
    }
    // Where saved values stand between two phases.
    RNNKERNELS_INLINE T& saved_between(const StepRows& now, Index row, Index unit, int k) const {
        return reserve ? kept(now, row, unit, k) : between[(row * G::saved + k) * hidden + unit];
    }
    RNNKERNELS_INLINE void store_saved(const StepRows& now, Index row, Index unit, const V* saved) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::saved; ++k) saved_between(now, row, unit, k) = saved[k].raw;
    }
    // Zoneout; what the cell itself made is kept for the backward.
    RNNKERNELS_INLINE void zone(const StepRows& now, Index row, Index unit, const V* s, V* n) const {
        if (reserve) {
            RNNKERNELS_UNROLL(8)
            for (int k = 0; k < G::states; ++k) kept(now, row, unit, G::first_own + k) = n[k].raw;
        }
        masks.zone(now.first + row, unit, s, n);
    }
    // h after a step.
    RNNKERNELS_INLINE void store_h(const StepRows& now, Index row, Index unit, V h) const {
        states[0][row * width + unit] = h.raw;
        store(output, place(now, row) * width + unit, h);
    }
    RNNKERNELS_INLINE void store_states(const StepRows& now, Index row, Index unit, const V* n) const {
        if constexpr (projected<Cell>) {
            store(made, ((reserve ? now.first : 0) + row) * hidden + unit, n[0]);
        } else {
            store_h(now, row, unit, n[0]);
            if (row < now.next) store_operands(now.first + now.count, row, unit, n);
        }
        RNNKERNELS_UNROLL(8)
        for (int k = 1; k < G::states; ++k) {
            states[k][row * hidden + unit] = n[k].raw;
            if (reserve) kept(now, row, unit, G::saved + k - 1) = n[k].raw;
            if (sequence[k]) store(sequence[k], place(now, row) * hidden + unit, n[k]);
        }
    }
    // What the products of the step whose first row is `first` will read of the states before it.
    RNNKERNELS_INLINE void store_operands(Index first, Index row, Index unit, const V* s) const {
        const V dropped = factor(first + row, unit);
        if (operand) store(operand, row * width + unit, s[0] * dropped);
        if constexpr (G::vectors > 0) {
            V vectors[G::vectors];
            Cell::feedback(s, vectors);
            const Index at = ((reserve ? first : 0) + row) * G::vectors * hidden + unit;
            RNNKERNELS_UNROLL(8)
            for (int k = 0; k < G::vectors; ++k) store(feedback, at + k * hidden, vectors[k] * dropped);
        }
    }
};

// The states before the first step. Over (B, the wider of H and P).
template <class Cell, class T>
struct BeginForward {
    ForwardArrays<Cell, T> a;
    bool steps;  // whether there are any

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using V = Vec<T>;
        constexpr int count = Geometry<Cell>::states;
        V s[count];
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < count; ++k) {
            const Index width = k == 0 ? a.width : a.hidden;
            s[k] = V(T(0));
            if (unit >= width) continue;
            if (a.initial[k]) s[k] = a.load(a.initial[k], row * width + unit);
            a.states[k][row * width + unit] = s[k].raw;
        }
        if (steps && unit < a.width) a.store_operands(0, row, unit, s);
    }
};

// A step of a cell of one product.
template <class Cell, class T>
struct ForwardStep {
    ForwardArrays<Cell, T> a;
    StepRows now;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using V = Vec<T>;
        using G = Geometry<Cell>;
        V x[G::gates], u[G::gates], w[G::diagonals + G::settings + 1], s[G::states], n[G::states], saved[G::saved + 1];
        a.load_x(now, row, unit, x);
        a.load_recurrent(row, unit, u);
        a.load_weights(unit, w);
        a.load_states(row, unit, s);
        if constexpr (G::settings > 0)
            Cell::template forward<true>(x, u, w, s, n, saved);
        else
            Cell::forward(x, u, w, s, n, saved);
        if (a.masks.zones) a.zone(now, row, unit, s, n);
        a.store_states(now, row, unit, n);
        if (a.reserve) a.store_saved(now, row, unit, saved);
    }
};

// The two phases of a cell of two products.
template <class Cell, class T>
struct ForwardGates {
    ForwardArrays<Cell, T> a;
    StepRows now;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using V = Vec<T>;
        using G = Geometry<Cell>;
        V x[G::gates], u[G::gates], s[G::states], saved[G::saved + 1], gated;
        RNNKERNELS_UNROLL(16)
        for (V& value : saved) value = V(T(0));
        a.load_x(now, row, unit, x);
        a.load_recurrent(row, unit, u);
        a.load_states(row, unit, s);
        Cell::forward_gates(x, u, s, saved, gated);
        a.store_saved(now, row, unit, saved);
        a.store(a.gated, row * a.hidden + unit, gated * a.factor(now.first + row, unit));
    }
};

template <class Cell, class T>
struct ForwardState {
    ForwardArrays<Cell, T> a;
    StepRows now;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using V = Vec<T>;
        using G = Geometry<Cell>;
        using Gated = typename ForwardArrays<Cell, T>::Gated;
        constexpr int first_row = Layout<Cell>::first_gated_row;
        V x[G::gates], u[G::gates], s[G::states], n[G::states], saved[G::saved + 1];
        a.load_x(now, row, unit, x);
        a.clear(u);
        a.template load_u<Gated>(a.gated_part, a.bias_from(first_row), row, unit, u);
        a.load_states(row, unit, s);
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::saved; ++k) saved[k] = V(a.saved_between(now, row, unit, k));
        Cell::forward_state(x, u, s, saved, n);
        if (a.masks.zones) a.zone(now, row, unit, s, n);
        a.store_states(now, row, unit, n);
        if (a.reserve) a.store_saved(now, row, unit, saved);
    }
};

// h of a projected cell, from its product. Over (rows, P).
template <class Cell, class T>
struct ForwardProjection {
    ForwardArrays<Cell, T> a;
    StepRows now;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        const Vec<T> h(a.projection_part[row * a.width + unit]);
        a.store_h(now, row, unit, h);
        if (row < now.next) a.store_operands(now.first + now.count, row, unit, &h);
    }
};

// The states after each row's last step. Over (B, the wider of H and P).
template <class Cell, class T>
struct FinishForward {
    ForwardArrays<Cell, T> a;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < Geometry<Cell>::states; ++k) {
            const Index width = k == 0 ? a.width : a.hidden, at = row * width + unit;
            if (unit < width) a.store(a.final_state[k], at, Vec<T>(a.states[k][at]));
        }
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
