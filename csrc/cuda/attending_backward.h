// The GPU's backward of an attending recurrence: the phases of recurrence/order.h behind the cell's, as work in a
// stream. Not here: what a thread does (attention_backward_bodies.h), the rest of the backward (backward.h).
#pragma once

#include "backward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
void BackwardEngine<T>::take_attending(Arena& arena) {
    const Attention& a = *in_.attention;
    const AttendedGradients& d = call_.d_attended;
    const Index batch = shape_.batch, lines = a.channels * a.taps;
    attention_.call = a;
    attention_.storage = storage_, attention_.places = rows_.of_rows, attention_.width = Base::width();
    const ReserveLayout layout(table_, shape_.hidden, rows_.total(), masks_.zones, storage_);
    queries_ = static_cast<T*>(const_cast<void*>(layout.behind(call_.reserve)));
    attention_.beta = arena.take<T>(batch);
    attention_.before = arena.take<T>(batch * a.channels * a.places);
    attention_.given = arena.take<T>(batch * a.places);
    attention_.de = arena.take<T>(batch * a.places);
    attention_.carried = arena.take<T>(batch * a.channels * a.places);
    attention_.dgate = arena.take<T>(batch);
    attention_.dscore = arena.take<T>(a.score ? a.batch * a.size : 0);
    attention_.dlocation = arena.take<T>(a.batch * a.size * lines);
    attention_.made = arena.take<T>(lines > 0 ? batch * a.places * a.size : 0);
    attention_.drawn = a.hard ? call_.attended.places : nullptr;
    attention_.d_weights = d.weights;
    attention_.dcontext = dcontext_ = arena.take<T>(batch * a.features);
    const auto sum_of = [&](void* caller, Index count) {
        return storage_ == dtype_of<T> ? static_cast<T*>(caller) : arena.take<T>(count);
    };
    attention_.dkeys = sum_of(d.keys, a.batch * a.places * a.size);
    attention_.dvalues = sum_of(d.values, a.batch * a.places * a.features);
    d_query_ = sum_of(d.weight_query, a.size * Base::width());
    d_gate_ = d.weight_gate ? sum_of(d.weight_gate, Base::width()) : nullptr;
    dq_ = arena.take(chunk_ * attention_.dq_row(), storage_);
    dq_sums_ = arena.take<T>(attention_.dq_row());
    dq_parts_ = arena.take<T>((chunk_ + kSumRows - 1) / kSumRows * attention_.dq_row());
    if (a.channels > 1) place_sums_ = arena.take<T>(rows_.total() * a.places);
    h_before_ = arena.take<T>(batch * Base::width());
    // Else the sums of the recurrent weights have it, unmasked.
    if (masks_.drops || !(rows_.ragged() || rows_.of_rows)) asking_ = arena.take(chunk_ * Base::width(), storage_);
    if (rows_.of_rows) context_rows_ = arena.take(chunk_ * a.features, storage_);
}

// Zeros where gradients are added to, and s_1 before every step.
template <class T>
void BackwardEngine<T>::begin_attending() const {
    const Attention& a = *in_.attention;
    const auto clear_all = [&](T* to, Index count) {
        if (to) clear(queue_, to, count * Index{sizeof(T)});
    };
    const Index lines = a.channels * a.taps;
    clear_all(attention_.carried, shape_.batch * a.channels * a.places);
    clear_all(attention_.dscore, a.score ? a.batch * a.size : 0);
    clear_all(attention_.dlocation, a.batch * a.size * lines);
    clear_all(attention_.dkeys, a.batch * a.places * a.size);
    clear_all(attention_.dvalues, a.batch * a.places * a.features);
    clear_all(d_query_, a.size * Base::width());
    clear_all(d_gate_, Base::width());
    clear_all(dq_sums_, attention_.dq_row());
    if (!place_sums_) return;
    for (Index t = 0; t < rows_.steps; ++t) {
        const Index past = t > 0 ? rows_.first(t - 1) : -1;
        each(queue_, rows_.count(t), a.places,
             SumPlaces<T>{attention_, call_.attended.weights, past, place_sums_ + (t > 0 ? past : 0) * a.places,
                          place_sums_ + rows_.first(t) * a.places});
    }
}

template <class T>
AttentionBack<T> BackwardEngine<T>::attention(const StepRows& now) const {
    AttentionBack<T> a = attention_;
    a.first = now.first, a.count = now.count;
    a.q = queries_ + now.first * query_row(a.call.size);
    a.dq = offset(dq_, storage_, now.in_chunk * a.dq_row());
    return a;
}

template <class T>
void BackwardEngine<T>::context_gradient(Index t) {
    const StepRows now = at_step(t);
    const Index features = in_.attention->features;
    multiply(now.count, features, table_.input.count * shape_.hidden, gradients(now, layout_.input), columns_,
             offset(in_.weight_ih, storage_, shape_.input), dcontext_, Base::input_row());
    if (const void* given = call_.d_attended.contexts)
        each(queue_, now.count, features, AddContexts<T>{attention(now), given, dcontext_});
}

template <class T>
void BackwardEngine<T>::weigh_backward(Index t) {
    const StepRows now = at_step(t);
    const AttentionBack<T> a = attention(now);
    const void* const weights = call_.attended.weights;
    const Index width = Base::width(), many = a.call.places, past = t > 0 ? rows_.first(t - 1) : -1;
    // h before the step as the query saw it.
    void* const asking = asking_ ? asking_ : Base::operand_;
    void* const rows = offset(asking, storage_, now.in_chunk * width);
    each(queue_, now.count, width, HBefore<T>{arrays(t), storage_, rows, h_before_});
    each_row(queue_, now.count, OpenGate<T>{a, h_before_});
    if (a.call.channels > 0)
        each(queue_, now.count, many,
             PutBefore<T>{a, weights, past, place_sums_ ? place_sums_ + now.first * many : nullptr});
    each_row(queue_, a.call.batch * many, LookBack<T>{a, weights});
    each_row(queue_, now.count, WeighBack<T>{a, weights});
    each(queue_, a.call.batch, a.call.size, AskBack<T>{a});
    each_row(queue_, now.count * a.call.channels * many, LocateBack<T>{a});
}

template <class T>
void BackwardEngine<T>::ask_backward(Index t) {
    const StepRows now = at_step(t);
    const AttentionBack<T> a = attention(now);
    const Index width = Base::width();
    if (now.count == 0) return;
    Base::put(Product{now.count, width, a.call.size, a.dq, a.dq_row(), false, a.call.weight_query, width, false,
                      a_.carried[0], width, true, storage_, dtype_of<T>});
    if (a.call.weight_gate) each(queue_, now.count, width, GateBack<T>{a, a_.carried[0]});
}

// A chunk's rows into the gradients of the weights.
template <class T>
void BackwardEngine<T>::sum_attending(Index first, Index last) const {
    const Attention& a = *in_.attention;
    const Index count = rows_.first(last) - rows_.first(first), row = attention_.dq_row(), width = Base::width();
    const Index blocks = (count + kSumRows - 1) / kSumRows;
    each(queue_, blocks, row, SumBlocks<T>{dq_, storage_, count, row, dq_parts_});
    each(queue_, 1, row, AddBlocks<T>{dq_parts_, blocks, row, dq_sums_});
    if (count == 0) return;
    const void* const h = asking_ ? asking_ : Base::operand_;
    Base::put(
        Product{a.size, width, count, dq_, row, true, h, width, false, d_query_, width, true, storage_, dtype_of<T>});
    if (d_gate_)
        Base::put(Product{1, width, count, offset(dq_, storage_, query_row(a.size)), row, true, h, width, false,
                          d_gate_, width, true, storage_, dtype_of<T>});
    const void* contexts = offset(call_.attended.contexts, storage_, rows_.first(first) * a.features);
    if (context_rows_) {
        each(queue_, count, a.features,
             GatherRows<T>{call_.attended.contexts, context_rows_, storage_, rows_, rows_.first(first), a.features});
        contexts = context_rows_;
    }
    Base::add_context(count, contexts, a.features, last < shape_.steps);
}

template <class T>
void BackwardEngine<T>::finish_attending() const {
    const Attention& a = *in_.attention;
    const AttendedGradients& d = call_.d_attended;
    const auto write = [&](const T* from, void* to, Index count) {
        if (to && from != to) each(queue_, 1, count, Convert<T>{from, dtype_of<T>, to, storage_});
    };
    write(attention_.dkeys, d.keys, a.batch * a.places * a.size);
    write(attention_.dvalues, d.values, a.batch * a.places * a.features);
    write(d_query_, d.weight_query, a.size * Base::width());
    write(d_gate_, d.weight_gate, Base::width());
    write(dq_sums_, d.bias_query, a.size);
    write(dq_sums_ + query_row(a.size), d.bias_gate, 1);
    const auto sum = [&](const T* from, Index columns, void* to) {
        if (to) each(queue_, 1, columns, SumBatch<T>{from, a.batch, columns, to, storage_});
    };
    sum(attention_.dscore, a.size, d.score);
    sum(attention_.dlocation, a.size * a.channels * a.taps, d.weight_location);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
