// The GPU's forward engine: the phases of recurrence/order.h as work in a stream, for any cell.
//
// The x part of a chunk of steps is one product; then each step is a product of the rows of h with the recurrent
// weights and one pass of the cell over them. All of it is put into the stream without waiting for any: what follows
// what is the stream's order. Nothing is allocated, nothing copied to or from the host. Not here: what a thread does
// (forward_bodies.h, ends.h, options.h, normalise.h), the cells' maths (cells/), the order of steps
// (recurrence/order.h).
#pragma once

#include "attention_forward_bodies.h"
#include "ends.h"
#include "engine.h"
#include "grid/coverage.h"
#include "grid/warp.h"
#include "normalise.h"
#include "resident/coverage.h"
#include "resident/pair.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
class ForwardEngine : public Engine<T> {
    using Base = Engine<T>;
    using Base::at_step;
    using Base::chunk_;
    using Base::chunk_row_;
    using Base::grid_;
    using Base::in_;
    using Base::launches_;
    using Base::layer_;
    using Base::layout_;
    using Base::masks_;
    using Base::put;
    using Base::queue_;
    using Base::rows_;
    using Base::shape_;
    using Base::starts_;
    using Base::storage_;
    using Base::table_;
    using Base::widest;

public:
    // Lays the call's memory out; nothing is read or written yet.
    ForwardEngine(const Cell& cell, const ForwardCall& call, Dtype storage, const Queue& queue, Arena& arena)
        : Base(cell, call.in, storage, queue, forward_row_bytes(*cell.table, call.in.shape, storage), arena),
          call_(call),
          inputs_(table_.input.count * shape_.hidden) {
        const Index batch = shape_.batch, hidden = shape_.hidden, width = Base::width();
        Base::set_call(a_);
        a_.tokens = in_.tokens;
        makes_table_ = in_.tokens && shape_.input <= rows_.total() && !Base::attending();
        if (makes_table_) token_table_ = arena.take<T>(shape_.input * inputs_);
        if (!makes_table_ || Base::normalised()) x_part_ = arena.take<T>(chunk_ * inputs_);
        if (!Base::normalised()) a_.table = token_table_;
        if (in_.x && rows_.of_rows) x_rows_ = arena.take(chunk_ * x_row(shape_), storage);
        a_.u_part = u_part_ = arena.take<T>(batch * table_.hidden.count * hidden);
        a_.fed_part = fed_part_ = arena.take<T>(batch * table_.feedback.count * hidden);
        a_.gated_part = gated_part_ = arena.take<T>(batch * table_.gated.count * hidden);
        set_biases();
        for (int k = 0; k < table_.states; ++k) {
            a_.states[k] = arena.take<T>(batch * (k == 0 ? width : hidden));
            initial_.array[k] = in_.state[k], final_.array[k] = call.final_state[k];
            has_sequences_ = has_sequences_ || call.sequence[k];
        }
        initial_.count = final_.count = table_.states;
        if (storage != dtype_of<T> || masks_.drops) operand_ = arena.take(batch * width, storage);
        // Masks come after the cell, and Zone makes another h: then a step's operand is made when it begins.
        if (!masks_.drops && !masks_.zones) a_.operand = operand_;
        take_kept(arena);
        if (Base::attending()) take_attending(arena);
        if (Base::projected()) projection_part_ = arena.take<T>(batch * width);
        if (queue.grid > 0 && hidden > 0)
            Base::take_exchange(divide_grid(table_, shape_, {queue.capability, queue.grid}), arena);
        if (queue.is_resident() || queue.grid > 0) Base::take_starts(arena);
        a_.output = call.output;
    }

    void run() {
        begin();
        run_forward(table_.form, *this, rows_, chunk_);
    }
    // The same in pieces: begin, take every step, finish.
    void begin() {
        layer_.fill(queue_);
        Base::put_starts();
        if (makes_table_)
            each(queue_, shape_.input, inputs_,
                 MakeTable<T>{in_.weight_ih, storage_, token_table_, shape_.input, Base::input_row(), inputs_});
        each(queue_, shape_.batch, widest(), BeginForward<T>{a_, initial_});
        if (Base::attending()) begin_attending();
    }
    void take(Index first, Index last) {
        for (Index at = first; at < last;) {
            const Index end = next(at) < last ? next(at) : last;
            run_forward_chunk(table_.form, *this, at, end, true);
            at = end;
        }
    }
    // The end of a chunk that begins at this step.
    Index next(Index first) const { return rows_.chunk_end(first, chunk_); }

    // ---- the phases of recurrence/order.h

    void begin_chunk(Index, Index) {}
    void project(Index first, Index last) {
        chunk_row_ = rows_.first(first);
        const Index count = rows_.first(last) - chunk_row_, input = shape_.input, row = x_row(shape_);
        if (makes_table_) {
        } else if (in_.tokens) {
            each(queue_, count, inputs_,
                 GatherTokens<T>{in_.weight_ih, storage_, in_.tokens, rows_, chunk_row_, input, Base::input_row(),
                                 inputs_, x_part_});
        } else {
            if (x_rows_) each(queue_, count, row, GatherRows<T>{in_.x, x_rows_, storage_, rows_, chunk_row_, row});
            const void* x = x_rows_ ? x_rows_ : offset(in_.x, storage_, chunk_row_ * row);
            if (input == 0)
                clear(queue_, x_part_, count * inputs_ * Index{sizeof(T)});
            else if (count > 0)
                put(Product{count, inputs_, input, x, row, false, in_.weight_ih, Base::input_row(), true, x_part_,
                            inputs_, false, storage_, dtype_of<T>});
        }
        // With a context it is whole in each step only.
        if (Base::normalised() && !Base::attending()) normalise_x(chunk_row_, count, x_part_);
    }

    // All steps of a chunk in one kernel, where the queue wants that.
    bool steps(Index first, Index last) {
        if ((!queue_.is_resident() && queue_.grid == 0) || shape_.hidden == 0) return false;
        ResidentCall call{};
        if constexpr (sizeof(T) == 4) call.a = arrays({chunk_row_, 0, 0, 0});
        call.weight = static_cast<const std::uint16_t*>(in_.weight_hh);
        if (!reserve_) call.a.to_save = nullptr;  // what goes from one half to the other stays where it is
        // Likewise what is fed back, and what the cell made where that is not what is next.
        call.a.fed = reserve_ ? offset(fed_, storage_, chunk_row_ * table_.vectors * shape_.hidden) : nullptr;
        call.a.fed_dtype = storage_;
        if (!reserve_) call.a.made_states = nullptr;
        call.masks = unit_masks(in_.noise, rows_.of_rows);
        if (table_.own_feedback_weight)
            call.fed_weight = static_cast<const std::uint16_t*>(Base::weight_of(table_.feedback, 0));
        int tile_gate = 0;
        for (const ProductGates* product : {&table_.hidden, &table_.gated, &table_.feedback})
            for (int i = 0; i < product->count; ++i) call.gate_row[tile_gate++] = product->row[i];
        call.batch = shape_.batch, call.steps = last - first;
        call.starts = starts_, call.first_step = first;
        for (int k = 0; k < table_.states; ++k) call.sequence[k] = call_.sequence[k];
        if (queue_.grid > 0) {
            launches_.grid(queue_, grid_, {call, Base::cleared_exchange()}, launches_.program);
            return true;
        }
        if (queue_.pair && queue_.pair->keeps(call)) return true;
        const Resident shape = divide(table_, in_, operands_of(storage_, queue_.products->tf32), queue_);
        launches_.resident(queue_, shape, call, launches_.program);
        return true;
    }
    // An attending recurrence (attending_forward.h).
    bool attends() const { return Base::attending(); }
    void ask(Index t);
    void weigh(Index t);
    void take_context(Index t);

    void step(Index t) {
        const StepRows now = at_step(t);
        multiply_recurrent(now);
        const ForwardArrays<T> a = arrays(now);
        run(launches_.forward, now.count, a);
        if (!Base::projected()) finish_step(now, a);
    }

    void gates(Index t) {
        const StepRows now = at_step(t);
        multiply_recurrent(now);
        run(launches_.forward, now.count, arrays(now));
        if (unmasked_) Base::mask(now.first, now.count, shape_.hidden, 1, unmasked_, dtype_of<T>, gated_, storage_);
    }

    void state(Index t) {
        const StepRows now = at_step(t);
        multiply(now.count, table_.gated, gated_, gated_part_);
        second_half(now);
    }

    void project_h(Index t) {
        const StepRows now = at_step(t);
        const ForwardArrays<T> a = arrays(now);
        multiply(now.count, a.width, shape_.hidden, a.made, shape_.hidden, in_.weight_hr, projection_part_);
        each(queue_, now.count, a.width, ForwardProjection<T>{a, projection_part_});
        finish_step(now, a);
    }

    void products(Index t) { multiply_recurrent(at_step(t)); }

    void rows(Index t) {
        const StepRows now = at_step(t);
        const int inputs = table_.input.count, hiddens = table_.hidden.count;
        normalise_rows(now.count, normalised(now.first, u_part_, inputs, hiddens, layer_.bias_hh(), 1));
        const ForwardArrays<T> a = arrays(now);
        run(launches_.forward, now.count, a);
        if (!Base::inner()) return finish_step(now, a);
        Normalised<T> of = normalised(now.first, inner_, inputs + hiddens, 1, nullptr, 2);
        of.shift = of.gain + shape_.hidden;  // the last of the element-wise weights
        of.to = normal_;
        normalise_rows(now.count, of);
        second_half(now);
    }

    void finish() {
        each(queue_, shape_.batch, widest(), FinishForward<T>{a_, final_});
        if (Base::attending()) finish_attending();
    }

private:
    void take_attending(Arena& arena);
    void begin_attending() const;
    AttentionStep<T> attention(const StepRows& now) const;
    void finish_attending() const;

    // The x part of rows from row `first` of all on, in place.
    void normalise_x(Index first, Index count, T* x_part) const {
        ForwardArrays<T> a = a_;
        a.first = first, a.x_part = x_part, a.table = token_table_;
        const Normalised<T> of = normalised(first, x_part, 0, table_.input.count, layer_.bias_ih(), 0);
        each_row(queue_, count, NormaliseX<T>{a, of});
    }
    void set_biases() {
        a_.term = layer_.term();
        if (Base::normalised()) return;  // they stand behind the normalisation
        a_.bias_x = layer_.bias_ih();
        const T* bias = layer_.bias_hh();
        if (!bias) return;
        a_.bias_u = bias + layout_.first_hidden_row * shape_.hidden;
        a_.bias_gated = bias + layout_.first_gated_row * shape_.hidden;
        if (!table_.own_feedback_weight) a_.bias_fed = bias + layout_.first_feedback_row * shape_.hidden;
    }
    // What a backward will need, or a step's later bodies.
    void take_kept(Arena& arena) {
        const Index batch = shape_.batch, hidden = shape_.hidden;
        const ReserveLayout layout(table_, hidden, rows_.total(), masks_.zones, storage_);
        reserve_ = static_cast<T*>(call_.reserve);
        scales_ = static_cast<T*>(layout.scales_of(call_.reserve));
        reserve_row_ = layout.vectors * hidden;
        const auto kept_or_taken = [&](void* kept, Index count) {
            return kept ? kept : arena.take(batch * count, storage_);
        };
        if (table_.vectors > 0) fed_ = kept_or_taken(layout.fed_of(call_.reserve), table_.vectors * hidden);
        if (table_.vectors > 0 && masks_.drops) unmasked_fed_ = arena.take<T>(batch * table_.vectors * hidden);
        if (Base::projected()) made_ = kept_or_taken(layout.made_of(call_.reserve), hidden);
        if (Base::two_products()) gated_ = arena.take(batch * hidden, storage_);
        if (Base::two_products() && masks_.drops) unmasked_ = arena.take<T>(batch * hidden);
        if (Base::inner()) inner_ = arena.take<T>(batch * hidden), normal_ = arena.take<T>(batch * hidden);
        if ((Base::two_products() || Base::inner()) && !reserve_)
            between_ = arena.take<T>(batch * table_.saved * hidden);
        if (masks_.zones && !reserve_) zoned_ = arena.take<T>(batch * table_.states * hidden);
    }

    void run(typename CellLaunches<T>::Forward launch, Index rows, const ForwardArrays<T>& a) const {
        launch(queue_, rows, a, launches_.program);
    }
    // The arrays of a step.
    ForwardArrays<T> arrays(const StepRows& now) const {
        const Index hidden = shape_.hidden, first = reserve_ ? now.first : 0;  // of rows that are kept
        ForwardArrays<T> a = a_;
        a.first = now.first, a.next = now.next;
        if (x_part_) a.x_part = x_part_ + now.in_chunk * inputs_;
        if (reserve_) {
            T* kept = reserve_ + now.first * reserve_row_;
            a.saved = a.to_save = kept, a.kept_row = reserve_row_;
            a.kept_states = kept + table_.saved * hidden;
            if (masks_.zones) a.made_states = kept + table_.first_own * hidden, a.made_row = reserve_row_;
        } else {
            a.saved = a.to_save = between_, a.kept_row = table_.saved * hidden;
            if (masks_.zones) a.made_states = zoned_, a.made_row = table_.states * hidden;
        }
        a.fed = unmasked_fed_ ? unmasked_fed_ : offset(fed_, storage_, first * table_.vectors * hidden);
        a.fed_dtype = unmasked_fed_ ? dtype_of<T> : storage_;
        if (Base::projected()) a.made = offset(made_, storage_, first * hidden), a.made_dtype = storage_;
        if (Base::two_products()) {
            a.made = unmasked_ ? unmasked_ : gated_;
            a.made_dtype = unmasked_ ? dtype_of<T> : storage_;
        }
        if (Base::inner()) a.made = inner_, a.made_dtype = dtype_of<T>, a.normal = normal_;
        return a;
    }
    void second_half(const StepRows& now) const {
        ForwardArrays<T> a = arrays(now);
        if (!reserve_) a.to_save = nullptr;
        run(launches_.forward_state, now.count, a);
        finish_step(now, a);
    }
    // What a call's options do behind the cell.
    void finish_step(const StepRows& now, const ForwardArrays<T>& a) const {
        if (masks_.zones)
            each(queue_, now.count, shape_.hidden, Zone<T>{a, Base::first_state(), table_.states, masks_});
        if (!has_sequences_) return;
        StoreSequences<T> body{a, {}, table_.states};
        for (int k = 0; k < table_.states; ++k) body.sequence[k] = call_.sequence[k];
        each(queue_, now.count, shape_.hidden, body);
    }

    // to (m, n) = a (m, k) times the transpose of a weight (n, k).
    void multiply(Index m, Index n, Index k, const void* a, Index stride, const void* weight, T* to) const {
        if (m > 0 && n > 0)
            put(Product{m, n, k, a, stride, false, weight, k, true, to, n, false, storage_, dtype_of<T>});
    }
    // to (rows, gates*H) = a times the weight of a product of the table's.
    void multiply(Index rows, const ProductGates& product, const void* a, T* to) const {
        const Index hidden = shape_.hidden, k = Base::columns_of(product);
        if (table_.heads > 1) return multiply_heads(rows, product, a, to);
        if (rows > 0)
            each_run(product, [&](int first, int gates, int row) {
                put(Product{rows, gates * hidden, k, a, k, false, Base::weight_of(product, row), k, true,
                            to + first * hidden, product.count * hidden, false, storage_, dtype_of<T>});
            });
    }
    // The same of a weight with heads: of a gate the products of all heads at once.
    void multiply_heads(Index rows, const ProductGates& product, const void* a, T* to) const {
        const Index hidden = shape_.hidden, size = Base::head_size();
        for (int i = 0; rows > 0 && i < product.count; ++i)
            put(Product{rows, size, size, a, hidden, false, Base::weight_of(product, product.row[i]), size, true,
                        to + i * hidden, product.count * hidden, false, storage_, dtype_of<T>, table_.heads, size,
                        size * size, size});
    }
    void multiply_recurrent(const StepRows& now) const {
        const Index hidden = shape_.hidden, width = Base::width(), fed = table_.vectors * hidden;
        if (operand_ && !a_.operand)
            Base::mask(now.first, now.count, width, 1, a_.states[0], dtype_of<T>, operand_, storage_);
        multiply(now.count, table_.hidden, operand_ ? operand_ : a_.states[0], u_part_);
        if (fed == 0) return;
        const ForwardArrays<T> a = arrays(now);
        void* operand = offset(fed_, storage_, reserve_ ? now.first * fed : 0);
        run(launches_.feedback, now.count, a);
        if (unmasked_fed_)
            Base::mask(now.first, now.count, hidden, table_.vectors, a.fed, a.fed_dtype, operand, storage_);
        multiply(now.count, table_.feedback, operand, fed_part_);
    }

    // Of rows from `row` on, in place: `count` vectors, of which the first is the first-th that is normalised; whose
    // scale is the norm-th of a row.
    Normalised<T> normalised(Index row, T* part, int first, int count, const T* shift, int norm) const {
        const Index hidden = shape_.hidden;
        Normalised<T> of{part, part, count * hidden, layer_.diagonal() + first * hidden, shift, nullptr, 0, nullptr, 0};
        if (!reserve_) return of;
        of.normals = reserve_ + row * reserve_row_ + (table_.first_normal + first) * hidden, of.kept_row = reserve_row_;
        of.scales = scales_ + row * table_.norms + norm, of.scales_row = table_.norms;
        return of;
    }
    void normalise_rows(Index count, const Normalised<T>& of) const { each_row(queue_, count, NormaliseRows<T>{of}); }

    const ForwardCall& call_;
    const Index inputs_;  // of a row's x part
    ForwardArrays<T> a_;
    CallerStates initial_{};
    CallerResults final_{};
    bool makes_table_ = false, has_sequences_ = false;
    T* token_table_ = nullptr;  // (I, inputs*H): a row for each token
    T* x_part_ = nullptr;       // (rows of a chunk, inputs*H)
    void* x_rows_ = nullptr;    // (rows of a chunk, I and E*H): the caller's x, packed
    T *u_part_ = nullptr, *fed_part_ = nullptr, *gated_part_ = nullptr;
    T* projection_part_ = nullptr;  // (B, P)
    void* operand_ = nullptr;       // (B, width): h as the recurrent weight sees it, where it is not the state
    T* reserve_ = nullptr;          // (rows, vectors, H)
    T* scales_ = nullptr;           // (rows, norms)
    Index reserve_row_ = 0;
    void* fed_ = nullptr;        // (rows, or B without a reserve, vectors*H)
    T* unmasked_fed_ = nullptr;  // (B, vectors*H): before recurrent dropout
    void* made_ = nullptr;       // (rows, or B without a reserve, H): what becomes h, where it is projected
    void* gated_ = nullptr;      // (B, H)
    T* unmasked_ = nullptr;      // (B, H): before recurrent dropout
    T *inner_ = nullptr, *normal_ = nullptr;  // (B, H): a value inside the cell, and it normalised
    T* between_ = nullptr;                    // (B, saved, H): from one half to the other, where nothing is kept
    AttentionStep<T> attention_{};            // of an attending recurrence; without a step's rows
    T* kept_queries_ = nullptr;               // (rows, query_row(A))
    void* contexts_ = nullptr;                // (B, D)
    void* asking_ = nullptr;                  // (B, width): h for the query, where it is not the state
    T* zoned_ = nullptr;                      // (B, states, H): what the cell made, where nothing is kept
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
