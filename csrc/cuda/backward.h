// The GPU's backward engine: the phases of recurrence/order.h as work in a stream, from the last step down, for any
// cell.
//
// A step is a pass of the cell's backward over its rows and then the products of its gate gradients with the recurrent
// weights, which the step before it reads; or all steps of a chunk are one kernel (resident/, grid/). At a chunk's end
// its gate gradients are summed (weight_gradients.h). The forward's arrays are only read: a run can be differentiated
// again. Not here: what a thread does (backward_bodies.h, ends.h, options.h, normalise.h).
#pragma once

#include "attention_backward_bodies.h"
#include "grid/backward_warp.h"
#include "grid/coverage.h"
#include "normalise.h"
#include "resident/backward_maths.h"
#include "resident/coverage.h"
#include "resident/pair.h"
#include "weight_gradients.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
class BackwardEngine : public WeightGradients<T> {
    using Base = WeightGradients<T>;
    using Base::at_step;
    using Base::call_;
    using Base::chunk_;
    using Base::chunk_row_;
    using Base::columns_;
    using Base::grid_;
    using Base::in_;
    using Base::launches_;
    using Base::layer_;
    using Base::layout_;
    using Base::masks_;
    using Base::queue_;
    using Base::readings_;
    using Base::rows_;
    using Base::shape_;
    using Base::starts_;
    using Base::storage_;
    using Base::table_;

public:
    // Lays the call's memory out; nothing is read or written yet.
    BackwardEngine(const Cell& cell, const BackwardCall& call, Dtype storage, const Queue& queue, Arena& arena)
        : Base(cell, call, storage, queue, arena) {
        const Index batch = shape_.batch, hidden = shape_.hidden, width = Base::width();
        const ReserveLayout reserve(table_, hidden, rows_.total(), masks_.zones, storage);
        reserve_ = static_cast<const T*>(call.reserve);
        scales_ = static_cast<const T*>(reserve.scales_of(call.reserve));
        reserve_row_ = reserve.vectors * hidden;
        fed_ = reserve.fed_of(call.reserve);
        made_ = reserve.made_of(call.reserve);
        Base::set_call(a_);
        a_.output = call.output, a_.d_output = call.d_output;
        if (table_.elements > 0) a_.dx = call.dx;
        h_part_ = arena.take<T>(batch * width);
        a_.fed_part = fed_part_ = arena.take<T>(batch * table_.vectors * hidden);
        if (Base::two_products()) a_.gated_part = gated_part_ = arena.take<T>(batch * hidden);
        if (Base::two_products() && masks_.drops) unmasked_ = arena.take<T>(batch * hidden);
        if (Base::projected()) a_.made_part = made_part_ = arena.take<T>(batch * hidden);
        if (Base::inner()) d_inner_ = arena.take<T>(batch * hidden);
        if (masks_.zones) past_ = arena.take<T>(batch * table_.states * hidden);
        first_states_ = arena.take<T>((table_.states - 1) * batch * hidden);
        for (int k = 0; k < table_.states; ++k) {
            a_.carried[k] = arena.take<T>(batch * Base::units_of(k));
            takes_in_ = takes_in_ || (k > 0 && call.d_sequence[k]) || call.norms[k];
        }
        takes_in_ = takes_in_ || masks_.zones;
        // Else the product is added to what is carried by another body (carry).
        if (table_.vectors == 0 && (!masks_.drops || Base::projected()) && table_.hidden.count > 0)
            a_.product = h_part_;
        if (queue.grid > 0 && hidden > 0)
            Base::take_exchange(divide_grid_backward(table_, shape_, {queue.capability, queue.grid}), arena);
        if (queue.is_resident() || queue.grid > 0) Base::take_starts(arena);
        if (Base::attending()) take_attending(arena);
    }

    void run() {
        begin();
        run_backward(table_.form, *this, rows_, chunk_);
    }
    // The same in pieces from the last step down: begin, take every step, finish_pieces. Chunks are those of run, and
    // so are the sums over their rows; dx of a piece is there when the piece is over. Of two directions a piece is a
    // chunk whose kernel may still be to come: dx is made with the chunk's sums, which follow in the next piece.
    void begin() {
        layer_.fill(queue_);
        Base::put_starts();
        Base::begin_sums();
        if (Base::attending()) begin_attending();
        BeginBackward<T> body{a_, {}, {}, first_states_, shape_.batch};
        body.d_final.count = table_.states;
        for (int k = 0; k < table_.states; ++k)
            body.d_final.array[k] = call_.d_final_state[k], body.initial.array[k] = in_.state[k];
        each(queue_, shape_.batch, Base::widest(), body);
        chunk_first_ = chunk_last_ = rows_.steps;
    }
    void take(Index first, Index last) {
        Base::dx_by_piece_ = !queue_.backward_pair;
        for (Index end = last; end > first;) {
            if (end == chunk_first_) {
                close_chunk();
                chunk_first_ = rows_.chunk_begin(end, chunk_), chunk_last_ = end;
                begin_chunk(chunk_first_, chunk_last_);
            }
            const Index begin = chunk_first_ > first ? chunk_first_ : first;
            if (!steps(begin, end))
                for (Index t = end - 1; t >= begin; --t) backward_step(table_.form, *this, t);
            if (Base::dx_by_piece_) Base::write_dx(rows_.first(begin), rows_.first(end) - rows_.first(begin));
            end = begin;
        }
    }
    void finish_pieces() {
        close_chunk();
        finish();
    }
    Index next(Index last) const { return rows_.chunk_begin(last, chunk_); }

    // ---- the phases of recurrence/order.h

    void begin_chunk(Index first, Index) { chunk_row_ = rows_.first(first); }
    void begin_steps(Index, Index) {}

    // Steps of a chunk in one kernel, where the queue wants that.
    bool steps(Index first, Index last) {
        if ((!queue_.is_resident() && queue_.grid == 0) || shape_.hidden == 0) return false;
        ResidentBackwardCall call{};
        if constexpr (sizeof(T) == 4) {
            call.a = arrays(first);
            call.a.h = in_.state[0], call.a.h_places = nullptr, call.a.h_first = 0;
            for (int k = 1; k < table_.states; ++k)
                call.a.before[k] = first_states_ + (k - 1) * shape_.batch * shape_.hidden;
            call.to_step_before = h_part_;
            if (masks_.zones) call.set_made(table_.states, table_.saved);
        }
        call.weight = static_cast<const std::uint16_t*>(in_.weight_hh);
        int gate = 0;
        for (const ProductGates* product : {&table_.hidden, &table_.gated, &table_.feedback})
            for (int i = 0; i < product->count; ++i) call.gate_row[gate++] = product->row[i];
        call.fed_weight = static_cast<const std::uint16_t*>(in_.weight_gg);
        call.batch = shape_.batch, call.steps = last - first;
        // Of a cell with vectors, and with dropped operands, what is carried has the product of the step behind.
        call.starts = starts_, call.first_step = first;
        call.behind = table_.vectors > 0 || masks_.drops ? 0 : rows_.count(last);
        call.masks = unit_masks(in_.noise, rows_.of_rows);
        if (masks_.drops) {
            call.a.made = offset(Base::gated_, storage_, at_step(first).in_chunk * shape_.hidden);
            call.a.made_dtype = storage_;
        }
        if (queue_.grid > 0) {
            launches_.grid_backward(queue_, grid_, {call, Base::cleared_exchange()}, launches_.program);
            return true;
        }
        if (queue_.backward_pair && queue_.backward_pair->keeps(call)) return true;
        const ResidentBackward shape =
            divide_backward(table_, in_, operands_of(storage_, queue_.products->tf32), queue_);
        launches_.resident_backward(queue_, shape, call, launches_.program);
        return true;
    }

    void project_h(Index t) {
        const StepRows now = at_step(t);
        const BackwardArrays<T> a = arrays(t);
        void* dh = offset(Base::dh_, storage_, now.in_chunk * a.width);
        T* readings = readings_[0] ? readings_[0] + now.in_chunk * a.width : nullptr;
        each(queue_, now.count, a.width, BackwardProjection<T>{a, dh, readings});
        multiply(now.count, shape_.hidden, a.width, dh, a.width, in_.weight_hr, made_part_, shape_.hidden);
    }

    void step(Index t) {
        run_cell(t);
        multiply_recurrent(t);
    }

    void state(Index t) { run_cell(t); }

    void gates(Index t) {
        const StepRows now = at_step(t);
        const Index hidden = shape_.hidden;
        multiply(now, table_.gated, layout_.gated, gated_part_);
        if (masks_.drops)
            Base::mask(now.first, now.count, hidden, 1, gated_part_, dtype_of<T>, gated_part_, dtype_of<T>);
        const BackwardArrays<T> a = past_comes_late() ? with_past(arrays(t)) : arrays(t);
        run(launches_.backward_gates, now.count, a);
        if (unmasked_)
            Base::mask(now.first, now.count, hidden, 1, unmasked_, dtype_of<T>,
                       offset(Base::gated_, storage_, now.in_chunk * hidden), storage_);
        multiply_recurrent(t);
    }

    void products(Index) {}  // made at the end of the step behind

    void rows(Index t) {
        const StepRows now = at_step(t);
        const int inputs = table_.input.count, hiddens = table_.hidden.count;
        BackwardArrays<T> a = run_cell(t);
        if (Base::inner()) {
            const int dy = layout_.columns.of(table_.diagonal_slot[inputs + hiddens + 1]);  // of the shift, dy itself
            normalise(now, a, 1, dy, 0, inputs + hiddens, 2, d_inner_);
            a.past = past_;
            run(launches_.backward_gates, now.count, a);
        }
        normalise(now, a, inputs, layout_.input_bias, layout_.input, 0, 0, nullptr);
        normalise(now, a, hiddens, layout_.hidden_bias, layout_.hidden, inputs, 1, nullptr);
        multiply_recurrent(t);
    }

    // An attending recurrence (attending_backward.h).
    bool attends() const { return Base::attending(); }
    void context_gradient(Index t);
    void weigh_backward(Index t);
    void ask_backward(Index t);

    void end_chunk(Index first, Index last) {
        if (Base::attending()) sum_attending(first, last);
        const Index count = rows_.first(last) - chunk_row_;
        if (Base::operand_ && masks_.drops)
            Base::mask(chunk_row_, count, Base::width(), 1, Base::operand_, storage_, Base::operand_, storage_);
        Base::add_chunk(first, last, fed_, made_);
    }

    void finish() {
        FinishBackward<T> body{a_, Base::projected(), {}};
        body.a.next = rows_.count(0);
        body.d_states.count = table_.states;
        for (int k = 0; k < table_.states; ++k) body.d_states.array[k] = call_.d_state[k];
        each(queue_, shape_.batch, Base::widest(), body);
        Base::finish_sums();
        if (Base::attending()) finish_attending();
    }

private:
    // The sums of a chunk stand behind its last piece's dx, which others wait for.
    void close_chunk() {
        if (chunk_first_ < chunk_last_) end_chunk(chunk_first_, chunk_last_);
    }
    void take_attending(Arena& arena);
    void begin_attending() const;
    AttentionBack<T> attention(const StepRows& now) const;
    void sum_attending(Index first, Index last) const;
    void finish_attending() const;

    // The arrays of a step.
    BackwardArrays<T> arrays(Index t) const {
        const StepRows now = at_step(t);
        const Index hidden = shape_.hidden;
        BackwardArrays<T> a = a_;
        a.first = now.first, a.next = now.next;
        const T* kept = reserve_ + now.first * reserve_row_;
        a.saved = kept, a.kept_row = reserve_row_;
        a.normals = kept + table_.first_normal * hidden;
        for (int k = 1; k < table_.states; ++k) a.after[k] = kept + (table_.saved + k - 1) * hidden;
        if (masks_.zones)
            for (int k = Base::first_state(); k < table_.states; ++k)
                a.after[k] = kept + (table_.first_own + k) * hidden;
        const bool later = t > 0;  // not asked of a pointer: the reserve of a cell that keeps nothing may be null
        const T* before = later ? reserve_ + rows_.first(t - 1) * reserve_row_ : nullptr;
        a.before_row = later ? reserve_row_ : hidden;
        for (int k = 1; k < table_.states; ++k)
            a.before[k] =
                later ? before + (table_.saved + k - 1) * hidden : first_states_ + (k - 1) * shape_.batch * hidden;
        a.h = later ? call_.output : in_.state[0];
        a.h_places = later ? rows_.of_rows : nullptr;
        a.h_first = later ? rows_.first(t - 1) : 0;
        a.gradient = offset(Base::gradient_, storage_, now.in_chunk * columns_);
        a.operand = offset(Base::operand_, storage_, now.in_chunk * a.width);
        a.made = unmasked_ ? unmasked_ : offset(Base::gated_, storage_, now.in_chunk * hidden);
        a.made_dtype = unmasked_ ? dtype_of<T> : storage_;
        if (Base::inner()) a.made = d_inner_, a.made_dtype = dtype_of<T>;
        return a;
    }
    // What a call's options do before the cell, and the cell: of one with two halves the first. The arrays with which.
    BackwardArrays<T> run_cell(Index t) const {
        const StepRows now = at_step(t);
        BackwardArrays<T> a = arrays(t);
        const int first = Base::first_state();
        if (takes_in_) {
            TakeIn<T> body{a, first, table_.states, {}, {}};
            for (int k = first; k < table_.states; ++k) {
                body.given[k] = k == 0 ? call_.d_output : call_.d_sequence[k];
                if (readings_[k]) body.readings[k] = readings_[k] + now.in_chunk * shape_.hidden;
            }
            each(queue_, now.count, shape_.hidden, body);
            a.product = nullptr, a.d_output = nullptr;
        }
        if (masks_.zones) each(queue_, now.count, shape_.hidden, Unzone<T>{with_past(a), first, table_.states, masks_});
        run(launches_.backward, now.count, past_comes_late() ? a : with_past(a));
        return a;
    }
    // What goes past a cell is added where its maths makes dL/ds: in the state's half of two products, else at last. Of
    // a program the first half may leave something else in the place of dL/ds.
    bool past_comes_late() const { return Base::inner() || (Base::two_products() && launches_.program); }
    void run(typename CellLaunches<T>::Backward launch, Index rows, const BackwardArrays<T>& a) const {
        launch(queue_, rows, a, launches_.program);
    }
    BackwardArrays<T> with_past(BackwardArrays<T> a) const {
        a.past = past_;
        return a;
    }
    // Back through the normalisation of `gates` vectors, the first-th and following; what was scaled by a row's
    // norm-th.
    void normalise(const StepRows& now, const BackwardArrays<T>& a, int gates, int from, int to, int first, int norm,
                   T* result) const {
        const Index hidden = shape_.hidden, columns = layout_.columns.count;
        each_row(queue_, now.count,
                 NormaliseBackward<T>{a, columns, gates, from, to, layer_.diagonal() + first * hidden,
                                      a.normals + first * hidden, scales_ + now.first * table_.norms + norm,
                                      table_.norms, result});
    }

    const void* gradients(const StepRows& now, int column) const {
        return offset(Base::gradient_, storage_, now.in_chunk * columns_ + column * shape_.hidden);
    }
    // to (m, n) = a (m, k) times a weight (k, n) as it lies, rows `weight_stride` apart.
    void multiply(Index m, Index n, Index k, const void* a, Index stride, const void* weight, T* to,
                  Index weight_stride) const {
        if (m > 0 && n > 0)
            Base::put(
                Product{m, n, k, a, stride, false, weight, weight_stride, false, to, n, false, storage_, dtype_of<T>});
    }
    // to (rows, columns) = the gradients of a product of the table's, from a column on, times its weight.
    void multiply(const StepRows& now, const ProductGates& product, int column, T* to) const {
        const Index hidden = shape_.hidden, n = Base::columns_of(product);
        if (table_.heads > 1) return multiply_heads(now, product, column, to);
        if (now.count > 0)
            each_run(product, [&](int first, int gates, int row) {
                Base::put(Product{now.count, n, gates * hidden, gradients(now, column + first), columns_, false,
                                  Base::weight_of(product, row), n, false, to, n, first > 0, storage_, dtype_of<T>});
            });
    }
    // The same of a weight with heads: of a gate the products of all heads at once.
    void multiply_heads(const StepRows& now, const ProductGates& product, int column, T* to) const {
        const Index hidden = shape_.hidden, size = Base::head_size();
        for (int i = 0; now.count > 0 && i < product.count; ++i)
            Base::put(Product{now.count, size, size, gradients(now, column + i), columns_, false,
                              Base::weight_of(product, product.row[i]), size, false, to, hidden, i > 0, storage_,
                              dtype_of<T>, table_.heads, size, size * size, size});
    }
    // What a step's gate gradients give back to the states before it. The step before adds it to what is carried, where
    // nothing else has to do with it.
    void multiply_recurrent(Index t) const {
        const StepRows now = at_step(t);
        const Index hidden = shape_.hidden, width = Base::width(), size = table_.vectors * hidden;
        if (table_.hidden.count > 0) {
            multiply(now, table_.hidden, layout_.hidden, h_part_);
            if (masks_.drops && Base::projected())
                Base::mask(now.first, now.count, width, 1, h_part_, dtype_of<T>, h_part_, dtype_of<T>);
            else if (masks_.drops)
                each(queue_, now.count, hidden, CarryDropped<T>{h_part_, a_.carried[0], now.first, hidden, masks_});
        }
        if (size == 0) return;
        multiply(now, table_.feedback, layout_.feedback, fed_part_);
        if (masks_.drops)
            Base::mask(now.first, now.count, hidden, table_.vectors, fed_part_, dtype_of<T>, fed_part_, dtype_of<T>);
        BackwardArrays<T> a = arrays(t);
        a.product = masks_.drops || table_.hidden.count == 0 ? nullptr : h_part_;
        run(launches_.feedback_backward, now.count, a);
    }

    BackwardArrays<T> a_;
    Index chunk_first_ = 0, chunk_last_ = 0;  // of the chunk at work, where it is taken in pieces
    const T* reserve_ = nullptr;              // (rows, vectors, H), the forward's
    const T* scales_ = nullptr;               // (rows, norms), the forward's
    Index reserve_row_ = 0;
    const void* fed_ = nullptr;     // (rows, vectors*H), the forward's
    const void* made_ = nullptr;    // (rows, H), the forward's
    bool takes_in_ = false;         // whether what is carried is made whole before the cell runs
    T* h_part_ = nullptr;           // (B, width): what comes to h through the products of the step behind
    T* fed_part_ = nullptr;         // (B, vectors*H): likewise to what was fed back
    T* gated_part_ = nullptr;       // (B, H)
    T* unmasked_ = nullptr;         // (B, H): the gated state before recurrent dropout
    T* made_part_ = nullptr;        // (B, H): dL/d(what is projected)
    T* d_inner_ = nullptr;          // (B, H): dL/d(what was normalised inside the cell)
    T* past_ = nullptr;             // (B, states, H): what goes past the cell
    AttentionBack<T> attention_{};  // of an attending recurrence; without a step's rows
    T* queries_ = nullptr;          // (rows, query_row(A)), the forward's
    T* dcontext_ = nullptr;         // (B, D)
    void* dq_ = nullptr;            // (rows of a chunk, dq_row): of the query, then of the gate
    T *dq_sums_ = nullptr, *dq_parts_ = nullptr;
    T *d_query_ = nullptr, *d_gate_ = nullptr;  // of the weights, while they are summed
    T* place_sums_ = nullptr;                   // (rows, L): s_1 before every step
    T* h_before_ = nullptr;                     // (B, width): h before the step at work
    void* asking_ = nullptr;        // (rows of a chunk, width): h before each step, where nobody else has it whole
    void* context_rows_ = nullptr;  // (rows of a chunk, D): the caller's contexts, packed
    T* first_states_ = nullptr;     // (states after h, B, H): the initial ones
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
