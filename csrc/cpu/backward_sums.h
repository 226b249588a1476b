// The end of the backward engine's chunks and calls: a chunk's gradient rows summed into weights' gradients and dx,
// then the sums into the caller's arrays. Not here: how a sum is made (weight_gradients.h).
#pragma once

#include "backward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
void BackwardEngine<T>::end_chunk(Index first, Index last) {
    const BackwardCall& call = shared_.call;
    const bool begins = last == shape_.steps;  // the first chunk to be summed
    const Index hidden = shape_.hidden, begin = rows_.first(first), count = rows_.first(last) - begin;
    const GradientRows<T> rows{shared_.gradient, shared_.gradient_row(), count};
    phases_.everyone([&](int share, int shares) {
        sum_slots(rows, table_.cell_slots * shared_.blocks, shared_.slot_sums, share, shares);
        if (call.dterm)
            for (Index t = first; t < last; ++t)
                sum_terms(GradientRows<T>{gradient(t, 0), shared_.gradient_row(), rows_.count(t)},
                          shared_.input_bias_slots, table_.input.count, shared_.padded(), shared_.term_sums, share,
                          shares);
        if (call.dx)
            input_gradient(
                rows, shared_.w_input, shared_.input_slots, table_.input.count, shared_.direct_slots, table_.directs,
                shape_, shared_.zeros,
                [&](Index row) { return static_cast<T*>(call.dx) + rows_.place(begin + row) * x_row(shape_); }, share,
                shares, shared_.watch, scratch_.low);
        if (call.in.tokens)
            sum_tokens(rows, shared_.tokens + begin, shared_.input_slots, table_.input.count, shape_,
                       shared_.token_sums, begins, share, shares);
        if (call.norms[0]) shared_.norms.write(rows_, begin, count, share, shares, call.norms);
    });
    const auto add = [&](const Index* slots, const ProductGates& gates, auto matrix_row, Index columns, void* out) {
        shared_.outer.add(rows, slots, gates.row, gates.count, hidden, matrix_row, columns, static_cast<T*>(out),
                          out == call.dweight_ih ? input_row(shared_.in) : columns, begins, phases_);
    };
    if (!call.in.tokens) {
        const T* x = static_cast<const T*>(call.in.x);
        add(
            shared_.input_slots, table_.input, [&](Index row) { return x + rows_.place(begin + row) * x_row(shape_); },
            shape_.input, call.dweight_ih);
    }
    if (table_.heads > 1) {
        sum_heads(begin, count, begins);
    } else {
        add(
            shared_.hidden_slots, table_.hidden,
            [&](Index row) -> const T* {
                if (masks_.drops) return shared_.masked + row * shared_.h_padded();
                return h_before(begin + row);
            },
            width(), call.dweight_hh);
        if (table_.vectors > 0) {
            const Index fed_row = table_.vectors * hidden;
            const T* fed = shared_.feedback + begin * fed_row;
            add(
                shared_.feedback_slots, table_.feedback, [&](Index row) { return fed + row * fed_row; }, fed_row,
                table_.own_feedback_weight ? call.dweight_gg : call.dweight_hh);
        }
        if (table_.gated.count > 0)
            add(
                shared_.gated_slots, table_.gated, [&](Index row) { return shared_.gated + row * shared_.padded(); },
                hidden, call.dweight_hh);
    }
    if (projected())
        shared_.outer.add(
            GradientRows<T>{shared_.dh, shared_.h_padded(), count}, kNoOffset, kOneGate.row, 1, width(),
            [&](Index row) { return shared_.unprojected + (begin + row) * hidden; }, hidden,
            static_cast<T*>(call.dweight_hr), hidden, begins, phases_);
    if (attends()) sum_attending(first, last);
}

// Rows times these blocks of a weight's columns, a tile of rows at a time into the strip; then use(rows, blocks).
template <class T>
template <class RowAt, class Use>
void BackwardEngine<T>::multiply_rows(const Panels<T>& w, RowBlock<T> a, RowAt row_at, RowSet rows, Range all,
                                      Use use) {
    if constexpr (kMayHavePairs<T>)
        if (w.kept.low != 0) [[unlikely]]
            return multiply_rows_low(w, a, row_at, rows, all, use);
    a.row_stride *= rows.step;
    for (Index block = all.first; block < all.last; block += kStripBlocks) {
        const Range blocks{block, least(block + kStripBlocks, all.last)};
        for (Index i = 0; i < rows.count;) {
            const int tile = next_tile(rows.count - i, tile_rows(w.width));
            a.data = row_at(rows.at(i));
            product(a, tile, part_of(w, blocks.first, blocks.last), shared_.zeros, 0, scratch_.product,
                    kStripBlocks * lanes);
            use(RowSet{rows.at(i), tile, rows.step}, blocks);
            i += tile;
            if (i < rows.count) cpu::look(shared_.watch);
        }
    }
}

template <class T>
void BackwardEngine<T>::finish() {
    phases_.each_row_group(true, [&] { each_part(1, [&]() RNNKERNELS_INLINED { finish_part(); }); });
    phases_.everyone([&](int share, int shares) {
        shared_.dropped.backward(shared_.call.dweight_hh, shared_.call.dweight_gg, share, shares);
        if (share == 0) write_sums();
    });
}

template <class T>
void BackwardEngine<T>::finish_part() {
    if (apart_ && !projected()) {
        carry_apart(-1, &BackwardEngine::run_first);
    } else if (projected()) {
        T* const to = static_cast<T*>(shared_.call.d_state[0]);
        each_dh(-1, [&](Index row, Index block, V dh)
                        RNNKERNELS_INLINED { dh.store(to + row * width() + block * lanes, width() - block * lanes); });
    } else {
        carry_to(-1, [&](RowSet rows, Range blocks, T* product)
                         RNNKERNELS_INLINED { run_first(-1, rows, blocks, product); });
    }
    store_d_states();
}

// What is carried to the states before the first step is their gradient; h's, where it is projected, is not among it.
template <class T>
void BackwardEngine<T>::store_d_states() {
    part_.rows.each([&](Index row) {
        for (int k = projected() ? 1 : 0; k < table_.states; ++k) {
            T* const to = static_cast<T*>(shared_.call.d_state[k]) + row * shape_.hidden;
            for (Index block = part_.blocks.first; block < part_.blocks.last; ++block)
                V::load(carried(row) + (block * table_.states + k) * lanes).store(to + block * lanes, valid(block));
        }
    });
}

template <class T>
void BackwardEngine<T>::write_sums() {
    const BackwardCall& call = shared_.call;
    const Index hidden = shape_.hidden;
    const int inputs = table_.input.count;
    const auto write = [&](const Index* slots, const int* rows, int count, void* out) {
        write_bias(shared_.slot_sums, slots, rows, count, hidden, static_cast<T*>(out));
    };
    write(shared_.input_bias_slots, table_.input.row, inputs, call.dbias_ih);
    write(shared_.hidden_bias_slots, table_.hidden.row, table_.hidden.count, call.dbias_hh);
    write(shared_.gated_slots, table_.gated.row, table_.gated.count, call.dbias_hh);
    if (!table_.own_feedback_weight)
        write(shared_.feedback_slots, table_.feedback.row, table_.feedback.count, call.dbias_hh);
    write(shared_.diagonal_slots, kInOrder, table_.diagonals, call.dweight_diagonal);
    if (call.dterm)
        for (Index line = 0; line < shape_.batch * inputs; ++line)
            std::memcpy(static_cast<T*>(call.dterm) + line * hidden, shared_.term_sums + line * shared_.padded(),
                        static_cast<std::size_t>(hidden) * sizeof(T));
    const bool empty = shape_.steps * shape_.batch == 0;
    if (attends() && !empty) write_attending();
    if (call.in.tokens && !empty)
        write_tokens(shared_.token_sums, inputs, shape_, static_cast<T*>(call.dweight_ih), input_row(shared_.in));
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
