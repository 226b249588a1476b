// The backward engine's phases for an attending recurrence, behind those of the cell (recurrence/attention.h has the
// equations, attention_row.h a row's).
//
// The parts of a row group divide the features (context_gradient: dL/dcontext from the gradients of the cell's input),
// meet, divide the rows (weigh_backward), meet, and divide the units of h (ask_backward: what came through the query
// joins dL/dh of the step before). A row of the batch belongs to one part in all steps, since its sequences add to the
// same gradient of keys, in the order of steps and rows. The gradient of a row's features is a product over the steps
// of a chunk, made at its end (sum_features).
// Scores are made again, and not kept: T B L A values would be the largest array of the call.
#pragma once

#include "backward_sums.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Zeros where gradients are added to, and s_1 before every step.
template <class T>
void BackwardEngine<T>::begin_attending(int share, int shares) {
    const AttendingBackward<T>& shared = shared_.attending;
    const Attention& a = *shared.call;
    const AttendedGradients& d = shared_.call.d_attended;
    const auto clear = [&](void* to, Index size) {
        const Range mine = split_range(a.batch * a.places, 1, shares, share);
        if (mine.last > mine.first && size > 0)
            std::memset(static_cast<T*>(to) + mine.first * size, 0,
                        static_cast<std::size_t>((mine.last - mine.first) * size) * sizeof(T));
    };
    clear(d.keys, a.size);
    if (a.hard || shape_.steps == 0) clear(d.values, a.features);
    shared.put_exp_keys(share, shares);
    if (!shared.sums) return;
    const T* const weights = static_cast<const T*>(shared_.call.attended.weights);
    const Range mine = split_range(shape_.batch, 1, shares, share);
    for (Index row = mine.first; row < mine.last; ++row)
        for (Index t = 0; rows_.count(t) > row; ++t) {
            T* const to = shared.sums + (rows_.first(t) + row) * place_row(a.places);
            const T* const past = t > 0        ? shared.sums + (rows_.first(t - 1) + row) * place_row(a.places)
                                  : a.location ? static_cast<const T*>(a.location) + (row * 2 + 1) * a.places
                                               : nullptr;
            const T* const alpha = t > 0 ? weights + place(t - 1, row) * a.places : nullptr;
            for (Index i = 0; i < a.places; ++i) to[i] = (past ? past[i] : T(0)) + (alpha ? alpha[i] : T(0));
        }
}

template <class T>
void BackwardEngine<T>::context_gradient(Index t) {
    const AttendingBackward<T>& a = shared_.attending;
    const RowBlock<T> gates{nullptr, shared_.gradient_row(), shared_.input_slots, table_.input.count, shape_.hidden};
    each_part(t, [&]() RNNKERNELS_INLINED {
        multiply_rows(
            a.w_context, gates, [&](Index row) { return gradient(t, row); }, part_.rows_of_step(rows_, t),
            split_range(a.feature_blocks, blocks_per_edge(1, 1), part_.parts, part_.number),
            [&](RowSet rows, Range blocks) RNNKERNELS_INLINED {
                for (Index i = 0; i < rows.count; ++i)
                    for (Index block = blocks.first; block < blocks.last; ++block)
                        V::load(scratch_.product + (i * kStripBlocks + block - blocks.first) * lanes)
                            .store(dcontext(t, rows.at(i)) + block * lanes);
            });
    });
}

template <class T>
void BackwardEngine<T>::weigh_backward(Index t) {
    const Index batch = shared_.attending.call->batch;
    each_part(t, [&]() RNNKERNELS_INLINED {
        part_.rows_of_step(rows_, t).each([&](Index row) {
            if (place(t, row) % batch % part_.parts != part_.number) return;
            attend_backward(t, row);
            cpu::look(shared_.watch);
        });
    });
}

template <class T>
void BackwardEngine<T>::attend_backward(Index t, Index row) {
    const AttendingBackward<T>& shared = shared_.attending;
    const Attention& a = *shared.call;
    const AttendedGradients& d = shared_.call.d_attended;
    const AttendingScratch<T>& scratch = scratch_.attending;
    const Index at = place(t, row), b = at % a.batch, count = a.places;
    put_before(t, row);
    const AttentionRow<T> of_row = shared.row(b, scratch.before);
    T *const alpha = scratch.alpha, *const de = scratch.de;
    std::memcpy(alpha, static_cast<const T*>(shared_.call.attended.weights) + at * count,
                static_cast<std::size_t>(count) * sizeof(T));

    T* const d_looked = dcontext(t, row);
    if (d.contexts) {
        const T* const given = static_cast<const T*>(d.contexts) + at * a.features;
        for (Index i = 0; i < a.features; i += lanes)
            (V::load(d_looked + i) + V::load(given + i, a.features - i)).store(d_looked + i);
    }
    const T beta = shared.beta(h_before(t, row), width());
    T dbeta = T(0);
    if (a.hard) {
        T* const dvalues = static_cast<T*>(d.values) + b * count * a.features;
        dbeta = of_row.look_at_place_backward(shared_.call.attended.places[at], beta, d_looked, dvalues);
        for (Index i = 0; i < count; ++i) de[i] = T(0);
    } else {
        of_row.look_backward(d_looked, de);
        dbeta = of_row.of_places(alpha, de);
        for (Index i = 0; i < count; ++i) de[i] = beta * de[i];
        if (a.weight_gate)
            for (Index i = 0; i < a.features; i += lanes) (V(beta) * V::load(d_looked + i)).store(d_looked + i);
    }
    const T* const given = d.weights ? static_cast<const T*>(d.weights) + at * count : nullptr;
    T* const carried = shared.carried ? shared.carried + row * shared.before_size() : nullptr;
    for (Index i = 0; i < count; ++i) {
        if (given) de[i] += given[i];
        for (Index c = 0; c < a.channels; ++c) de[i] += carried[c * tapped_row(a) + a.taps / 2 + i];
    }

    T* const of_query = dq(t, row);
    std::memset(of_query, 0, static_cast<std::size_t>(shared.dq_row()) * sizeof(T));
    std::memset(scratch.dbefore, 0, static_cast<std::size_t>(shared.before_size()) * sizeof(T));
    of_row.weigh_backward(
        shared.q + (rows_.first(t) + row) * query_row(a.size), alpha, de, of_query,
        static_cast<T*>(d.keys) + b * count * a.size, shared.dscore ? shared.dscore + row * query_row(a.size) : nullptr,
        scratch.made, shared.dlocation ? shared.dlocation + row * shared.location_size() : nullptr, scratch.dbefore);
    if (a.weight_gate) of_query[query_row(a.size)] = dbeta * beta * (T(1) - beta);
    // s_0 is alpha of one step, s_1 the sum of those of all steps before.
    for (Index i = 0; i < shared.before_size(); ++i)
        carried[i] = i < tapped_row(a) ? scratch.dbefore[i] : carried[i] + scratch.dbefore[i];
}

// s before step t.
template <class T>
void BackwardEngine<T>::put_before(Index t, Index row) {
    const AttendingBackward<T>& shared = shared_.attending;
    const Attention& a = *shared.call;
    for (Index c = 0; c < a.channels; ++c) {
        const T* from = nullptr;
        if (c == 1)
            from = shared.sums + (rows_.first(t) + row) * place_row(a.places);
        else if (t > 0)
            from = static_cast<const T*>(shared_.call.attended.weights) + place(t - 1, row) * a.places;
        else if (a.location)
            from = static_cast<const T*>(a.location) + row * a.channels * a.places;
        T* const to = scratch_.attending.before + c * tapped_row(a) + a.taps / 2;
        for (Index i = 0; i < a.places; ++i) to[i] = from ? from[i] : T(0);
    }
}

template <class T>
void BackwardEngine<T>::ask_backward(Index t) {
    const AttendingBackward<T>& a = shared_.attending;
    const RowBlock<T> one{nullptr, a.dq_row(), kNoOffset, 1, a.call->size};
    const T* const gate = static_cast<const T*>(a.call->weight_gate);
    each_part(t, [&]() RNNKERNELS_INLINED {
        multiply_rows(
            a.w_query, one, [&](Index row) { return dq(t, row); }, part_.rows_of_step(rows_, t), part_.blocks,
            [&](RowSet rows, Range blocks) RNNKERNELS_INLINED {
                for (Index i = 0; i < rows.count; ++i) {
                    const V of_gate(dq(t, rows.at(i))[query_row(a.call->size)]);
                    for (Index block = blocks.first; block < blocks.last; ++block) {
                        V dh = V::load(scratch_.product + (i * kStripBlocks + block - blocks.first) * lanes);
                        if (gate) dh = fma(of_gate, V::load(gate + block * lanes, valid(block)), dh);
                        T* const to = carried(rows.at(i)) + block * table_.states * lanes;
                        (V::load(to) + dh).store(to);
                    }
                }
            });
    });
}

// A chunk's rows into the gradients of the weights.
template <class T>
void BackwardEngine<T>::sum_attending(Index first, Index last) {
    const AttendingBackward<T>& shared = shared_.attending;
    const Attention& a = *shared.call;
    const AttendedGradients& d = shared_.call.d_attended;
    const Index begin = rows_.first(first), count = rows_.first(last) - begin;
    const bool begins = last == shape_.steps;
    if (!a.hard)
        phases_.everyone([&](int share, int shares) {
            const Range mine = split_range(a.batch, 1, shares, share);
            for (Index b = mine.first; b < mine.last; ++b) sum_features(first, last, b);
        });
    const GradientRows<T> queries{shared.dq, shared.dq_row(), count};
    phases_.everyone(
        [&](int share, int shares) { sum_slots(queries, shared.dq_row() / lanes, shared.dq_sums, share, shares); });
    const auto h = [&](Index row) { return h_before(begin + row); };
    const auto add = [&](Index slot, Index units, void* out) {
        shared_.outer.add(queries, &slot, kOneGate.row, 1, units, h, width(), static_cast<T*>(out), width(), begins,
                          phases_);
    };
    add(0, a.size, d.weight_query);
    if (a.weight_gate) add(query_row(a.size), 1, d.weight_gate);
    const T* const contexts = static_cast<const T*>(shared_.call.attended.contexts);
    shared_.outer.add(
        GradientRows<T>{shared_.gradient, shared_.gradient_row(), count}, shared_.input_slots, table_.input.row,
        table_.input.count, shape_.hidden, [&](Index row) { return contexts + rows_.place(begin + row) * a.features; },
        a.features, static_cast<T*>(shared_.call.dweight_ih) + shape_.input, input_row(shared_.in), begins, phases_);
}

// The gradient of the features of row b of the batch: what the rows of a chunk that look at it give, as products of
// alpha and dL/dcontext, in the order of the backward's steps. So it is one chain, wherever chunks end.
template <class T>
void BackwardEngine<T>::sum_features(Index first, Index last, Index b) {
    const Attention& a = *shared_.attending.call;
    const AttendingScratch<T>& scratch = scratch_.attending;
    const Index size = place_row(a.places);
    T* const to = static_cast<T*>(shared_.call.d_attended.values) + b * a.places * a.features;
    const T* contexts[AttendingScratch<T>::kRows];
    Index count = 0;
    bool set = last == shape_.steps;
    const auto add = [&] {
        scratch.values.go_on(
            {scratch.weights, size, count}, a.places, [&](Index row) { return contexts[row]; }, a.features, to, set);
        set = false;
        count = 0;
        cpu::look(shared_.watch);
    };
    // A row of the batch is one row of all steps, unless sequences share it.
    Index begin = 0;
    if (!a.rows_shared)
        while (begin < rows_.count(first) && place(0, begin) % a.batch != b) ++begin;
    for (Index t = last - 1; t >= first; --t)
        for (Index row = begin; row < rows_.count(t) && (a.rows_shared || row == begin); ++row) {
            if (place(t, row) % a.batch != b) continue;
            std::memcpy(scratch.weights + count * size,
                        static_cast<const T*>(shared_.call.attended.weights) + place(t, row) * a.places,
                        static_cast<std::size_t>(a.places) * sizeof(T));
            contexts[count] = dcontext(t, row);
            if (++count == AttendingScratch<T>::kRows) add();
        }
    if (count > 0 || set) add();
}

template <class T>
void BackwardEngine<T>::write_attending() {
    const AttendingBackward<T>& shared = shared_.attending;
    const Attention& a = *shared.call;
    const AttendedGradients& d = shared_.call.d_attended;
    const Index lines = a.channels * a.taps, row = query_row(a.size);
    // The sum over sequences of value `at` of each.
    const auto sum = [&](const T* of_rows, Index size, Index at) {
        T all = T(0);
        for (Index i = 0; i < shape_.batch; ++i) all += of_rows[i * size + at];
        return all;
    };
    for (Index i = 0; i < a.size; ++i) {
        if (d.bias_query) static_cast<T*>(d.bias_query)[i] = shared.dq_sums[i];
        if (d.score) static_cast<T*>(d.score)[i] = sum(shared.dscore, row, i);
        for (Index line = 0; line < lines; ++line)
            static_cast<T*>(d.weight_location)[i * lines + line] =
                sum(shared.dlocation, shared.location_size(), line * row + i);
    }
    if (d.bias_gate) *static_cast<T*>(d.bias_gate) = shared.dq_sums[row];
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
