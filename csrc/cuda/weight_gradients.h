// What a chunk of gate gradients becomes at its end: the weights' gradients, those of biases and of the term, dx,
// readings. Large products over all of the chunk's rows, and sums that are none (sums.h). Not here: how gate gradients
// come about (backward.h).
#pragma once

#include "ends.h"
#include "engine.h"
#include "sums.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
class WeightGradients : public Engine<T> {
    using Base = Engine<T>;

protected:
    using Base::chunk_;
    using Base::chunk_row_;
    using Base::in_;
    using Base::layer_;
    using Base::layout_;
    using Base::put;
    using Base::queue_;
    using Base::rows_;
    using Base::shape_;
    using Base::storage_;
    using Base::table_;

    // Lays the memory out; nothing is read or written yet.
    WeightGradients(const Cell& cell, const BackwardCall& call, Dtype storage, const Queue& queue, Arena& arena)
        : Base(cell, call.in, storage, queue, backward_row_bytes(*cell.table, call.in.shape, storage), arena),
          call_(call),
          columns_(layout_.columns.count * shape_.hidden) {
        const Index batch = shape_.batch, hidden = shape_.hidden, width = Base::width(), input = shape_.input;
        gradient_ = arena.take(chunk_ * columns_, storage);
        if (Base::two_products()) gated_ = arena.take(chunk_ * hidden, storage);
        if (Base::projected()) dh_ = arena.take(chunk_ * width, storage);
        if (Base::masks_.drops || rows_.ragged() || rows_.of_rows) operand_ = arena.take(chunk_ * width, storage);
        for (int k = 0; k < table_.states; ++k)
            if (call.norms[k]) readings_[k] = arena.take<T>(chunk_ * units_of(k));
        sums_ = arena.take<T>(columns_);
        parts_ = arena.take<T>((chunk_ + kSumRows - 1) / kSumRows * columns_);
        if (call.dterm) terms_ = arena.take<T>(batch * table_.input.count * hidden);
        if (call.dx && (rows_.of_rows || table_.directs > 0)) dx_ = arena.take<T>(chunk_ * input);
        if (in_.x && rows_.of_rows) x_rows_ = arena.take(chunk_ * x_row(shape_), storage);
        if (in_.tokens) of_tokens_ = {arena.take<Index>(input + 1), arena.take<Index>(chunk_)};
        d_ih_ = take_sum(arena, call.dweight_ih, table_.input.count * hidden * Base::input_row());
        d_hh_ = take_sum(arena, call.dweight_hh, table_.recurrents * hidden * recurrent_row(table_, shape_));
        d_gg_ = take_sum(arena, call.dweight_gg, table_.gg_rows * hidden * table_.gg_columns * hidden);
        d_hr_ = take_sum(arena, call.dweight_hr, Base::projected() ? width * hidden : 0);
    }

    Index units_of(int state) const { return state == 0 ? Base::width() : shape_.hidden; }

    void begin_sums() const {
        clear(queue_, sums_, columns_ * Index{sizeof(T)});
        if (terms_) clear(queue_, terms_, shape_.batch * table_.input.count * shape_.hidden * Index{sizeof(T)});
        if (rows_.total() == 0)
            for (const Sum* sum : {&d_ih_, &d_hh_, &d_gg_, &d_hr_})
                clear(queue_, sum->to, sum->count * Index{sizeof(T)});
    }

    // The chunk's rows summed, and its dx. `fed`, `made`: the forward's, of all rows.
    void add_chunk(Index first, Index last, const void* fed, const void* made) const {
        const Index begin = chunk_row_, count = rows_.first(last) - begin, hidden = shape_.hidden;
        const bool more = last < shape_.steps;  // chunks were summed before
        const Index blocks = (count + kSumRows - 1) / kSumRows, width = Base::width();
        each(queue_, blocks, columns_, SumBlocks<T>{gradient_, storage_, count, columns_, parts_});
        each(queue_, 1, columns_, AddBlocks<T>{parts_, blocks, columns_, sums_});
        if (terms_) add_terms(first, last);
        if (!dx_by_piece_) write_dx(begin, count);
        add_input(begin, count, more);
        add_hidden(first, begin, count, more);
        const Index size = table_.vectors * hidden;
        add(table_.feedback, layout_.feedback, count, 0, offset(fed, storage_, begin * size), more);
        add(table_.gated, layout_.gated, count, 0, gated_, more);
        if (Base::projected())
            put(Product{width, hidden, count, dh_, width, true, offset(made, storage_, begin * hidden), hidden, false,
                        d_hr_.to, hidden, more, storage_, dtype_of<T>});
        for (int k = 0; k < table_.states; ++k)
            if (call_.norms[k])
                each_row(queue_, count,
                         WriteNorms<T>{readings_[k], units_of(k), begin, rows_, call_.norms[k], storage_});
    }

    // dx of so many rows of the chunk at work, from a row of all on.
    void write_dx(Index begin, Index count) const {
        if (!call_.dx || shape_.input == 0) return;
        const Index input = shape_.input, hidden = shape_.hidden;
        const void* gradient = offset(gradient_, storage_, (begin - chunk_row_) * columns_);
        const void* from = offset(gradient, storage_, layout_.input * hidden);
        const Index row = dx_ ? input : x_row(shape_);
        void* to = dx_ ? dx_ : offset(call_.dx, storage_, begin * row);
        put(Product{count, input, table_.input.count * hidden, from, columns_, false, in_.weight_ih, Base::input_row(),
                    false, to, row, false, storage_, dx_ ? dtype_of<T> : storage_});
        if (!dx_) return;
        ScatterInputGradient<T> body{dx_,           gradient, storage_, rows_,          begin, input,
                                     x_row(shape_), columns_, call_.dx, table_.directs, {}};
        for (int i = 0; i < table_.directs; ++i) body.column[i] = layout_.columns.of(table_.direct_slot[i]);
        each(queue_, count, input, body);
    }

    // The sums, written where the caller wants them.
    void finish_sums() const {
        layer_.backward(queue_, d_hh_.to, d_gg_.to, dtype_of<T>);
        for (const Sum* sum : {&d_ih_, &d_hh_, &d_gg_, &d_hr_})
            if (sum->to != sum->caller) write(sum->to, sum->caller, sum->count);
        write_bias(call_.dbias_ih, 0, layout_.input_bias, table_.input.count);
        write_biases(table_.hidden, layout_.hidden_bias);
        write_biases(table_.gated, layout_.gated);
        if (!table_.own_feedback_weight) write_biases(table_.feedback, layout_.feedback);
        for (int k = 0; k < table_.diagonals; ++k)
            write_bias(call_.dweight_diagonal, k, layout_.columns.of(table_.diagonal_slot[k]), 1);
        if (terms_) write(terms_, call_.dterm, shape_.batch * table_.input.count * shape_.hidden);
    }

    // The context's columns of dW_ih.
    void add_context(Index count, const void* contexts, Index features, bool more) const {
        add(layout_.input, table_.input.count, count, 0, contexts, features, features, d_ih_.to + shape_.input,
            Base::input_row(), more);
    }

    bool dx_by_piece_ = false;  // not with the sums of a chunk
    const BackwardCall& call_;
    const Index columns_;        // values of a row of gradients
    void* gradient_ = nullptr;   // (rows of a chunk, columns, H)
    void* gated_ = nullptr;      // (rows of a chunk, H)
    void* dh_ = nullptr;         // (rows of a chunk, P): dL/dh, where h is projected
    void* operand_ = nullptr;    // (rows of a chunk, width): h as the recurrent weight saw it, where that is not the
                                 // output a step earlier
    T* readings_[kMaxStates]{};  // (rows of a chunk, H or P): of dL/d(a state), for readings

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

    // The gradient of a recurrent weight: its rows of a product of the table's, whose gates begin at a column.
    void add(const ProductGates& product, int column, Index count, Index skip, const void* matrix,
             bool accumulate) const {
        const bool own = &product == &table_.feedback && table_.own_feedback_weight;
        const Index columns = Base::columns_of(product);
        if (table_.heads > 1) return add_heads(product, column, count, skip, matrix, accumulate);
        each_run(product, [&](int first, int gates, int row) {
            add(column + first, gates, count, skip, matrix, columns, columns,
                (own ? d_gg_.to : d_hh_.to) + row * shape_.hidden * columns, columns, accumulate);
        });
    }
    // The same of a weight with heads: of a gate the products of all heads at once.
    void add_heads(const ProductGates& product, int column, Index count, Index skip, const void* matrix,
                   bool accumulate) const {
        const Index hidden = shape_.hidden, size = Base::head_size();
        for (int i = 0; i < product.count; ++i)
            put(Product{size, size, count, offset(gradient_, storage_, skip * columns_ + (column + i) * hidden),
                        columns_, true, matrix, hidden, false, d_hh_.to + product.row[i] * hidden * size, size,
                        accumulate, storage_, dtype_of<T>, table_.heads, size, size, size * size});
    }
    // dW (gates*H, columns) (+)= the gradients of these gates, transposed, times the rows of a matrix, from row `skip`
    // of the chunk on. Rows of the matrix are `matrix_row` apart, those of dW `stride`.
    void add(int column, int gates, Index count, Index skip, const void* matrix, Index columns, Index matrix_row, T* to,
             Index stride, bool accumulate) const {
        const Index hidden = shape_.hidden;
        if (gates > 0 && columns > 0)
            put(Product{gates * hidden, columns, count, offset(gradient_, storage_, skip * columns_ + column * hidden),
                        columns_, true, matrix, matrix_row, false, to, stride, accumulate, storage_, dtype_of<T>});
    }
    void add_input(Index begin, Index count, bool more) const {
        const Index input = shape_.input, hidden = shape_.hidden;
        if (in_.tokens) {
            each(queue_, 1, input, CountTokens{in_.tokens, rows_, begin, count, of_tokens_});
            each(queue_, 1, 1, AddCounts{input, of_tokens_});
            each(queue_, 1, input, ListTokens{in_.tokens, rows_, begin, count, of_tokens_});
            const void* from = offset(gradient_, storage_, layout_.input * hidden);
            each(queue_, input, table_.input.count * hidden,
                 AddTokens<T>{from, storage_, columns_, Base::input_row(), of_tokens_, more, d_ih_.to});
            return;
        }
        const Index row = x_row(shape_);
        if (x_rows_) each(queue_, count, row, GatherRows<T>{in_.x, x_rows_, storage_, rows_, begin, row});
        add(layout_.input, table_.input.count, count, 0, x_rows_ ? x_rows_ : offset(in_.x, storage_, begin * row),
            input, row, d_ih_.to, Base::input_row(), more);
    }
    void add_hidden(Index first, Index begin, Index count, bool more) const {
        const Index hidden = shape_.hidden, width = Base::width(), columns = Base::columns_of(table_.hidden);
        if (table_.hidden.count == 0) return;
        const auto add_rows = [&](Index skip, Index rows, const void* matrix, bool accumulate) {
            add(table_.hidden, layout_.hidden, rows, skip, matrix, accumulate);
        };
        if (operand_) {
            add_rows(0, count, operand_, more);
            return;
        }
        // Dense rows: h before a step is the output of the step before it, a batch of rows earlier.
        const Index at_start = first == 0 ? shape_.batch : 0;
        if (at_start > 0 && in_.state[0]) add_rows(0, at_start, in_.state[0], more);
        if (at_start > 0 && !in_.state[0] && !more)  // zeros: no product
            each_run(table_.hidden, [&](int, int gates, int row) {
                clear(queue_, d_hh_.to + row * hidden * columns, gates * hidden * columns * Index{sizeof(T)});
            });
        const void* from = offset(call_.output, storage_, (begin + at_start - shape_.batch) * width);
        if (count > at_start) add_rows(at_start, count - at_start, from, more || at_start > 0);
    }
    void add_terms(Index first, Index last) const {
        const Index columns = table_.input.count * shape_.hidden;
        const void* from = offset(gradient_, storage_, layout_.input_bias * shape_.hidden);
        for (Index t = first; t < last; ++t)
            each(queue_, rows_.count(t), columns,
                 AddTerms<T>{from, storage_, rows_.first(t) - chunk_row_, columns_, columns, terms_});
    }

    void write(const T* from, void* to, Index count) const {
        each(queue_, 1, count, Convert<T>{from, dtype_of<T>, to, storage_});
    }
    void write_biases(const ProductGates& product, int column) const {
        each_run(product,
                 [&](int first, int gates, int row) { write_bias(call_.dbias_hh, row, column + first, gates); });
    }
    void write_bias(void* to, int row, int column, int gates) const {
        const Index hidden = shape_.hidden;
        if (to) write(sums_ + column * hidden, offset(to, storage_, row * hidden), gates * hidden);
    }

    T* sums_ = nullptr;  // (columns, H)
    T* parts_ = nullptr;
    T* terms_ = nullptr;      // (B, inputs*H)
    T* dx_ = nullptr;         // (rows of a chunk, I)
    void* x_rows_ = nullptr;  // (rows of a chunk, I and E*H): the caller's x, packed
    RowsOfTokens of_tokens_{};
    Sum d_ih_{}, d_hh_{}, d_gg_{}, d_hr_{};
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
