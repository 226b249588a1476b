// The way back through an attending recurrence: what a thread, or a team of them, does (attention_forward_bodies.h has
// the way there). Sequences of one row of the batch add to the same gradients of keys and features, one after the
// other, in one thread. Not here: the products, and what follows what (attending_backward.h).
#pragma once

#include "attention_forward_bodies.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
struct AttentionBack : AttentionStep<T> {
    const T* dcontext{};          // (rows, D)
    const std::int64_t* drawn{};  // (T*B), the caller's, or null: soft
    const void* d_weights{};      // (T*B, L), the caller's, or null
    T *given{}, *de{};            // (rows, L): value . dcontext; dL/dalpha, then dL/de
    T* carried{};                 // (B, C, L): dL/ds on its way to the step before
    T *dkeys{}, *dvalues{};       // (B, L, A), (B, L, D)
    T *dscore{}, *dlocation{};    // (B, A), (B, A, C*K)
    T* made{};                    // (rows, L, A): dL/d(what tanh is of), where there is location
    void* dq{};                   // (rows, dq_row), in storage: of the query, then of the gate
    T* dgate{};                   // (rows)

    // use(row) for the step's rows of row b of the batch.
    template <class Use>
    RNNKERNELS_INLINE void each_row_of(Index b, Use use) const {
        if (!this->places) {
            if (b < this->count) use(b);
            return;
        }
        for (Index row = 0; row < this->count; ++row)
            if (this->of_batch(row) == b) use(row);
    }
    RNNKERNELS_INLINE Index dq_row() const { return query_row(this->call.size) + 16; }
};

// h before a step, for the products in `to` and in T. Over (rows, width).
template <class T>
struct HBefore {
    BackwardArrays<T> a;
    Dtype storage;
    void* to;  // (rows, width)
    T* whole;  // (rows, width)

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        const Index at = a.h_places ? a.h_places[a.h_first + row] : a.h_first + row;
        const T h = a.h ? load_as<T>(a.h, storage, at * a.width + unit) : T(0);
        store_as<T>(to, storage, row * a.width + unit, h);
        whole[row * a.width + unit] = h;
    }
};

// dL/dcontext of the caller's. Over (rows, D).
template <class T>
struct AddContexts {
    AttentionBack<T> a;
    const void* from;  // (T*B, D)
    T* to;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        const Index width = a.call.features;
        to[row * width + unit] += a.load(from, a.place(row) * width + unit);
    }
};

// s before a step: alpha of the step before, whose first row is row `past` of all, and what stands in `sums`. Over
// (rows, L).
template <class T>
struct PutBefore {
    AttentionBack<T> a;
    const void* weights;  // (T*B, L)
    Index past;           // -1: the first step
    const T* sums;        // (rows, L): s_1, or null

    RNNKERNELS_INLINE void operator()(Index row, Index i) const {
        const Index many = a.call.places, channels = a.call.channels;
        T* const to = a.before + row * channels * many + i;
        if (past >= 0)
            to[0] = a.load(weights, (a.places ? a.places[past + row] : past + row) * many + i);
        else
            to[0] = a.call.location ? a.load(a.call.location, row * channels * many + i) : T(0);
        if (channels > 1) to[many] = sums[row * many + i];
    }
};
// s_1 before a step from that before the step before it. Over (rows, L).
template <class T>
struct SumPlaces {
    AttentionBack<T> a;
    const void* weights;
    Index past;     // the first row of the step before; -1: there is none
    const T* from;  // (rows, L) of that step
    T* to;

    RNNKERNELS_INLINE void operator()(Index row, Index i) const {
        const Index many = a.call.places;
        if (past < 0) {
            to[row * many + i] = a.call.location ? a.load(a.call.location, (row * 2 + 1) * many + i) : T(0);
            return;
        }
        const Index place = a.places ? a.places[past + row] : past + row;
        to[row * many + i] = from[row * many + i] + a.load(weights, place * many + i);
    }
};

// value_i . dcontext of the rows of the batch, and what the features get. Over (B*L) teams.
template <class T>
struct LookBack {
    AttentionBack<T> a;
    const void* weights;  // (T*B, L)

    RNNKERNELS_INLINE void operator()(Index at, const Team& team) const {
        const Index many = a.call.places, width = a.call.features, b = at / many, i = at % many;
        if (!a.looks(b, i)) return;
        a.each_row_of(b, [&](Index row) {
            const T* const dcontext = a.dcontext + row * width;
            const T sum = team.sum<T>(width, [&](Index unit) { return a.value(b, i, unit) * dcontext[unit]; });
            team.each(1, [&](Index) { a.given[row * many + i] = sum; });
            const bool whole = a.drawn != nullptr;
            if (whole && a.drawn[a.place(row)] != i) return;
            const Vec<T> weight(a.beta[row] * (whole ? T(1) : a.load(weights, a.place(row) * many + i)));
            team.each(width, [&](Index unit) {
                T& to = a.dvalues[at * width + unit];
                to = fma(weight, Vec<T>(dcontext[unit]), Vec<T>(to)).raw;
            });
        });
    }
};

// dL/de of every place, and of the gate. Over rows.
template <class T>
struct WeighBack {
    AttentionBack<T> a;
    const void* weights;  // (T*B, L)

    RNNKERNELS_INLINE void operator()(Index row, const Team& team) const {
        const Index many = a.call.places, at = a.place(row), b = a.of_batch(row);
        const T open = a.beta[row];
        const auto alpha = [&](Index i) { return a.load(weights, at * many + i); };
        const auto dalpha = [&](Index i) {
            T d = a.drawn ? T(0) : open * a.given[row * many + i];
            if (a.d_weights) d += a.load(a.d_weights, at * many + i);
            for (Index c = 0; c < a.call.channels; ++c) d += a.carried[(row * a.call.channels + c) * many + i];
            return d;
        };
        const auto looked = [&](Index i, auto value) { return a.looks(b, i) ? value() : T(0); };
        const T sum = team.sum<T>(many, [&](Index i) { return looked(i, [&] { return alpha(i) * dalpha(i); }); });
        const T dopen = team.sum<T>(many, [&](Index i) {
            return looked(i, [&] {
                if (a.drawn) return a.drawn[at] == i ? a.given[row * many + i] : T(0);
                return alpha(i) * a.given[row * many + i];
            });
        });
        const T scale = static_cast<T>(a.call.scale);
        team.each(many, [&](Index i) {
            a.de[row * many + i] = looked(i, [&] { return alpha(i) * (dalpha(i) - sum) * scale; });
        });
        team.each(1, [&](Index) {
            a.dgate[row] = dopen * open * (T(1) - open);
            store_as<T>(a.dq, a.storage, row * a.dq_row() + query_row(a.call.size), a.dgate[row]);
        });
    }
};

// What the scores pass on to queries, keys and their own weights. Over (B, A).
template <class T>
struct AskBack {
    AttentionBack<T> a;

    RNNKERNELS_INLINE void operator()(Index b, Index unit) const {
        const Index many = a.call.places, size = a.call.size, lines = a.call.channels * a.call.taps;
        a.each_row_of(b, [&](Index row) {
            T of_query = T(0);
            for (Index i = 0; i < many; ++i) {
                if (!a.looks(b, i)) continue;
                const T d = a.de[row * many + i];
                T& dkey = a.dkeys[(b * many + i) * size + unit];
                if (!a.call.score) {
                    of_query += d * a.key(b, i, unit);
                    dkey += d * a.query(row, unit);
                    continue;
                }
                const T y = a.match(row, b, i, unit);
                const T p = d * a.load(a.call.score, unit) * (T(1) - y * y);
                of_query += p;
                dkey += p;
                a.dscore[b * size + unit] += d * y;
                if (lines == 0) continue;
                a.made[(row * many + i) * size + unit] = p;
                for (Index line = 0; line < lines; ++line)
                    a.dlocation[(b * size + unit) * lines + line] += p * a.tap(row, i, line);
            }
            store_as<T>(a.dq, a.storage, row * a.dq_row() + unit, of_query);
        });
    }
};

// dL/ds: of alpha of the step before, and the sum of those of all steps behind. Over (rows*C*L) teams.
template <class T>
struct LocateBack {
    AttentionBack<T> a;

    RNNKERNELS_INLINE void operator()(Index at, const Team& team) const {
        const Index many = a.call.places, size = a.call.size, taps = a.call.taps, channels = a.call.channels;
        const Index j = at % many, c = at / many % channels, row = at / many / channels, b = a.of_batch(row);
        const T sum = team.sum<T>(size * taps, [&](Index index) {
            const Index unit = index / taps, k = index % taps, i = j - k + taps / 2;
            if (i < 0 || i >= many || !a.looks(b, i)) return T(0);
            return a.load(a.call.weight_location, (unit * channels + c) * taps + k) *
                   a.made[(row * many + i) * size + unit];
        });
        team.each(1, [&](Index) {
            T& to = a.carried[at];
            to = c == 0 ? sum : to + sum;
        });
    }
};

// What came to h through the gate. Over (rows, width).
template <class T>
struct GateBack {
    AttentionBack<T> a;
    T* dh;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        T& to = dh[row * a.width + unit];
        to = fma(Vec<T>(a.dgate[row]), Vec<T>(a.load(a.call.weight_gate, unit)), Vec<T>(to)).raw;
    }
};

// The sum over the rows of the batch, in the caller's array. Over (1, columns).
template <class T>
struct SumBatch {
    const T* from;  // (B, columns)
    Index batch, columns;
    void* to;
    Dtype storage;

    RNNKERNELS_INLINE void operator()(Index, Index column) const {
        T sum = T(0);
        for (Index b = 0; b < batch; ++b) sum += from[b * columns + column];
        store_as<T>(to, storage, column, sum);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
