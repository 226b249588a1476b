// What the threads of a cell's forward do: one unit of one row, in the phases of passes/phases.h. In what order the
// bodies run, and the products between them, is forward.h's; bodies that know no cell are in ends.h, options.h and
// normalise.h.
#pragma once

#include "../passes/phases.h"
#include "arrays.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Where a unit's values lie.
template <class Cell, class T>
struct ForwardAt {
    using V = Vec<T>;
    using G = Geometry<Cell>;

    const ForwardArrays<T>& a;
    Index row, unit;
    Index of_batch = row;  // the row of the batch; row: that of the arrays

    RNNKERNELS_INLINE void load_x(V* x) const {
        clear(x);
        const T* from = x_row();
        each_of<InputGates>([&](int i, int g) RNNKERNELS_INLINED {
            x[g] = from ? V(from[i * a.hidden + unit]) : V(T(__builtin_nanf("")));
        });
        if (a.bias_x) add<InputGates>(a.bias_x, x);
        if (a.term) add<InputGates>(a.term + of_batch * G::inputs * a.hidden, x);
        if constexpr (G::directs > 0) {
            const V itself = direct_x();
            each_of<DirectGates>([&](int, int g) RNNKERNELS_INLINED { x[g] = itself; });
        }
    }
    RNNKERNELS_INLINE void load_u(V* u) const {
        clear(u);
        load_product<HiddenGates>(a.u_part, a.bias_u, u);
        load_product<FeedbackGates>(a.fed_part, a.bias_fed, u);
    }
    RNNKERNELS_INLINE void load_gated_u(V* u) const {
        clear(u);
        load_product<GatedGates>(a.gated_part, a.bias_gated, u);
    }
    // Element-wise weights, then settings.
    template <bool held>
    RNNKERNELS_INLINE void load_w(V* w) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::diagonals; ++k) w[k] = V(a.diagonal[k * a.hidden + unit]);
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::settings; ++k) w[G::diagonals + k] = V(a.settings[k]);
    }
    RNNKERNELS_INLINE void load_s(V* s) const {
        s[0] = projected<Cell> ? V(T(0)) : V(a.states[0][at()]);
        RNNKERNELS_UNROLL(8)
        for (int k = 1; k < G::states; ++k) s[k] = V(a.states[k][at()]);
    }
    RNNKERNELS_INLINE void store_states(const V*, const V* n) const {
        constexpr int first = projected<Cell> ? 1 : 0;
        if constexpr (projected<Cell>) store_made(n[0]);
        if (a.made_states) {
            RNNKERNELS_UNROLL(8)
            for (int k = first; k < G::states; ++k) a.made_states[row * a.made_row + k * a.hidden + unit] = n[k].raw;
            return;
        }
        RNNKERNELS_UNROLL(8)
        for (int k = first; k < G::states; ++k) a.states[k][at()] = n[k].raw;
        if (!projected<Cell> && a.operand && row < a.next) a.store(a.operand, at(), n[0]);
        store_kept(n);
    }
    // Where the caller and a backward will find them.
    RNNKERNELS_INLINE void store_kept(const V* n) const {
        if constexpr (!projected<Cell>) a.store(a.output, a.place(row) * a.hidden + unit, n[0]);
        if (a.kept_states) {
            RNNKERNELS_UNROLL(8)
            for (int k = 1; k < G::states; ++k) a.kept_states[row * a.kept_row + (k - 1) * a.hidden + unit] = n[k].raw;
        }
    }
    RNNKERNELS_INLINE void load_saved(V* saved) const {
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::saved; ++k) saved[k] = V(a.saved[row * a.kept_row + k * a.hidden + unit]);
    }
    RNNKERNELS_INLINE void store_saved(const V* saved) const {
        if (!a.to_save) return;
        RNNKERNELS_UNROLL(16)
        for (int k = 0; k < G::saved; ++k) a.to_save[row * a.kept_row + k * a.hidden + unit] = saved[k].raw;
    }
    RNNKERNELS_INLINE V load_made() const { return V(load_as<T>(a.made, a.made_dtype, at())); }
    RNNKERNELS_INLINE void store_made(V made) const { store_as<T>(a.made, a.made_dtype, at(), made.raw); }
    RNNKERNELS_INLINE V load_normal() const { return V(a.normal[at()]); }

    RNNKERNELS_INLINE Index at() const { return row * a.hidden + unit; }

protected:
    RNNKERNELS_INLINE static void clear(V* gates) {
        RNNKERNELS_UNROLL(16)
        for (int g = 0; g < G::gates; ++g) gates[g] = V(T(0));
    }
    // The x part of the row; null for a token that there is not.
    RNNKERNELS_INLINE const T* x_row() const {
        if (!a.table) return a.x_part + row * G::inputs * a.hidden;
        const std::int64_t token = a.tokens[a.place(row)];
        return token >= 0 && token < a.input ? a.table + token * G::inputs * a.hidden : nullptr;
    }
    // x itself; of a token the vector that is 1 at its place.
    RNNKERNELS_INLINE V direct_x() const {
        const Index place = a.place(row);
        if (a.x) return a.load(a.x, place * a.x_row + unit);
        return V(T(a.tokens[place] == unit ? 1 : 0));
    }
    // Lists as types: nvcc's front end takes no empty one as a value.
    struct InputGates {
        static constexpr GateList gates = input_gates<Cell>;
    };
    struct DirectGates {
        static constexpr GateList gates = direct_gates<Cell>;
    };
    struct HiddenGates {
        static constexpr GateList gates = hidden_gates<Cell>;
    };
    struct FeedbackGates {
        static constexpr GateList gates = feedback_gates<Cell>;
    };
    struct GatedGates {
        static constexpr GateList gates = gated_gates<Cell>;
    };
    // use(i, gate) for the gates of a list.
    template <class List, class Use>
    RNNKERNELS_INLINE static void each_of(Use use) {
        constexpr GateList gates = List::gates;
        RNNKERNELS_UNROLL(16)
        for (int i = 0; i < gates.count; ++i) use(i, gates.gate[i]);
    }
    template <class List>
    RNNKERNELS_INLINE void load_product(const T* part, const T* bias, V* u) const {
        if constexpr (List::gates.count > 0) {
            const T* from = part + row * List::gates.count * a.hidden + unit;
            each_of<List>([&](int i, int g) RNNKERNELS_INLINED { u[g] = V(from[i * a.hidden]); });
            if (bias) add<List>(bias, u);
        }
    }
    template <class List>
    RNNKERNELS_INLINE void add(const T* from, V* to) const {
        each_of<List>([&](int i, int g) RNNKERNELS_INLINED { to[g] = to[g] + V(from[i * a.hidden + unit]); });
    }
};

// A step; of a cell with two halves the first one.
template <class Cell, class T>
struct ForwardBody {
    ForwardArrays<T> a;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        const ForwardAt<Cell, T> at{a, row, unit};
        if constexpr (halved<Cell>)
            forward_gates<Cell>(at);
        else
            forward_step<(setting_count<Cell> > 0), Cell>(at);
    }
};

template <class Cell, class T>
struct ForwardStateBody {
    ForwardArrays<T> a;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        forward_state<Cell>(ForwardAt<Cell, T>{a, row, unit});
    }
};

// What the products of the step will read of the states before it.
template <class Cell, class T>
struct FeedbackBody {
    ForwardArrays<T> a;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using G = Geometry<Cell>;
        Vec<T> s[G::states], vectors[G::vectors];
        ForwardAt<Cell, T>{a, row, unit}.load_s(s);
        Cell::feedback(s, vectors);
        with_dtype<T>(a.fed_dtype, [&](auto stored) RNNKERNELS_INLINED {
            RNNKERNELS_UNROLL(8)
            for (int k = 0; k < G::vectors; ++k)
                stored.set(a.fed, (row * G::vectors + k) * a.hidden + unit, vectors[k].raw);
        });
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
