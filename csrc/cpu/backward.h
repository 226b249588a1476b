// The CPU's backward engine: one thread's work in each phase of recurrence/order.h, from the last step down.
//
// Step t multiplies step t+1's gate gradients with W_hh^T into a strip and runs the cell's backward over it,
// so one meeting per step is enough. Gate gradients live for one chunk of steps; at a chunk's end the sums
// over its rows (weights, biases, x) are made as large products (weight_gradients.h).
// The forward's arrays are only read: a run can be differentiated again.
#pragma once

#include "../recurrence/order.h"
#include "backward_shared.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
class BackwardEngine {
protected:
    using V = Vec<T>;
    using G = Geometry<Cell>;
    static constexpr int lanes = V::lanes;

public:
    BackwardEngine(const BackwardShared<Cell, T>& shared, int thread)
        : shared_(shared),
          shape_(shared.call.in.shape),
          rows_(shared.rows),
          masks_(shared.masks),
          part_(make_part<Cell>(Pass::backward, shared.plan, rows_, shared.blocks, shared.h_blocks, thread,
                                shared.barriers)),
          item_(item_blocks<Cell>(Pass::backward, part_.rows.count)) {}

    // Packs this thread's share of the weights and takes over the gradients of the final states.
    void begin() {
        const int thread = part_.thread, threads = part_.threads;
        if (shared_.dropped.fill(thread, threads)) part_.everyone->wait();
        const T* weight_hh = static_cast<const T*>(shared_.in.weight_hh);
        const T* weight_ih = static_cast<const T*>(shared_.in.weight_ih);
        const Index hidden = shape_.hidden;
        pack_transposed(shared_.w_recurrent[0], weight_hh, hidden_rows<Cell>.row, hidden, width(), width(), thread,
                        threads);
        if constexpr (projected<Cell>)
            pack_transposed(shared_.w_projection, static_cast<const T*>(shared_.in.weight_hr), kFirstRow.row, width(),
                            hidden, hidden, thread, threads);
        const T* weight_fed = own_feedback_weight<Cell> ? static_cast<const T*>(shared_.in.weight_gg) : weight_hh;
        for (int k = 0; k < G::vectors; ++k)
            pack_transposed(shared_.w_recurrent[1 + k], weight_fed + k * hidden, feedback_rows<Cell>.row, hidden,
                            hidden, G::vectors * hidden, thread, threads);
        if constexpr (two_products<Cell>)
            pack_transposed(shared_.w_gated, weight_hh, gated_rows<Cell>.row, hidden, hidden, hidden, thread, threads);
        if (shared_.call.dx)
            pack_transposed(shared_.w_input, weight_ih, input_rows<Cell>.row, hidden, shape_.input, shape_.input,
                            thread, threads);
        each_block(part_.rows, [&](Index row, Index block) {
            for (int s = projected<Cell> ? 1 : 0; s < G::states; ++s) {
                const T* from = static_cast<const T*>(shared_.call.d_final_state[s]);
                const V d = from ? V::load(from + row * shape_.hidden + block * lanes, valid(block)) : V(T(0));
                d.store(carried(row, block, s));
            }
        });
        part_.everyone->wait();
    }

    void begin_chunk(Index first, Index last) {
        // The first step of the chunk above stands at the buffer's start; it becomes the step after this chunk.
        if (last < shape_.steps)
            each_block(part_.rows_of_step(rows_, last), [&](Index row, Index block) {
                const Index behind = rows_.first(last) - rows_.first(first);
                const T* from = shared_.gradient + row * shared_.gradient_row() + block * lanes;
                T* to = shared_.gradient + (behind + row) * shared_.gradient_row() + block * lanes;
                for (int i = 0; i < G::slots; ++i)
                    V::load(from + i * shared_.padded()).store(to + i * shared_.padded());
            });
        chunk_row_ = rows_.first(first);
        wait_for_step();
    }

    void step(Index t) {
        carry_to(t, [&](Index row, Index block, V* dn) RNNKERNELS_INLINED { differentiate(t, row, block, dn); });
    }

    void state(Index t) {
        carry_to(t, [&](Index row, Index block, V* dn) RNNKERNELS_INLINED {
            V saved[G::saved + 1], s[G::states], n[G::states], d[G::slots] = {}, ds[G::states], kept[G::states] = {};
            load_saved(t, row, block, saved);
            load_step(t, row, block, s, n, dn, kept);
            Cell::backward_state(saved, s, n, dn, d, ds);
            if (zones()) add(kept, ds);
            store_gradients(t, row, block, d);
            store_carried(row, block, ds);
        });
    }

    void gates(Index t) {
        const Factor gated_only[] = {{shared_.w_gated, shared_.gated_slots, G::gateds}};
        multiply(gated_only, t, part_.rows_of_step(rows_, t),
                 [&](Index row, Index block, const T* strip) RNNKERNELS_INLINED {
                     V saved[G::saved + 1], s[G::states], d[G::slots], ds[G::states], gated;
                     load_saved(t, row, block, saved);
                     load_states(t, row, block, s);
                     for (int i = 0; i < G::slots; ++i)
                         d[i] = V::load(gradient(t, row) + i * shared_.padded() + block * lanes);
                     load_carried(row, block, ds);
                     const V factor = drops() ? masks_.factor(rows_.first(t) + row, block) : V(T(1));
                     Cell::backward_gates(saved, s, V::load(strip) * factor, d, ds, gated);
                     store_gradients(t, row, block, d);
                     store_carried(row, block, ds);
                     (gated * factor).store(in_chunk(shared_.gated, shared_.padded(), t, row) + block * lanes);
                 });
    }

    void wait_for_step() { part_.wait_for_step(); }

    // The chunk's rows summed into the weights' gradients, and its dx.
    void end_chunk(Index first, Index last) {
        part_.everyone->wait();
        const BackwardCall& call = shared_.call;
        const bool begins = last == shape_.steps;  // the first chunk to be summed
        const Index begin = rows_.first(first), count = rows_.first(last) - begin;
        const GradientRows<T> rows{shared_.gradient, shared_.gradient_row(), count};
        sum_slots(rows, Cell::slot_count * shared_.blocks, shared_.slot_sums, part_.thread, part_.threads);
        if (call.dterm)
            for (Index t = first; t < last; ++t)
                sum_terms(GradientRows<T>{gradient(t, 0), shared_.gradient_row(), rows_.count(t)},
                          shared_.input_bias_slots, G::inputs, shared_.padded(), shared_.term_sums, part_.thread,
                          part_.threads);
        if (call.dx)
            input_gradient(
                rows, shared_.w_input, shared_.input_slots, G::inputs, shared_.direct_slots, G::directs, shape_,
                shared_.zeros,
                [&](Index row) { return static_cast<T*>(call.dx) + rows_.place(begin + row) * shape_.input; },
                part_.thread, part_.threads);
        if (call.in.tokens) {
            sum_tokens(rows, shared_.tokens + begin, shared_.input_slots, G::inputs, shape_, shared_.token_sums, begins,
                       part_.thread, part_.threads);
        } else {
            const T* x = static_cast<const T*>(call.in.x);
            shared_.outer.add(
                rows, shared_.input_slots, input_rows<Cell>.row, G::inputs, shape_.hidden,
                [&](Index row) { return x + rows_.place(begin + row) * shape_.input; }, shape_.input,
                static_cast<T*>(call.dweight_ih), begins, part_);
        }
        shared_.outer.add(
            rows, shared_.hidden_slots, hidden_rows<Cell>.row, G::hiddens, shape_.hidden,
            [&](Index row) -> const T* {
                if (drops()) return shared_.masked + row * shared_.h_padded();
                const Index at = begin + row, t = shared_.step_of ? shared_.step_of[at] : at / shape_.batch;
                return h_before(t, at - rows_.first(t));
            },
            width(), static_cast<T*>(call.dweight_hh), begins, part_);
        if constexpr (G::vectors > 0) {
            const Index fed_row = G::vectors * shape_.hidden;
            const T* fed = shared_.feedback + begin * fed_row;
            shared_.outer.add(
                rows, shared_.feedback_slots, feedback_rows<Cell>.row, G::feedbacks, shape_.hidden,
                [&](Index row) { return fed + row * fed_row; }, fed_row,
                static_cast<T*>(own_feedback_weight<Cell> ? call.dweight_gg : call.dweight_hh), begins, part_);
        }
        if constexpr (two_products<Cell>)
            shared_.outer.add(
                rows, shared_.gated_slots, gated_rows<Cell>.row, G::gateds, shape_.hidden,
                [&](Index row) { return shared_.gated + row * shared_.padded(); }, shape_.hidden,
                static_cast<T*>(call.dweight_hh), begins, part_);
        if (call.norms[0]) shared_.norms.write(rows_, begin, count, part_.thread, part_.threads, call.norms);
        part_.everyone->wait();
    }

    // The gradients of the initial states; the sums into the caller's arrays.
    void finish() {
        carry_to(-1, [&](Index row, Index block, const V* dn) { store_d_states(row, block, dn); });
        write_sums();
    }

protected:
    void write_sums() {
        shared_.dropped.backward(shared_.call.dweight_hh, shared_.call.dweight_gg, part_.thread, part_.threads);
        if (part_.thread != 0) return;
        const BackwardCall& call = shared_.call;
        write_bias(shared_.slot_sums, shared_.input_bias_slots, input_rows<Cell>.row, G::inputs, shape_.hidden,
                   static_cast<T*>(call.dbias_ih));
        write_bias(shared_.slot_sums, shared_.hidden_bias_slots, hidden_rows<Cell>.row, G::hiddens, shape_.hidden,
                   static_cast<T*>(call.dbias_hh));
        write_bias(shared_.slot_sums, shared_.gated_slots, gated_rows<Cell>.row, G::gateds, shape_.hidden,
                   static_cast<T*>(call.dbias_hh));
        if constexpr (!own_feedback_weight<Cell>)
            write_bias(shared_.slot_sums, shared_.feedback_slots, feedback_rows<Cell>.row, G::feedbacks, shape_.hidden,
                       static_cast<T*>(call.dbias_hh));
        write_bias(shared_.slot_sums, shared_.diagonal_slots, kInOrder, G::diagonals, shape_.hidden,
                   static_cast<T*>(call.dweight_diagonal));
        if (call.dterm)
            for (Index line = 0; line < shape_.batch * G::inputs; ++line)
                std::memcpy(static_cast<T*>(call.dterm) + line * shape_.hidden,
                            shared_.term_sums + line * shared_.padded(),
                            static_cast<std::size_t>(shape_.hidden) * sizeof(T));
        const bool empty = shape_.steps * shape_.batch == 0;
        if (call.in.tokens && !empty)
            write_tokens(shared_.token_sums, G::inputs, shape_, static_cast<T*>(call.dweight_ih));
    }

    // The cell's backward, of a cell of one product; dn as carry_to gives it.
    RNNKERNELS_INLINE void differentiate(Index t, Index row, Index block, V* dn) const {
        V saved[G::saved + 1], w[G::diagonals + G::settings + 1], s[G::states], n[G::states], d[G::slots];
        V ds[G::states], kept[G::states] = {};
        load_saved(t, row, block, saved);
        for (int k = 0; k < G::diagonals; ++k) w[k] = V::load(shared_.diagonal + (k * shared_.blocks + block) * lanes);
        load_step(t, row, block, s, n, dn, kept);
        if constexpr (extended<Cell> && G::settings > 0) {
            for (int k = 0; k < G::settings; ++k) w[G::diagonals + k] = V(shared_.settings[k]);
            Cell::template backward<true>(saved, w, s, n, dn, d, ds);
        } else {
            Cell::backward(saved, w, s, n, dn, d, ds);
        }
        if (zones()) add(kept, ds);
        store_gradients(t, row, block, d);
        store_carried(row, block, ds);
    }

    // Rows of the gradient buffer: step t's while its chunk is at work, the step after the chunk included.
    T* gradient(Index t, Index row) const {
        return shared_.gradient + (rows_.first(t) - chunk_row_ + row) * shared_.gradient_row();
    }
    T* carried(Index row, Index block, int s) const {
        return shared_.carried + ((row * shared_.blocks + block) * G::states + s) * lanes;
    }
    const T* reserve(Index t, Index row, Index block) const {
        return static_cast<const T*>(shared_.call.reserve) +
               ((rows_.first(t) + row) * shared_.blocks + block) * G::reserve(zones()) * lanes;
    }
    // Whether the call has zoneout, recurrent dropout.
    bool zones() const { return extended<Cell> && masks_.zones; }
    bool drops() const { return extended<Cell> && masks_.drops; }
    // Where a row of step t stands in the caller's arrays, and in a buffer (chunk*B, width).
    Index place(Index t, Index row) const { return rows_.place(rows_.first(t) + row); }
    T* in_chunk(T* buffer, Index width, Index t, Index row) const {
        return buffer + (rows_.first(t) - chunk_row_ + row) * width;
    }
    // h after and before a row's step t.
    const T* output(Index t, Index row) const {
        return static_cast<const T*>(shared_.call.output) + place(t, row) * width();
    }
    const T* h_before(Index t, Index row) const {
        return t == 0 ? shared_.initial[0] + row * width() : output(t - 1, row);
    }
    Index valid(Index block) const { return shape_.hidden - block * lanes; }
    Index width() const { return width_of<Cell>(shape_); }  // of h

    template <class Function>
    RNNKERNELS_INLINE void each_block(RowSet rows, Function function) {
        rows.each([&](Index row) RNNKERNELS_INLINED {
            for (Index block = part_.blocks.first; block < part_.blocks.last; ++block) function(row, block);
        });
    }

    RNNKERNELS_INLINE void load_saved(Index t, Index row, Index block, V* saved) const {
        for (int i = 0; i < G::saved; ++i) saved[i] = V::load(reserve(t, row, block) + i * lanes);
    }
    // The states before step t.
    RNNKERNELS_INLINE void load_states(Index t, Index row, Index block, V* s) const {
        const Index at = row * shape_.hidden + block * lanes;
        s[0] = projected<Cell> ? V(T(0)) : V::load(h_before(t, row) + block * lanes, valid(block));
        for (int k = 1; k < G::states; ++k)
            s[k] = t == 0 ? V::load(shared_.initial[k] + at, valid(block))
                          : V::load(reserve(t - 1, row, block) + (G::saved + k - 1) * lanes);
    }
    RNNKERNELS_INLINE void store_gradients(Index t, Index row, Index block, const V* d) const {
        for (int i = 0; i < G::slots; ++i) d[i].store(gradient(t, row) + i * shared_.padded() + block * lanes);
    }
    RNNKERNELS_INLINE void store_carried(Index row, Index block, const V* ds) const {
        for (int k = 0; k < G::states; ++k) ds[k].store(carried(row, block, k));
    }
    RNNKERNELS_INLINE void load_carried(Index row, Index block, V* ds) const {
        for (int k = 0; k < G::states; ++k) ds[k] = V::load(carried(row, block, k));
    }
    RNNKERNELS_INLINE void store_d_states(Index row, Index block, const V* dn) const {
        for (int k = projected<Cell> ? 1 : 0; k < G::states; ++k)
            dn[k].store(static_cast<T*>(shared_.call.d_state[k]) + row * shape_.hidden + block * lanes, valid(block));
    }
    // The states before step t, and those the cell made of them; dn takes in the gradients of the step's outputs. With
    // zoneout dn becomes what goes to the cell, `kept` what goes past it to the states before.
    RNNKERNELS_INLINE void load_step(Index t, Index row, Index block, V* s, V* n, V* dn, V* kept) const {
        load_states(t, row, block, s);
        const T* reserved = reserve(t, row, block) + G::saved * lanes;
        for (int k = 1; k < G::states; ++k) n[k] = V::load(reserved + (k - 1) * lanes);
        if constexpr (extended<Cell>)
            for (int k = 1; k < G::states; ++k) take_in(shared_.call.d_sequence[k], k, t, row, block, dn[k]);
        if constexpr (projected<Cell>) {
            n[0] = V(T(0));  // not what is stored: that is W_hr times it
        } else {
            n[0] = V::load(output(t, row) + block * lanes, valid(block));
            take_in(shared_.call.d_output, 0, t, row, block, dn[0]);
            if (drops()) store_masked(t, row, block, s[0]);
        }
        if (!zones()) return;
        for (int k = 0; k < G::states; ++k) n[k] = V::load(reserve(t, row, block) + (G::first_own + k) * lanes);
        masks_.unzone(rows_.first(t) + row, block, dn, kept);
    }
    // Adds the caller's gradient of a step's state, which is whole then: a reading is taken where it is wanted.
    RNNKERNELS_INLINE void take_in(const void* given, int k, Index t, Index row, Index block, V& dn) const {
        const Index units = k == 0 ? width() : shape_.hidden, left = units - block * lanes;
        if (given) dn = V::load(static_cast<const T*>(given) + place(t, row) * units + block * lanes, left) + dn;
        if (extended<Cell> && shared_.call.norms[0])
            shared_.norms.note(rows_.first(t) - chunk_row_ + row, block, k, dn, left);
    }
    // h before step t as the recurrent weight saw it.
    RNNKERNELS_INLINE void store_masked(Index t, Index row, Index block, V h) const {
        (h * masks_.factor(rows_.first(t) + row, block))
            .store(in_chunk(shared_.masked, shared_.h_padded(), t, row) + block * lanes);
    }
    RNNKERNELS_INLINE static void add(const V* more, V* to) {
        for (int k = 0; k < G::states; ++k) to[k] = to[k] + more[k];
    }

    // What gradient rows are multiplied with: a weight, and the slots of its gates.
    struct Factor {
        const Panels<T>& w;
        const Index* slots;
        int gates;
    };

    // A tile of step t's gradient rows times the panels of an item, factor after factor, into the strip, then the
    // epilogue over it, which finds one vector for each factor, an item apart.
    template <int count, class Epilogue>
    RNNKERNELS_INLINE void multiply(const Factor (&factors)[count], Index t, RowSet rows, Epilogue epilogue) {
        alignas(64) T strip[count * strip_size<Cell>(Pass::backward, 1, lanes)];
        const Index stride = item_ * count * lanes;
        const int most = tile_rows(factors[0].w.width);
        for (Index block = part_.blocks.first; block < part_.blocks.last; block += item_) {
            const Index end = block + item_ < part_.blocks.last ? block + item_ : part_.blocks.last;
            each_strip(
                rows, [&](Index left) { return next_tile(left, most); },
                [&](Index row, int tile, Index place) {
                    for (int i = 0; i < count; ++i) {
                        const Factor& f = factors[i];
                        const RowBlock<T> a{gradient(t, row), shared_.gradient_row() * rows.step, f.slots, f.gates,
                                            shape_.hidden};
                        product(a, tile, part_of(f.w, block, end), shared_.zeros, 0,
                                strip + place * stride + i * item_ * lanes, stride);
                    }
                },
                [&](Index row, Index place) RNNKERNELS_INLINED {
                    for (Index b = block; b < end; ++b) epilogue(row, b, strip + place * stride + (b - block) * lanes);
                });
        }
    }

    // dL/d(states after step t) from the steps behind it: what was carried along the element-wise paths plus
    // the recurrent product of step t+1. The step's own output comes last (load_step): in this order a
    // sequence cut in two calls gives the same bits as one. t = -1: the initial states.
    template <class Function>
    RNNKERNELS_INLINE void carry_to(Index t, Function function) {
        const RowSet mine = part_.rows_of_step(rows_, t), more = mine.below(rows_.count(t + 1));
        each_block(mine.from(rows_.count(t + 1)), [&](Index row, Index block) {
            V dn[G::states];
            load_carried(row, block, dn);
            function(row, block, dn);
        });
        if (more.count > 0) {
            const auto carry = [&](Index row, Index block, const T* strip) RNNKERNELS_INLINED {
                V dn[G::states];
                load_carried(row, block, dn);
                V factor(T(1));
                if (drops()) factor = masks_.factor(rows_.first(t + 1) + row, block);
                dn[0] = fma(V::load(strip), factor, dn[0]);
                if constexpr (G::vectors > 0) {
                    V n[G::states], d_fed[G::vectors];
                    load_states(t + 1, row, block, n);
                    for (int k = 0; k < G::vectors; ++k) d_fed[k] = V::load(strip + (1 + k) * item_ * lanes) * factor;
                    Cell::feedback_backward(n, d_fed, dn);
                }
                function(row, block, dn);
            };
            const Factor h{shared_.w_recurrent[0], shared_.hidden_slots, G::hiddens};
            const auto fed = [&](int k) {
                return Factor{shared_.w_recurrent[k], shared_.feedback_slots, G::feedbacks};
            };
            if constexpr (G::vectors == 0) {
                const Factor factors[] = {h};
                multiply(factors, t + 1, more, carry);
            } else if constexpr (G::vectors == 1) {
                const Factor factors[] = {h, fed(1)};
                multiply(factors, t + 1, more, carry);
            } else {
                static_assert(G::vectors == 3, "write the list of factors");
                const Factor factors[] = {h, fed(1), fed(2), fed(3)};
                multiply(factors, t + 1, more, carry);
            }
        }
    }

    const BackwardShared<Cell, T>& shared_;
    const Shape& shape_;
    const Rows& rows_;
    const Masks<T, G::states>& masks_;
    const Part part_;
    const Index item_;
    Index chunk_row_ = 0;  // the first of the chunk at work
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
