// What a thread, or a team of them, does for an attending recurrence (recurrence/attention.h has the equations):
// scores, their softmax, the context, and back. Sums over units are a team's, sums over places one thread's, in
// ascending order. Sequences of one row of the batch add to the same gradients of keys and features, one after the
// other, in one thread. Not here: the products, and what follows what (attending_forward.h, attending_backward.h).
#pragma once

#include "../recurrence/draw.h"
#include "arrays.h"
#include "queue.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The arrays of a step, by value. `storage` is the dtype of the caller's arrays and of what products multiply.
template <class T>
struct AttentionStep {
    Attention call;
    Dtype storage{};
    Index first{}, count{};  // the step's first row among the rows of all steps; its rows
    const Index* places{};   // of all rows
    Index width{};           // of h
    T* q{};                  // (rows, query_row(A)): W_q h, without its bias
    T *scores{}, *alpha{};   // (rows, L)
    T* beta{};               // (rows)
    T* before{};             // (rows, C, L): s before the step

    RNNKERNELS_INLINE T load(const void* array, Index at) const { return load_as<T>(array, storage, at); }
    RNNKERNELS_INLINE Index place(Index row) const { return places ? places[first + row] : first + row; }
    // The row of the batch.
    RNNKERNELS_INLINE Index of_batch(Index row) const { return place(row) % call.batch; }
    RNNKERNELS_INLINE bool looks(Index b, Index i) const {
        return !call.mask || load(call.mask, b * call.places + i) != T(0);
    }
    RNNKERNELS_INLINE T key(Index b, Index i, Index unit) const {
        return load(call.keys, (b * call.places + i) * call.size + unit);
    }
    RNNKERNELS_INLINE T value(Index b, Index i, Index unit) const {
        return load(call.values, (b * call.places + i) * call.features + unit);
    }
    RNNKERNELS_INLINE T query(Index row, Index unit) const {
        const T q_of = q[row * query_row(call.size) + unit];
        return call.bias_query ? q_of + load(call.bias_query, unit) : q_of;
    }
    // s_c[i + k - K/2] before the step; beyond the ends 0. line: c*K + k.
    RNNKERNELS_INLINE T tap(Index row, Index i, Index line) const {
        const Index at = i + line % call.taps - call.taps / 2;
        return at >= 0 && at < call.places ? before[(row * call.channels + line / call.taps) * call.places + at] : T(0);
    }
    // tanh(key_i + q + location_i) of a unit.
    RNNKERNELS_INLINE T match(Index row, Index b, Index i, Index unit) const {
        using V = Vec<T>;
        V sum = V(key(b, i, unit)) + V(query(row, unit));
        const Index lines = call.channels * call.taps;
        for (Index line = 0; line < lines; ++line)
            sum = fma(V(tap(row, i, line)), V(load(call.weight_location, unit * lines + line)), sum);
        return tanh(sum).raw;
    }
};

// e of every place that may be looked at. Over (rows*L) teams.
template <class T>
struct ScorePlaces {
    AttentionStep<T> a;

    RNNKERNELS_INLINE void operator()(Index at, const Team& team) const {
        const Index row = at / a.call.places, i = at % a.call.places, b = a.of_batch(row);
        if (!a.looks(b, i)) return;
        const T sum = team.sum<T>(a.call.size, [&](Index unit) {
            return a.call.score ? a.load(a.call.score, unit) * a.match(row, b, i, unit)
                                : a.key(b, i, unit) * a.query(row, unit);
        });
        team.each(1, [&](Index) { a.scores[at] = sum * static_cast<T>(a.call.scale); });
    }
};

// beta. Over rows, of which h stands at h[row], in T.
template <class T>
struct OpenGate {
    AttentionStep<T> a;
    const T* h;  // (rows, width)

    RNNKERNELS_INLINE void operator()(Index row, const Team& team) const {
        T open = T(1);
        if (a.call.weight_gate) {
            const T sum = team.sum<T>(
                a.width, [&](Index unit) { return a.load(a.call.weight_gate, unit) * h[row * a.width + unit]; });
            open = sigmoid(Vec<T>(a.call.bias_gate ? sum + a.load(a.call.bias_gate, 0) : sum)).raw;
        }
        team.each(1, [&](Index) { a.beta[row] = open; });
    }
};

// alpha of the scores, in the caller's array, too; s then is that before the next step. Over rows.
template <class T>
struct Weigh {
    AttentionStep<T> a;
    void* weights;  // (T*B, L), the caller's

    RNNKERNELS_INLINE void operator()(Index row, const Team& team) const {
        using V = Vec<T>;
        const Index many = a.call.places, b = a.of_batch(row), at = a.place(row);
        const T* const e = a.scores + row * many;
        T most = T(0);
        bool any = false;
        for (Index i = 0; i < many; ++i) {
            if (!a.looks(b, i)) continue;
            most = !any || e[i] > most ? e[i] : most;
            any = true;
        }
        const auto raised = [&](Index i) { return a.looks(b, i) ? exp(V(e[i]) - V(most)).raw : T(0); };
        const T sum = team.sum<T>(many, raised);
        team.each(many, [&](Index i) {
            const T weight = raised(i) / sum;
            a.alpha[row * many + i] = weight;
            store_as<T>(weights, a.storage, at * many + i, weight);
            for (Index c = 0; c < a.call.channels; ++c) {
                T& s = a.before[(row * a.call.channels + c) * many + i];
                s = c == 0 ? weight : s + weight;
            }
        });
    }
};

// The context of every unit of features. Over (rows, D).
template <class T>
struct Look {
    AttentionStep<T> a;
    void* contexts;       // (T*B, D), the caller's
    void* operand;        // (rows, D), for the product
    std::int64_t* drawn;  // (T*B), the caller's, or null: soft

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        const Index many = a.call.places, b = a.of_batch(row), at = a.place(row);
        Vec<T> sum(T(0));
        if (drawn) {
            const Index i = draw(row, b, at);
            if (unit == 0) drawn[at] = i;
            sum = Vec<T>(a.value(b, i, unit));
        } else {
            for (Index i = 0; i < many; ++i)
                if (a.looks(b, i)) sum = fma(Vec<T>(a.alpha[row * many + i]), Vec<T>(a.value(b, i, unit)), sum);
        }
        const T context = a.beta[row] * sum.raw;
        store_as<T>(contexts, a.storage, at * a.call.features + unit, context);
        store_as<T>(operand, a.storage, row * a.call.features + unit, context);
    }

private:
    RNNKERNELS_INLINE Index draw(Index row, Index b, Index at) const {
        return draw_place(
            a.call.places, uniform_of<T>(a.call, at), [&](Index i) RNNKERNELS_INLINED { return a.looks(b, i); },
            [&](Index i) RNNKERNELS_INLINED { return a.alpha[row * a.call.places + i]; });
    }
};

// s of the caller's, or zeros. Over (B, C*L).
template <class T>
struct BeginLooking {
    AttentionStep<T> a;

    RNNKERNELS_INLINE void operator()(Index row, Index at) const {
        const Index to = row * a.call.channels * a.call.places + at;
        a.before[to] = a.call.location ? a.load(a.call.location, to) : T(0);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
