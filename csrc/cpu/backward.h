// The CPU's backward engine: what a thread does in each phase of recurrence/order.h, from the last step down, for every
// cell. A phase is divided into parts, which threads claim (claims.h).
//
// Step t multiplies step t+1's gate gradients with W_hh^T into a strip and runs the cell's pass over it,
// so one meeting per step is enough. Gate gradients live for one chunk of steps; at a chunk's end the sums
// over its rows (weights, biases, x) are made as large products (weight_gradients.h).
// The forward's arrays are only read: a run can be differentiated again.
// Not here: the cells' maths (cells/), their passes (passes/), what options do to a strip (strip_options.h), what comes
// before the steps (backward_begin.h), a chunk's sums (backward_sums.h), what options want of a step
// (backward_options.h), the phases of projected and normalised cells (projected_backward.h, normalised_backward.h), the
// products of those with heads (head_backward.h) and of bfloat16 (low_backward.h).
#pragma once

#include "../recurrence/order.h"
#include "backward_shared.h"
#include "normalise.h"
#include "strip_options.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
class BackwardEngine {
    using V = Vec<T>;
    static constexpr int lanes = V::lanes;

public:
    BackwardEngine(const BackwardShared<T>& shared, Member& member)
        : shared_(shared),
          phases_(member, shared.plan, shared.claims.steps, shared.claims.shares),
          table_(shared.table),
          shape_(shared.call.in.shape),
          rows_(shared.rows),
          masks_(shared.masks),
          scratch_(shared.scratch[member.number]),
          apart_(table_.form == Form::projected || table_.heads > 1 || shared.kept.low != 0) {
        describe_strip();
        take(0);
    }

    // Packs the weights and takes over the gradients of the final states.
    void begin();

    void begin_chunk(Index first, Index) { chunk_row_ = rows_.first(first); }
    template <class Run>
    RNNKERNELS_INLINE void each_row_group(bool each, Run run) {
        phases_.each_row_group(each, run);
    }
    // The first step of the chunk above stands at the buffer's start; it becomes the step after this chunk.
    void begin_steps(Index first, Index last);

    // Also the first phase of a cell of two products (state).
    void step(Index t) {
        if (apart_) return step_apart(t);
        each_part(t, [&]() RNNKERNELS_INLINED {
            carry_to(t, [&](RowSet rows, Range blocks, T* product)
                            RNNKERNELS_INLINED { run_step(t, rows, blocks, product); });
        });
    }
    void state(Index t) { step(t); }

    void gates(Index t) {
        if (apart_) return gates_apart(t);
        const Factor gated_only = gated_factor();
        each_part(t, [&]() RNNKERNELS_INLINED {
            multiply(&gated_only, 1, t, part_.rows_of_step(rows_, t),
                     [&](RowSet rows, Range blocks, T* product)
                         RNNKERNELS_INLINED { run_gates(t, rows, blocks, product); });
        });
    }

    // An attending recurrence: dL/dcontext of step t, what that gives to features and queries, and these to h before
    // the step (attending_backward.h).
    bool attends() const { return shared_.attending.call != nullptr; }
    void context_gradient(Index t);
    void weigh_backward(Index t);
    void ask_backward(Index t);
    // Projected cells: dL/dh of step t, all of it (projected_backward.h).
    void project_h(Index t);
    void step_projected(Index t);
    // Normalised cells: dL/d(states after step t) but for the step's own output; all that follows it, for which the
    // parts of a row group divide its rows (normalised_backward.h).
    void products(Index t);
    void rows(Index t);

    // The chunk's rows summed into the weights' gradients, and its dx (backward_sums.h).
    void end_chunk(Index first, Index last);
    // The gradients of the initial states; the sums into the caller's arrays.
    void finish();

private:
    // A phase of the row group at work: work() for parts of it, each of them `part_` meanwhile.
    template <class Work>
    RNNKERNELS_INLINE void each_part(Index t, Work work) {
        phases_.of_group(t % 2 != 0, [&](int piece) RNNKERNELS_INLINED {
            if (piece != piece_) take(piece);
            work();
        });
    }
    void take(int piece) {
        piece_ = piece;
        part_ = make_part(shared_.cell, Pass::backward, shared_.plan, rows_, shared_.blocks, shared_.h_blocks, piece);
        item_ = shared_.cell.item_blocks(Pass::backward, part_.rows.count);
    }

    // dL/d(final states) of these rows.
    void begin_rows(Range rows);

    bool projected() const { return table_.form == Form::projected; }
    // Rows of step t among those of all steps, to which masks belong, and among those of the chunk.
    RowSet of_all_steps(Index t, RowSet rows) const { return {rows_.first(t) + rows.first, rows.count, rows.step}; }
    RowSet of_chunk(Index t, RowSet rows) const {
        return {rows_.first(t) - chunk_row_ + rows.first, rows.count, rows.step};
    }
    // Rows of the gradient buffer: step t's while its chunk is at work, the step after the chunk included.
    T* gradient(Index t, Index row) const { return in_chunk(shared_.gradient, shared_.gradient_row(), t, row); }
    // A row of step t in a buffer (chunk*B, width).
    T* in_chunk(T* buffer, Index width, Index t, Index row) const {
        return buffer + (rows_.first(t) - chunk_row_ + row) * width;
    }
    // dL/d(states) on its way to the step before, (blocks, states, lanes).
    T* carried(Index row) const { return shared_.carried + row * shared_.padded() * table_.states; }
    // What a row kept, (blocks, vectors, lanes).
    const T* reserve(Index t, Index row) const {
        return static_cast<const T*>(shared_.call.reserve) +
               (rows_.first(t) + row) * shared_.blocks * strip_.reserve_block;
    }
    // Where a row of step t stands in the caller's arrays.
    Index place(Index t, Index row) const { return rows_.place(rows_.first(t) + row); }
    // h after and before a row's step t.
    const T* output(Index t, Index row) const {
        return t < 0 ? shared_.initial_h + row * width()
                     : static_cast<const T*>(shared_.call.output) + place(t, row) * width();
    }
    const T* h_before(Index t, Index row) const { return output(t - 1, row); }
    // Of row `at` of all steps.
    const T* h_before(Index at) const {
        const Index t = shared_.step_of ? shared_.step_of[at] : at / shape_.batch;
        return h_before(t, at - rows_.first(t));
    }
    Index valid(Index block) const { return shape_.hidden - block * lanes; }
    Index width() const { return width_of(table_, shape_); }  // of h

    // What all strips have in common.
    void describe_strip() {
        const Index step = rows_.ragged() ? shared_.plan.row_groups : 1;
        strip_.program = shared_.cell.passes.program;
        strip_.hidden = shape_.hidden;
        strip_.h = h_rows_, strip_.out = out_rows_;
        strip_.elements = element_rows_, strip_.elements_behind = element_rows_behind_;
        if (shared_.call.dx) strip_.d_elements = d_element_rows_, strip_.d_elements_behind = d_element_rows_behind_;
        strip_.carried_row = shared_.padded() * table_.states * step;
        strip_.reserve_block = reserve_vectors(table_, masks_.zones) * lanes;
        strip_.reserve_row = shared_.blocks * strip_.reserve_block * step;
        strip_.diagonal = shared_.diagonal, strip_.diagonal_row = shared_.padded();
        strip_.settings = shared_.held ? shared_.settings : nullptr;
        strip_.d_row = shared_.gradient_row() * step, strip_.d_slot = shared_.padded();
    }
    // The states after step t; of step -1 the initial ones.
    void put_states_after(Index t, Index row, Index step, const T** states, Index& row_stride,
                          Index& block_stride) const {
        if (t < 0) {
            for (int k = 1; k < table_.states; ++k) states[k] = shared_.initial[k] + row * shared_.padded();
            row_stride = shared_.padded() * step, block_stride = lanes;
        } else {
            const T* const first = reserve(t, row) + table_.saved * lanes;
            for (int k = 1; k < table_.states; ++k) states[k] = first + (k - 1) * lanes;
            row_stride = strip_.reserve_row, block_stride = strip_.reserve_block;
        }
    }
    // Where dL/d(states after step t) of these rows stands, and these states.
    void put_after(Index t, RowSet rows, Range blocks) {
        strip_.first = blocks.first, strip_.blocks = static_cast<int>(blocks.last - blocks.first);
        strip_.rows = static_cast<int>(rows.count);
        strip_.carried = carried(rows.first);
        strip_.d_out = nullptr;
        strip_.out_block = lanes;
        if (!projected())
            for (Index i = 0; i < rows.count; ++i) out_rows_[i] = output(t, rows.at(i));
        if (table_.states > 1)
            put_states_after(t, rows.first, rows.step, strip_.after, strip_.after_row, strip_.after_block);
    }
    // And what else step t's pass reads and writes of them.
    void put_step(Index t, RowSet rows, Range blocks) {
        put_after(t, rows, blocks);
        if (!projected())
            for (Index i = 0; i < rows.count; ++i) h_rows_[i] = h_before(t, rows.at(i));
        if (table_.states > 1)
            put_states_after(t - 1, rows.first, rows.step, strip_.before, strip_.before_row, strip_.before_block);
        strip_.saved = reserve(t, rows.first);
        strip_.d = gradient(t, rows.first);
        if (table_.elements > 0) put_elements(t, rows, element_rows_, d_element_rows_);
    }
    // The element-wise inputs of step t, and where their gradients go.
    void put_elements(Index t, RowSet rows, const T** from, T** to) const {
        for (Index i = 0; i < rows.count; ++i) {
            const Index at = place(t, rows.at(i)) * x_row(shape_) + shape_.input;
            from[i] = static_cast<const T*>(shared_.call.in.x) + at;
            if (shared_.call.dx) to[i] = static_cast<T*>(shared_.call.dx) + at;
        }
    }
    // The caller's gradient of the step's own h, for the pass to add.
    void put_d_output(Index t, RowSet rows) {
        const T* const given = projected() ? nullptr : static_cast<const T*>(shared_.call.d_output);
        if (!given) return;
        for (Index i = 0; i < rows.count; ++i) d_out_rows_[i] = given + place(t, rows.at(i)) * width();
        strip_.d_out = d_out_rows_;
    }

    // Adds to dL/d(states after step t) what the products of the step behind it gave (put_after); none of them is left
    // for the pass.
    [[gnu::noinline]] void join_products(Index t, RowSet rows) { join_products_here(t, rows); }
    RNNKERNELS_INLINE void join_products_here(Index t, RowSet rows) {
        if (!strip_.product) return;
        if (masks_.drops)
            join_masked(strip_, scratch_.product, table_, masks_, of_all_steps(t + 1, rows));
        else
            join(strip_, table_.states);
        if (table_.vectors > 0) {
            if (table_.elements > 0) put_elements(t + 1, rows, element_rows_behind_, d_element_rows_behind_);
            shared_.cell.passes.feedback_backward(strip_);
        }
        strip_.product = nullptr;
    }
    // What options want of a step's strip (backward_options.h).
    void run_with_options(Index t, RowSet rows, int first_state);
    void take_in_states(Index t, RowSet rows, int first_state);
    void mask_h(Index t, RowSet rows, Range blocks, const T* const* h) const;
    void put_own_states();

    // What follows a product of step t: the pass of these rows and blocks.
    RNNKERNELS_INLINE void run_step(Index t, RowSet rows, Range blocks, T* product) {
        put_step(t, rows, blocks);
        strip_.product = product;
        if (shared_.options || table_.vectors > 0) {
            join_products(t, rows);
            run_with_options(t, rows, 0);
        } else {
            put_d_output(t, rows);
            shared_.cell.passes.backward(strip_);
        }
    }
    // The same of the second product of a cell that has two.
    RNNKERNELS_INLINE void run_gates(Index t, RowSet rows, Range blocks, T* product) {
        put_step(t, rows, blocks);
        strip_.product = product;
        strip_.made = in_chunk(shared_.gated, shared_.padded(), t, rows.first);
        strip_.made_row = shared_.padded() * rows.step;
        const RowSet of_all = of_all_steps(t, rows);
        if (masks_.drops) mask_rows(masks_, of_all, blocks, product, strip_.product_row);
        shared_.cell.passes.backward_gates(strip_);
        if (masks_.drops) mask_rows(masks_, of_all, blocks, strip_.made + blocks.first * lanes, strip_.made_row);
    }
    // Of step -1, and of every step of a normalised cell.
    RNNKERNELS_INLINE void run_first(Index t, RowSet rows, Range blocks, T* product) {
        put_after(t, rows, blocks);
        strip_.product = product;
        join_products_here(t, rows);
    }

    // What gradient rows are multiplied with: a weight, and the slots of its gates.
    struct Factor {
        const Panels<T>* w;
        const Index* slots;
        int gates;
    };

    // A tile of step t's gradient rows times the panels of an item, factor after factor, into the strip, which has one
    // vector for each factor, an item apart; until the strip is full; then use(rows, blocks, strip).
    template <class Use>
    RNNKERNELS_INLINE void multiply(const Factor* factors, int count, Index t, RowSet rows, Use use) {
        const Index stride = item_ * count * lanes;
        const int most = tile_rows(factors[0].w->width);
        T* const strip = scratch_.product;
        strip_.product_row = stride, strip_.product_vector = item_ * lanes;
        for (Index block = part_.blocks.first; block < part_.blocks.last; block += item_) {
            const Index end = block + item_ < part_.blocks.last ? block + item_ : part_.blocks.last;
            each_strip(
                rows, kStripRows, shared_.watch, [&](Index left) { return next_tile(left, most); },
                [&](Index row, int tile, Index place) {
                    for (int i = 0; i < count; ++i) {
                        const Factor& f = factors[i];
                        const RowBlock<T> a{gradient(t, row), shared_.gradient_row() * rows.step, f.slots, f.gates,
                                            shape_.hidden};
                        product(a, tile, part_of(*f.w, block, end), shared_.zeros, 0,
                                strip + place * stride + i * item_ * lanes, stride);
                    }
                },
                [&](RowSet some) RNNKERNELS_INLINED { use(some, Range{block, end}, strip); });
        }
    }

    // use(rows, blocks, product) for the part's rows of step t: product is what the products of step t+1 gave to the
    // states after step t, null for rows whose last step is t. What was carried along the element-wise paths is in
    // `carried`; the step's own output comes last (take_in_states): in this order a sequence cut in two calls gives the
    // same bits as one. t = -1: the initial states.
    template <class Use>
    RNNKERNELS_INLINE void carry_to(Index t, Use use) {
        const RowSet more = carry_ended(t, use);
        if (more.count == 0) return;
        Factor factors[1 + kMaxStates];
        multiply(factors, put_factors(factors), t + 1, more, use);
    }
    // Of the recurrent products; how many.
    RNNKERNELS_INLINE int put_factors(Factor* to) const {
        to[0] = {&shared_.w_recurrent[0], shared_.hidden_slots, table_.hidden.count};
        for (int k = 1; k <= table_.vectors; ++k)
            to[k] = {&shared_.w_recurrent[k], shared_.feedback_slots, table_.feedback.count};
        return 1 + table_.vectors;
    }
    RNNKERNELS_INLINE Factor gated_factor() const {
        return {&shared_.w_gated, shared_.gated_slots, table_.gated.count};
    }

    // Those whose last step is t; the others.
    template <class Use>
    RNNKERNELS_INLINE RowSet carry_ended(Index t, Use use) {
        const RowSet mine = part_.rows_of_step(rows_, t);
        const RowSet more = part_.rows_of_step(rows_, t + 1), ended = mine.from(more);
        for (Index first = 0; first < ended.count; first += kStripRows) {
            const RowSet rows{ended.at(first), least(kStripRows, ended.count - first), ended.step};
            for (Index block = part_.blocks.first; block < part_.blocks.last; block += item_)
                use(rows, Range{block, least(block + item_, part_.blocks.last)}, nullptr);
        }
        return more;
    }

    // Cells with heads, projected ones, and products of bfloat16 (head_backward.h, low_backward.h).
    using Run = void (BackwardEngine::*)(Index t, RowSet rows, Range blocks, T* product);
    void step_apart(Index t);
    void gates_apart(Index t);
    void carry_apart(Index t, Run run);
    void multiply_heads(int first, int count, Index of, RowSet rows, Index t, Run run);
    void multiply_low(const Factor* factors, int count, Index of, RowSet rows, Index t, Run run);
    void sum_heads(Index begin, Index count, bool begins);

    // An attending recurrence (attending_backward.h).
    void begin_attending(int share, int shares);
    void attend_backward(Index t, Index row);
    void put_before(Index t, Index row);
    void sum_attending(Index first, Index last);
    void sum_features(Index first, Index last, Index b);
    void write_attending();
    T* dcontext(Index t, Index row) const {
        return in_chunk(shared_.attending.contexts, shared_.attending.feature_row(), t, row);
    }
    T* dq(Index t, Index row) const { return in_chunk(shared_.attending.dq, shared_.attending.dq_row(), t, row); }

    void finish_part();  // backward_sums.h
    void store_d_states();
    void write_sums();
    // Projected cells (projected_backward.h).
    void project_part(Index t);
    template <class Use>
    void each_dh(Index t, Use use);
    // Rows times a weight that belongs to no gates (backward_sums.h).
    template <class RowAt, class Use>
    void multiply_rows(const Panels<T>& w, RowBlock<T> a, RowAt row_at, RowSet rows, Range blocks, Use use);
    template <class RowAt, class Use>
    void multiply_rows_low(const Panels<T>& w, RowBlock<T> a, RowAt row_at, RowSet rows, Range blocks, Use use);
    // Normalised cells (normalised_backward.h).
    void run_row(Index t, Index row);
    void put_normal();
    void run_inner(Index t, Index row);
    void back_to_sums(Index t, Index row);
    V normal(Index block, int i) const;
    V gain(int k, Index block) const;
    T* slot(int number, Index block) const;
    T scale(Index t, Index row, int norm) const;

    const BackwardShared<T>& shared_;
    Phases phases_;
    const CellTable& table_;
    const Shape& shape_;
    const Rows& rows_;
    const Masks<T>& masks_;
    const BackwardScratch<T> scratch_;
    const bool apart_;  // whether a step is one of step_apart
    int piece_ = 0;     // at work
    Part part_{};
    Index item_ = 0;
    Index chunk_row_ = 0;  // the first of the chunk at work
    BackwardStrip<T> strip_{};
    // Of each row of the strip.
    const T* h_rows_[kMostStripRows];
    const T* out_rows_[kMostStripRows];
    const T* d_out_rows_[kMostStripRows];
    const T* element_rows_[kMostStripRows];
    T* d_element_rows_[kMostStripRows];
    const T* element_rows_behind_[kMostStripRows];  // of the step behind
    T* d_element_rows_behind_[kMostStripRows];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
