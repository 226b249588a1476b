// The GPU's forward of an attending recurrence: the phases of recurrence/order.h before the cell's, as work in a
// stream. The query is a product; scores, softmax and context are bodies (attention_forward_bodies.h); the context's
// product is added to the x part where that stands. Not here: the rest of the forward (forward.h).
#pragma once

#include "forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
void ForwardEngine<T>::take_attending(Arena& arena) {
    const Attention& a = *in_.attention;
    const Index batch = shape_.batch;
    attention_.call = a;
    attention_.storage = storage_, attention_.places = rows_.of_rows, attention_.width = Base::width();
    const ReserveLayout layout(table_, shape_.hidden, rows_.total(), masks_.zones, storage_);
    kept_queries_ = static_cast<T*>(layout.behind(call_.reserve));
    if (!kept_queries_) attention_.q = arena.take<T>(batch * query_row(a.size));
    attention_.scores = arena.take<T>(batch * a.places);
    attention_.alpha = arena.take<T>(batch * a.places);
    attention_.beta = arena.take<T>(batch);
    attention_.before = arena.take<T>(batch * a.channels * a.places);
    contexts_ = arena.take(batch * a.features, storage_);
    // What a query multiplies is h itself, also where the recurrent weights see it masked.
    if (storage_ != dtype_of<T>) asking_ = arena.take(batch * Base::width(), storage_);
}

template <class T>
void ForwardEngine<T>::begin_attending() const {
    const Attention& a = *in_.attention;
    each(queue_, shape_.batch, a.channels * a.places, BeginLooking<T>{attention_});
}

template <class T>
AttentionStep<T> ForwardEngine<T>::attention(const StepRows& now) const {
    AttentionStep<T> a = attention_;
    a.first = now.first, a.count = now.count;
    if (kept_queries_) a.q = kept_queries_ + now.first * query_row(a.call.size);
    return a;
}

template <class T>
void ForwardEngine<T>::ask(Index t) {
    const StepRows now = at_step(t);
    const AttentionStep<T> a = attention(now);
    const Index width = Base::width();
    const T* const h = a_.states[0];
    if (asking_) each(queue_, 1, now.count * width, Convert<T>{h, dtype_of<T>, asking_, storage_});
    if (now.count > 0)
        put(Product{now.count, a.call.size, width, asking_ ? asking_ : h, width, false, a.call.weight_query, width,
                    true, a.q, query_row(a.call.size), false, storage_, dtype_of<T>});
}

template <class T>
void ForwardEngine<T>::weigh(Index t) {
    const StepRows now = at_step(t);
    const AttentionStep<T> a = attention(now);
    const Attended& to = call_.attended;
    each_row(queue_, now.count, OpenGate<T>{a, a_.states[0]});
    each_row(queue_, now.count * a.call.places, ScorePlaces<T>{a});
    each_row(queue_, now.count, Weigh<T>{a, to.weights});
    each(queue_, now.count, a.call.features, Look<T>{a, to.contexts, contexts_, a.call.hard ? to.places : nullptr});
}

template <class T>
void ForwardEngine<T>::take_context(Index t) {
    const StepRows now = at_step(t);
    const Index features = in_.attention->features;
    T* const x_part = x_part_ + now.in_chunk * inputs_;
    if (now.count > 0)
        put(Product{now.count, inputs_, features, contexts_, features, false,
                    offset(in_.weight_ih, storage_, shape_.input), Base::input_row(), true, x_part, inputs_, true,
                    storage_, dtype_of<T>});
    if (Base::normalised()) normalise_x(now.first, now.count, x_part);
}

template <class T>
void ForwardEngine<T>::finish_attending() const {
    void* const to = call_.attended.location;
    const Index size = in_.attention->channels * in_.attention->places;
    if (to) each(queue_, 1, shape_.batch * size, Convert<T>{attention_.before, dtype_of<T>, to, storage_});
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
