// The GPU's forward engine: the phases of recurrence/order.h as work in a stream.
//
// The x part of a chunk of steps is one product; then each step is a product of the rows of h with the recurrent
// weights and one pass of the cell over them. All of it is put into the stream without waiting for any: what follows
// what is the stream's order. Nothing is allocated, nothing copied to or from the host. Not here: what a thread does
// (forward_bodies.h), the cells' maths (cells/), the order of steps (recurrence/order.h).
#pragma once

#include "engine.h"
#include "normalised_forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
class ForwardEngine : public Engine<Cell, T> {
    using Base = Engine<Cell, T>;
    using G = Geometry<Cell>;
    using Base::at_step;
    using Base::chunk_;
    using Base::chunk_row_;
    using Base::in_;
    using Base::layer_;
    using Base::put;
    using Base::queue_;
    using Base::rows_;
    using Base::shape_;
    using Base::storage_;
    using Base::widest;

public:
    // Lays the call's memory out; nothing is read or written yet.
    ForwardEngine(const ForwardCall& call, Dtype storage, const Queue& queue, Arena& arena)
        : Base(call.in, storage, queue, forward_row_bytes<Cell, T>(call.in.shape), arena),
          a_(call.in, storage, layer_.diagonal()) {
        const Index batch = shape_.batch, hidden = shape_.hidden, width = Base::width(), total = rows_.total();
        a_.input = shape_.input;
        a_.bias_ih = layer_.bias_ih(), a_.bias_hh = layer_.bias_hh();
        a_.term = layer_.term();
        a_.x = in_.x, a_.tokens = in_.tokens;
        makes_table_ = in_.tokens && shape_.input <= total;
        if (makes_table_) {
            a_.table = table_ = arena.take<T>(shape_.input * G::inputs * hidden);
        } else {
            a_.x_part = arena.take<T>(chunk_ * G::inputs * hidden);
        }
        if (in_.x && rows_.of_rows) x_rows_ = arena.take(chunk_ * shape_.input, storage);
        a_.u_part = arena.take<T>(batch * G::hiddens * hidden);
        a_.feedback_part = arena.take<T>(batch * G::feedbacks * hidden);
        a_.gated_part = arena.take<T>(batch * G::gateds * hidden);
        for (int k = 0; k < G::states; ++k) {
            a_.initial[k] = in_.state[k];
            a_.states[k] = arena.take<T>(batch * (k == 0 ? width : hidden));
            a_.sequence[k] = call.sequence[k];
            a_.final_state[k] = call.final_state[k];
        }
        if (storage != dtype_of<T> || a_.masks.drops) a_.operand = arena.take(batch * width, storage);
        const ReserveLayout<Cell, T> reserve{hidden, total, a_.masks.zones, storage};
        a_.reserve = static_cast<T*>(call.reserve);
        a_.scales = static_cast<T*>(reserve.scales_of(call.reserve));
        if constexpr (G::vectors > 0)
            a_.feedback =
                call.reserve ? reserve.fed_of(call.reserve) : arena.take(batch * G::vectors * hidden, storage);
        if constexpr (projected<Cell>) {
            a_.made = call.reserve ? reserve.made_of(call.reserve) : arena.take(batch * hidden, storage);
            a_.projection_part = arena.take<T>(batch * width);
        }
        if constexpr (two_products<Cell>) a_.gated = arena.take(batch * hidden, storage);
        if constexpr (two_products<Cell> || normalises_inner<Cell>)
            if (!call.reserve) a_.between = arena.take<T>(batch * G::saved * hidden);
        if constexpr (normalises_inner<Cell>) a_.inner = arena.take<T>(batch * hidden);
        a_.output = call.output;
    }

    void run() {
        layer_.fill(queue_);
        if (makes_table_)
            each(queue_, shape_.input, G::inputs * shape_.hidden,
                 MakeTable<T>{in_.weight_ih, storage_, table_, shape_.input, G::inputs * shape_.hidden});
        each(queue_, shape_.batch, widest(), BeginForward<Cell, T>{a_, shape_.steps > 0});
        run_forward<Cell>(*this, rows_, chunk_);
    }

    // ---- the phases of recurrence/order.h

    void project(Index first, Index last) {
        chunk_row_ = rows_.first(first);
        if (makes_table_) return;
        const Index count = rows_.first(last) - chunk_row_, columns = G::inputs * shape_.hidden;
        if (in_.tokens) {
            each(queue_, count, columns,
                 GatherTokens<T>{in_.weight_ih, storage_, in_.tokens, rows_, chunk_row_, shape_.input, columns,
                                 a_.x_part});
            return;
        }
        if (x_rows_)
            each(queue_, count, shape_.input, GatherRows<T>{in_.x, x_rows_, storage_, rows_, chunk_row_, shape_.input});
        multiply(count, columns, shape_.input, x_rows_ ? x_rows_ : offset(in_.x, storage_, chunk_row_ * shape_.input),
                 shape_.input, in_.weight_ih, a_.x_part);
    }

    void step(Index t) {
        const StepRows now = at_step(t);
        multiply_recurrent(now);
        each(queue_, now.count, shape_.hidden, ForwardStep<Cell, T>{a_, now});
    }

    void gates(Index t) {
        const StepRows now = at_step(t);
        multiply_recurrent(now);
        each(queue_, now.count, shape_.hidden, ForwardGates<Cell, T>{a_, now});
    }

    void state(Index t) {
        const StepRows now = at_step(t);
        const Index hidden = shape_.hidden;
        multiply(now.count, G::gateds * hidden, hidden, a_.gated, hidden, Base::weight_of_gated(), a_.gated_part);
        each(queue_, now.count, hidden, ForwardState<Cell, T>{a_, now});
    }

    void project_h(Index t) {
        const StepRows now = at_step(t);
        const void* made = a_.reserve ? offset(a_.made, storage_, now.first * shape_.hidden) : a_.made;
        multiply(now.count, a_.width, shape_.hidden, made, shape_.hidden, in_.weight_hr, a_.projection_part);
        each(queue_, now.count, a_.width, ForwardProjection<Cell, T>{a_, now});
    }

    void products(Index t) { multiply_recurrent(at_step(t)); }

    void rows(Index t) {
        const StepRows now = at_step(t);
        each_row(queue_, now.count, NormalisedForward<Cell, T>{a_, now});
    }

    void finish() { each(queue_, shape_.batch, widest(), FinishForward<Cell, T>{a_}); }

private:
    // to (m, n) = a (m, k) times the transpose of a weight (n, k).
    void multiply(Index m, Index n, Index k, const void* a, Index stride, const void* weight, T* to) const {
        if (m > 0 && n > 0)
            put(Product{m, n, k, a, stride, false, weight, k, true, to, n, false, storage_, dtype_of<T>});
    }
    void multiply_recurrent(const StepRows& now) const {
        const Index hidden = shape_.hidden, width = a_.width;
        multiply(now.count, G::hiddens * hidden, width, a_.operand ? a_.operand : a_.states[0], width,
                 Base::weight_of_h(), a_.u_part);
        if constexpr (G::vectors > 0) {
            const Index size = G::vectors * hidden;
            const void* fed = a_.reserve ? offset(a_.feedback, storage_, now.first * size) : a_.feedback;
            multiply(now.count, G::feedbacks * hidden, size, fed, size, Base::weight_of_fed(), a_.feedback_part);
        }
    }

    ForwardArrays<Cell, T> a_;
    bool makes_table_ = false;
    T* table_ = nullptr;
    void* x_rows_ = nullptr;  // (rows of a chunk, I): the caller's x, packed
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
