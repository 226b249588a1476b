// The GPU's backward engine: the phases of recurrence/order.h as work in a stream, from the last step down.
//
// A step is a pass of the cell's backward over its rows and then the products of its gate gradients with the recurrent
// weights, which the step before it reads. Gate gradients live for one chunk of steps; at its end they are summed into
// dW, db and dx by large products. The forward's arrays are only read: a run can be differentiated again. Not here:
// what a thread does (backward_bodies.h), sums that are no products (sums.h).
#pragma once

#include "engine.h"
#include "normalised_backward.h"
#include "sums.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// dx of a chunk in the caller's array, with what gates that take x itself add. Over (rows of the chunk, I).
template <class Cell, class T>
struct ScatterInputGradient {
    const T* dx;  // (rows of the chunk, I)
    const void* gradient;
    Dtype storage;
    Rows rows;
    Index first, input;
    void* to;

    RNNKERNELS_INLINE void operator()(Index row, Index unit) const {
        using L = Layout<Cell>;
        constexpr GateList direct = direct_gates<Cell>;
        T sum = dx[row * input + unit];
        RNNKERNELS_UNROLL(16)
        for (int i = 0; i < direct.count; ++i)
            sum += load_as<T>(gradient, storage, (row * L::columns + column_of(i)) * input + unit);  // I = H
        store_as<T>(to, storage, rows.place(first + row) * input + unit, sum);
    }

private:
    static RNNKERNELS_INLINE int column_of(int i) {
        struct All {
            int column[16] = {};
        };
        constexpr All all = [] {
            All made{};
            for (int k = 0; k < direct_gates<Cell>.count; ++k)
                made.column[k] = Layout<Cell>::places.columns.of(Cell::gates[direct_gates<Cell>.gate[k]].dx);
            return made;
        }();
        return all.column[i];
    }
};

template <class Cell, class T>
class BackwardEngine : public Engine<Cell, T> {
    using Base = Engine<Cell, T>;
    using G = Geometry<Cell>;
    using L = Layout<Cell>;
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
    BackwardEngine(const BackwardCall& call, Dtype storage, const Queue& queue, Arena& arena)
        : Base(call.in, storage, queue, backward_row_bytes<Cell>(call.in.shape, storage), arena),
          call_(call),
          a_(call.in, storage, layer_.diagonal()) {
        const Index batch = shape_.batch, hidden = shape_.hidden, width = Base::width();
        const Index total = rows_.total(), input = shape_.input;
        const ReserveLayout<Cell, T> reserve{hidden, total, a_.masks.zones, storage};
        a_.reserve = static_cast<const T*>(call.reserve);
        a_.scales = static_cast<const T*>(reserve.scales_of(call.reserve));
        fed_ = reserve.fed_of(call.reserve);
        made_ = reserve.made_of(call.reserve);
        a_.output = call.output, a_.d_output = call.d_output;
        a_.gradient = arena.take(chunk_ * L::columns * hidden, storage);
        a_.h_part = arena.take<T>(batch * width);
        a_.fed_part = arena.take<T>(batch * G::vectors * hidden);
        if constexpr (two_products<Cell>) {
            a_.gated_part = arena.take<T>(batch * hidden);
            a_.gated = arena.take(chunk_ * hidden, storage);
        }
        if constexpr (projected<Cell>) {
            a_.dh = arena.take(chunk_ * width, storage);
            a_.made_part = arena.take<T>(batch * hidden);
        }
        if (a_.masks.drops || rows_.ragged() || rows_.of_rows) a_.operand = arena.take(chunk_ * width, storage);
        for (int k = 0; k < G::states; ++k) {
            const Index units = k == 0 ? width : hidden;
            a_.d_sequence[k] = call.d_sequence[k], a_.initial[k] = in_.state[k], a_.d_final[k] = call.d_final_state[k];
            a_.d_state[k] = call.d_state[k];
            a_.carried[k] = arena.take<T>(batch * units);
            if (call.norms[k]) a_.squares[k] = arena.take<T>(chunk_ * units);
        }
        sums_ = arena.take<T>(L::columns * hidden);
        parts_ = arena.take<T>((chunk_ + kSumRows - 1) / kSumRows * L::columns * hidden);
        if (call.dterm) terms_ = arena.take<T>(batch * G::inputs * hidden);
        if (call.dx && (rows_.of_rows || G::directs > 0)) dx_ = arena.take<T>(chunk_ * input);
        if (in_.x && rows_.of_rows) x_rows_ = arena.take(chunk_ * input, storage);
        if (in_.tokens) of_tokens_ = {arena.take<Index>(input + 1), arena.take<Index>(chunk_)};
        d_ih_ = take_sum(arena, call.dweight_ih, G::inputs * hidden * input);
        d_hh_ = take_sum(arena, call.dweight_hh, G::recurrents * hidden * width);
        d_gg_ = take_sum(arena, call.dweight_gg, G::gg_rows * hidden * G::gg_columns * hidden);
        d_hr_ = take_sum(arena, call.dweight_hr, projected<Cell> ? width * hidden : 0);
    }

    void run() {
        layer_.fill(queue_);
        clear(queue_, sums_, L::columns * shape_.hidden * Index{sizeof(T)});
        if (terms_) clear(queue_, terms_, shape_.batch * G::inputs * shape_.hidden * Index{sizeof(T)});
        if (rows_.total() == 0)
            for (const Sum* sum : {&d_ih_, &d_hh_, &d_gg_, &d_hr_})
                clear(queue_, sum->to, sum->count * Index{sizeof(T)});
        each(queue_, shape_.batch, widest(), BeginBackward<Cell, T>{a_});
        run_backward<Cell>(*this, rows_, chunk_);
    }

    // ---- the phases of recurrence/order.h

    void begin_chunk(Index first, Index) { chunk_row_ = rows_.first(first); }

    void step(Index t) {
        const StepRows now = at_step(t);
        if constexpr (projected<Cell>)
            multiply(now.count, shape_.hidden, a_.width, offset(a_.dh, storage_, now.in_chunk * a_.width), a_.width,
                     in_.weight_hr, a_.made_part, shape_.hidden);
        each(queue_, now.count, shape_.hidden, BackwardStep<Cell, T>{a_, now, before(t)});
        multiply_recurrent(now);
    }

    void state(Index t) {
        const StepRows now = at_step(t);
        each(queue_, now.count, shape_.hidden, BackwardState<Cell, T>{a_, now, before(t)});
    }

    void gates(Index t) {
        const StepRows now = at_step(t);
        const Index hidden = shape_.hidden;
        multiply(now.count, hidden, G::gateds * hidden, gradients(now, L::places.gated), L::columns * hidden,
                 Base::weight_of_gated(), a_.gated_part, hidden);
        each(queue_, now.count, hidden, BackwardGates<Cell, T>{a_, now, before(t)});
        multiply_recurrent(now);
    }

    void project_h(Index t) {
        const StepRows now = at_step(t);
        each(queue_, now.count, a_.width, BackwardProjection<Cell, T>{a_, now, before(t)});
    }

    void products(Index) {}  // made at the end of the step behind

    void rows(Index t) {
        const StepRows now = at_step(t);
        each_row(queue_, now.count, NormalisedBackward<Cell, T>{a_, now, before(t)});
        multiply_recurrent(now);
    }

    // The chunk's rows summed into the weights' gradients, and its dx.
    void end_chunk(Index first, Index last) {
        const Index begin = chunk_row_, count = rows_.first(last) - begin, hidden = shape_.hidden;
        const bool more = last < shape_.steps;  // chunks were summed before
        const Index columns = L::columns * hidden, blocks = (count + kSumRows - 1) / kSumRows;
        each(queue_, blocks, columns, SumBlocks<T>{a_.gradient, storage_, count, columns, parts_});
        each(queue_, 1, columns, AddBlocks<T>{parts_, blocks, columns, sums_});
        if (terms_) add_terms(first, last);
        if (call_.dx) write_dx(begin, count);
        add_input(begin, count, more);
        add_hidden(first, begin, count, more);
        if constexpr (G::vectors > 0) {
            const Index size = G::vectors * hidden;
            add(L::places.feedback, G::feedbacks, count, 0, offset(fed_, storage_, begin * size), size,
                own_feedback_weight<Cell> ? d_gg_.to : d_hh_.to + L::first_feedback_row * hidden * hidden, more);
        }
        if constexpr (two_products<Cell>)
            add(L::places.gated, G::gateds, count, 0, a_.gated, hidden, d_hh_.to + L::first_gated_row * hidden * hidden,
                more);
        if constexpr (projected<Cell>)
            put(Product{a_.width, hidden, count, a_.dh, a_.width, true, offset(made_, storage_, begin * hidden), hidden,
                        false, d_hr_.to, hidden, more, storage_, dtype_of<T>});
        for (int k = 0; k < G::states; ++k)
            if (call_.norms[k])
                each_row(
                    queue_, count,
                    WriteNorms<T>{a_.squares[k], k == 0 ? a_.width : hidden, begin, rows_, call_.norms[k], storage_});
    }

    void finish() {
        each(queue_, shape_.batch, widest(), FinishBackward<Cell, T>{a_, {0, 0, rows_.count(0), 0}});
        layer_.backward(queue_, d_hh_.to, d_gg_.to, dtype_of<T>);
        for (const Sum* sum : {&d_ih_, &d_hh_, &d_gg_, &d_hr_})
            if (sum->to != sum->caller) write(sum->to, sum->caller, sum->count);
        const Index hidden = shape_.hidden;
        write_bias(call_.dbias_ih, 0, L::places.input_bias, G::inputs);
        write_bias(call_.dbias_hh, L::first_hidden_row, L::places.hidden_bias, G::hiddens);
        write_bias(call_.dbias_hh, L::first_gated_row, L::places.gated, G::gateds);
        if constexpr (!own_feedback_weight<Cell>)
            write_bias(call_.dbias_hh, L::first_feedback_row, L::places.feedback, G::feedbacks);
        if constexpr (G::diagonals > 0)
            for (int k = 0; k < G::diagonals; ++k)
                write_bias(call_.dweight_diagonal, k, L::places.columns.of(Cell::diagonals.diagonal[k].slot), 1);
        if (terms_) write(terms_, call_.dterm, shape_.batch * G::inputs * hidden);
    }

private:
    // The gradient of a weight while it is summed: in the caller's array, where that is of T.
    struct Sum {
        T* to;
        void* caller;
        Index count;
    };
    Sum take_sum(Arena& arena, void* caller, Index count) const {
        if (count == 0) return {};
        return {storage_ == dtype_of<T> ? static_cast<T*>(caller) : arena.take<T>(count), caller, count};
    }

    Index before(Index t) const { return t > 0 ? rows_.first(t - 1) : -1; }
    const void* gradients(const StepRows& now, int column) const {
        return offset(a_.gradient, storage_, (now.in_chunk * L::columns + column) * shape_.hidden);
    }

    // to (m, n) = a (m, k) times a weight (k, n) as it lies, rows `weight_stride` apart.
    void multiply(Index m, Index n, Index k, const void* a, Index stride, const void* weight, T* to,
                  Index weight_stride) const {
        if (m > 0 && n > 0)
            put(Product{m, n, k, a, stride, false, weight, weight_stride, false, to, n, false, storage_, dtype_of<T>});
    }
    // What a step's gate gradients give back to the states before it.
    void multiply_recurrent(const StepRows& now) const {
        const Index hidden = shape_.hidden, width = a_.width, columns = L::columns * hidden;
        if constexpr (G::hiddens > 0)
            multiply(now.count, width, G::hiddens * hidden, gradients(now, L::places.hidden), columns,
                     Base::weight_of_h(), a_.h_part, width);
        if constexpr (G::vectors > 0) {
            const Index size = G::vectors * hidden;
            multiply(now.count, size, G::feedbacks * hidden, gradients(now, L::places.feedback), columns,
                     Base::weight_of_fed(), a_.fed_part, size);
        }
    }

    // dW (gates*H, columns) (+)= the gradients of these gates, transposed, times the rows of a matrix, from row `skip`
    // of the chunk on.
    void add(int column, int gates, Index count, Index skip, const void* matrix, Index columns, T* to,
             bool accumulate) const {
        const Index hidden = shape_.hidden, stride = L::columns * hidden;
        if (gates > 0)
            put(Product{gates * hidden, columns, count, offset(a_.gradient, storage_, skip * stride + column * hidden),
                        stride, true, matrix, columns, false, to, columns, accumulate, storage_, dtype_of<T>});
    }
    void add_input(Index begin, Index count, bool more) const {
        const Index input = shape_.input, hidden = shape_.hidden;
        if (in_.tokens) {
            each(queue_, 1, input, CountTokens{in_.tokens, rows_, begin, count, of_tokens_});
            each(queue_, 1, 1, AddCounts{input, of_tokens_});
            each(queue_, 1, input, ListTokens{in_.tokens, rows_, begin, count, of_tokens_});
            const void* from = offset(a_.gradient, storage_, L::places.input * hidden);
            each(queue_, input, G::inputs * hidden,
                 AddTokens<T>{from, storage_, L::columns * hidden, input, of_tokens_, more, d_ih_.to});
            return;
        }
        if (x_rows_) each(queue_, count, input, GatherRows<T>{in_.x, x_rows_, storage_, rows_, begin, input});
        add(L::places.input, G::inputs, count, 0, x_rows_ ? x_rows_ : offset(in_.x, storage_, begin * input), input,
            d_ih_.to, more);
    }
    void add_hidden(Index first, Index begin, Index count, bool more) const {
        T* to = G::hiddens > 0 ? d_hh_.to + L::first_hidden_row * shape_.hidden * a_.width : nullptr;
        const auto add_rows = [&](Index skip, Index rows, const void* matrix, bool accumulate) {
            add(L::places.hidden, G::hiddens, rows, skip, matrix, a_.width, to, accumulate);
        };
        if (a_.operand) {
            add_rows(0, count, a_.operand, more);
            return;
        }
        // Dense rows: h before a step is the output of the step before it, a batch of rows earlier.
        const Index at_start = first == 0 ? shape_.batch : 0;
        if (at_start > 0 && in_.state[0]) add_rows(0, at_start, in_.state[0], more);
        if (at_start > 0 && !in_.state[0] && !more)  // zeros: no product
            clear(queue_, to, G::hiddens * shape_.hidden * a_.width * Index{sizeof(T)});
        const void* from = offset(call_.output, storage_, (begin + at_start - shape_.batch) * a_.width);
        if (count > at_start) add_rows(at_start, count - at_start, from, more || at_start > 0);
    }
    void add_terms(Index first, Index last) const {
        const Index columns = G::inputs * shape_.hidden;
        const void* from = offset(a_.gradient, storage_, L::places.input_bias * shape_.hidden);
        for (Index t = first; t < last; ++t)
            each(queue_, rows_.count(t), columns,
                 AddTerms<T>{from, storage_, rows_.first(t) - chunk_row_, L::columns * shape_.hidden, columns, terms_});
    }
    void write_dx(Index begin, Index count) const {
        const Index input = shape_.input, hidden = shape_.hidden;
        const void* from = offset(a_.gradient, storage_, L::places.input * hidden);
        void* to = dx_ ? dx_ : offset(call_.dx, storage_, begin * input);
        put(Product{count, input, G::inputs * hidden, from, L::columns * hidden, false, in_.weight_ih, input, false, to,
                    input, false, storage_, dx_ ? dtype_of<T> : storage_});
        if (dx_)
            each(queue_, count, input,
                 ScatterInputGradient<Cell, T>{dx_, a_.gradient, storage_, rows_, begin, input, call_.dx});
    }

    void write(const T* from, void* to, Index count) const {
        each(queue_, 1, count, Convert<T>{from, dtype_of<T>, to, storage_});
    }
    void write_bias(void* to, int row, int column, int gates) const {
        const Index hidden = shape_.hidden;
        if (to) write(sums_ + column * hidden, offset(to, storage_, row * hidden), gates * hidden);
    }

    const BackwardCall& call_;
    BackwardArrays<Cell, T> a_;
    const void* fed_ = nullptr;   // (rows, vectors*H), the forward's
    const void* made_ = nullptr;  // (rows, H), the forward's
    T* sums_ = nullptr;           // (columns, H)
    T* parts_ = nullptr;
    T* terms_ = nullptr;      // (B, inputs*H)
    T* dx_ = nullptr;         // (rows of a chunk, I)
    void* x_rows_ = nullptr;  // (rows of a chunk, I): the caller's x, packed
    RowsOfTokens of_tokens_{};
    Sum d_ih_{}, d_hh_{}, d_gg_{}, d_hr_{};
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
