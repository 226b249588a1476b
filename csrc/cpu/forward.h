// The CPU's forward engine: what a thread does in each phase of recurrence/order.h, for every cell. A phase is divided
// into parts, which threads claim (claims.h).
//
// A step multiplies a tile of h's rows with the panels of an item of units into a strip that stays in the L1
// cache, and runs the cell's pass over the strip at once: the cell is the product's epilogue.
// Not here: the cells' maths (cells/), their passes (passes/), the tile (tile.h), the order of steps
// (recurrence/order.h), what options do to a strip (strip_options.h), a step's products (multiply.h), the phases of
// projected and normalised cells (projected_forward.h, normalised_forward.h).
#pragma once

#include "../recurrence/order.h"
#include "normalise.h"
#include "strip_options.h"
#include "x_projection.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
class ForwardEngine {
    using V = Vec<T>;
    static constexpr int lanes = V::lanes;

public:
    ForwardEngine(const ForwardShared<T>& shared, Member& member)
        : shared_(shared),
          phases_(member, shared.plan, shared.claims.steps, shared.claims.shares),
          table_(shared.table),
          weights_(shared.weights()),
          shape_(shared.call.in.shape),
          rows_(shared.rows),
          masks_(shared.masks),
          scratch_(shared.scratch[member.number]),
          x_(shared, shared.scratch[member.number]) {
        describe_strip();
        take(0);
    }

    // Packs the weights, unless they are prepared, and takes over the initial states.
    void begin() {
        const bool packs = !shared_.call.prepared;
        if (packs && shared_.dropped.any())
            phases_.everyone([&](int share, int shares) { shared_.dropped.fill(share, shares); });
        phases_.everyone([&](int share, int shares) RNNKERNELS_INLINED {
            if (packs) weights_.pack(share, shares);
            if (attends()) shared_.attending.pack(share, shares);
            begin_rows(split_range(shape_.batch, 1, shares, share));
        });
    }

    // What a chunk of steps has of x. Where whoever reads a row in a step need not be who projects it all of it is made
    // before the steps, else by each part for itself.
    void begin_chunk(Index first, Index last) { x_.begin_chunk(first, last, phases_); }
    void project(Index first, Index last) {
        if (x_.by_parts()) each_part(first, [&]() RNNKERNELS_INLINED { x_.project_part(first, last, part_); });
    }
    // Whether row groups go through all chunks apart.
    bool groups_apart() const { return x_.by_parts(); }
    template <class Run>
    RNNKERNELS_INLINE void each_row_group(bool each, Run run) {
        phases_.each_row_group(each, run);
    }

    void step(Index t) {
        each_part(t, [&]() RNNKERNELS_INLINED {
            const Step now = at_step(t);
            multiply(now, weights_.hidden, now.operand, width(), [&](RowSet rows, Range blocks) RNNKERNELS_INLINED {
                put_strip(now, rows, blocks);
                run_pass(shared_.cell.passes.forward, now, rows, blocks);
            });
        });
    }

    void gates(Index t) {
        each_part(t, [&]() RNNKERNELS_INLINED {
            const Step now = at_step(t);
            multiply(now, weights_.hidden, now.operand, width(), [&](RowSet rows, Range blocks) RNNKERNELS_INLINED {
                put_strip(now, rows, blocks);
                shared_.cell.passes.forward(strip_);
                if (masks_.drops)
                    mask_rows(masks_, of_all_steps(t, rows), blocks, strip_.made + blocks.first * lanes,
                              strip_.made_row);
            });
        });
    }

    void state(Index t) {
        each_part(t, [&]() RNNKERNELS_INLINED {
            const Step now = at_step(t);
            multiply(now, weights_.gated, shared_.made, shared_.blocks * lanes,
                     [&](RowSet rows, Range blocks) RNNKERNELS_INLINED {
                         put_strip(now, rows, blocks);
                         run_pass(shared_.cell.passes.forward_state, now, rows, blocks);
                     });
        });
    }

    // An attending recurrence: what h asks for, what of the features it gets, and what the cell then sees
    // (attending_forward.h).
    bool attends() const { return shared_.attending.call != nullptr; }
    void ask(Index t);
    void weigh(Index t);
    void take_context(Index t);
    // Projected cells: h of step t (projected_forward.h).
    void project_h(Index t);
    // Normalised cells: W_hh h; all that follows it, for which the parts of a row group divide its rows
    // (normalised_forward.h).
    void products(Index t);
    void rows(Index t);

    void finish() {
        phases_.each_row_group(true,
                               [&]() RNNKERNELS_INLINED { each_part(0, [&]() RNNKERNELS_INLINED { finish_part(); }); });
    }

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
        part_ = make_part(shared_.cell, Pass::forward, shared_.plan, rows_, shared_.blocks, shared_.h_blocks, piece);
        item_ = shared_.cell.item_blocks(Pass::forward, part_.rows.count);
    }

    // The initial states of these rows.
    void begin_rows(Range rows) {
        for (Index row = rows.first; row < rows.last; ++row)
            for (int k = 1; k < table_.states; ++k)
                for (Index block = 0; block < shared_.blocks; ++block)
                    V::load(shared_.initial[k] + row * shape_.hidden + block * lanes, valid(block))
                        .store(others(row) + (block * (table_.states - 1) + k - 1) * lanes);
        if (shape_.steps == 0 || (table_.vectors == 0 && !masks_.drops)) return;
        for (Index row = rows.first; row < rows.last; ++row) {
            const T* const h = shared_.initial[0] + row * width();
            put_operands(0, RowSet{row, 1, 1}, Range{0, projected() ? shared_.h_blocks : shared_.blocks}, &h);
        }
    }

    void finish_part() {
        if (attends()) finish_attending();
        Index last = rows_.steps - 1;  // the row's last step; never later than that of the row before
        part_.rows.each([&](Index row) {
            while (rows_.count(last) <= row) --last;
            const T* h = last < 0 ? shared_.initial[0] + row * width() : output(rows_.first(last) + row);
            const Range& blocks = projected() ? part_.h_blocks : part_.blocks;
            for (Index block = blocks.first; block < blocks.last; ++block)
                V::load(h + block * lanes, h_valid(block))
                    .store(final_state(0) + row * width() + block * lanes, h_valid(block));
            for (Index block = part_.blocks.first; block < part_.blocks.last; ++block)
                for (int k = 1; k < table_.states; ++k)
                    V::load(others(row) + (block * (table_.states - 1) + k - 1) * lanes)
                        .store(final_state(k) + row * shape_.hidden + block * lanes, valid(block));
        });
    }

    // What the rows of a step have in common.
    struct Step {
        Index t;
        Index first;       // its first row
        RowSet rows;       // the part's
        const T* h;        // before it, (rows, H)
        const T* operand;  // of the recurrent weight: h, masked where there is recurrent dropout
    };
    Step at_step(Index t) const {
        const Index first = rows_.first(t);
        const T* h = h_before(t);
        return {t, first, part_.rows_of_step(rows_, t), h, masks_.drops ? masked_h(t, 0) : h};
    }

    // Rows of step t among those of all steps: masks belong to these.
    RowSet of_all_steps(Index t, RowSet rows) const { return {rows_.first(t) + rows.first, rows.count, rows.step}; }

    bool projected() const { return table_.form == Form::projected; }
    // What the cell of a row sees of its input.
    const T* x_part(const Step& now, Index row) const {
        if (attends()) return shared_.attending.x_part + row * shared_.attending.context.columns.row();
        return x_.part(now.first + row);
    }
    // h before step t, (rows of the step, H): the output of the step before, or the initial state.
    const T* h_before(Index t) const {
        if (t == 0) return shared_.initial[0];
        if (shared_.h) return shared_.h + t % 2 * shape_.batch * width();
        return output(rows_.first(t - 1));
    }
    // h after a row's step, in the caller's array.
    T* output(Index row) const { return static_cast<T*>(shared_.call.output) + rows_.place(row) * width(); }
    // What the cell made of a row, before it is projected.
    T* unprojected(const Step& now, Index row) const {
        return shared_.unprojected + ((shared_.call.reserve ? now.first : 0) + row) * shape_.hidden;
    }
    T* final_state(int s) const { return static_cast<T*>(shared_.call.final_state[s]); }
    // The states after h, (blocks, states-1, lanes).
    T* others(Index row) const { return shared_.others + row * shared_.blocks * (table_.states - 1) * lanes; }
    // What a row keeps for the backward, (blocks, vectors, lanes).
    T* reserve(const Step& now, Index row) const {
        return static_cast<T*>(shared_.call.reserve) + (now.first + row) * shared_.blocks * strip_.reserve_block;
    }
    // What step t reads of the states before it, (vectors*H).
    T* feedback(Index t, Index row) const {
        const Index first = shared_.call.reserve ? rows_.first(t) : t % 2 * shape_.batch;
        return shared_.feedback + (first + row) * table_.vectors * shape_.hidden;
    }
    T* masked_h(Index t, Index row) const { return shared_.masked + (t % 2 * shape_.batch + row) * width(); }
    // Units of a block that exist; more than a vector's lanes means all.
    Index valid(Index block) const { return shape_.hidden - block * lanes; }
    // Units of h, and those of a block of it that exist.
    Index width() const { return width_of(table_, shape_); }
    Index h_valid(Index block) const { return width() - block * lanes; }

    // What all strips have in common.
    void describe_strip() {
        const ForwardCall& call = shared_.call;
        const Index step = rows_.ragged() ? shared_.plan.row_groups : 1, states = table_.states - 1;
        strip_.program = shared_.cell.passes.program;
        strip_.hidden = shape_.hidden;
        strip_.x = x_rows_, strip_.direct = direct_rows_, strip_.elements = element_rows_, strip_.out = out_rows_;
        reads_x_ = table_.directs > 0 || table_.elements > 0;
        strip_.term_row = table_.input.count * shape_.hidden * step;
        strip_.diagonal = weights_.diagonal, strip_.diagonal_row = shared_.blocks * lanes;
        strip_.settings = shared_.held ? shared_.settings : nullptr;
        strip_.h_row = strip_.copy_row = width() * step;
        strip_.others_row = shared_.blocks * states * lanes * step;
        options_ = masks_.zones || masks_.drops || table_.vectors > 0;
        for (const void* sequence : call.sequence) options_ = options_ || sequence;
        strip_.reserve_block = (call.reserve ? reserve_vectors(table_, masks_.zones) : table_.saved) * lanes;
        strip_.reserve_row = shared_.blocks * strip_.reserve_block * step;
        strip_.made_row = shared_.blocks * lanes * step;
    }
    // The strip of these rows and blocks. Items of one step that have the same rows differ in their blocks only.
    RNNKERNELS_INLINE void put_strip(const Step& now, RowSet rows, Range blocks) {
        strip_.first = blocks.first, strip_.blocks = static_cast<int>(blocks.last - blocks.first);
        if (rows.first == put_row_ && rows.count == strip_.rows) return;
        put_row_ = rows.first;
        strip_.rows = static_cast<int>(rows.count);
        put_rows(now, rows);
    }
    // Where the arrays of these rows stand.
    void put_rows(const Step& now, RowSet rows) {
        const ForwardCall& call = shared_.call;
        const Index row = rows.first;
        for (Index i = 0; i < rows.count; ++i) {
            const Index at = now.first + rows.at(i);
            x_rows_[i] = x_part(now, rows.at(i));
            out_rows_[i] = projected() ? unprojected(now, rows.at(i)) : output(at);
        }
        if (reads_x_) put_x(now, rows);
        if (call.in.term) strip_.term = static_cast<const T*>(call.in.term) + row * table_.input.count * shape_.hidden;
        strip_.h = now.h + row * width();
        strip_.others = others(row);
        if (shared_.h && !projected()) strip_.copy = shared_.h + ((now.t + 1) % 2 * shape_.batch + row) * width();
        if (shared_.made) strip_.made = shared_.made + row * shared_.blocks * lanes;
        if (call.reserve) {
            strip_.saved = reserve(now, row);
            strip_.states = strip_.saved + table_.saved * lanes;
        } else if (shared_.saved) {
            strip_.saved = shared_.saved + row * shared_.blocks * table_.saved * lanes;
        }
    }

    // What few cells read of x itself: apart, so that the steps of all others are not longer for it.
    [[gnu::noinline]] void put_x(const Step& now, RowSet rows) {
        if (table_.directs > 0)
            for (Index i = 0; i < rows.count; ++i) direct_rows_[i] = x_.direct(now.first + rows.at(i));
        if (table_.elements > 0) put_elements(now.t, rows, element_rows_);
    }
    void put_elements(Index t, RowSet rows, const T** to) const {
        for (Index i = 0; i < rows.count; ++i) to[i] = x_.elements(rows_.first(t) + rows.at(i));
    }

    // The pass that makes the new states, and what the call's options want of them.
    RNNKERNELS_INLINE void run_pass(void (*pass)(const ForwardStrip<T>&), const Step& now, RowSet rows, Range blocks) {
        if (!options_) {
            pass(strip_);
            return;
        }
        if (masks_.zones) copy_old_states(strip_, table_.states, scratch_.old);
        pass(strip_);
        if (masks_.zones) {
            T* const own = shared_.call.reserve ? strip_.saved + table_.first_own * lanes : nullptr;
            zone_strip(strip_, table_, masks_, scratch_.old, own, of_all_steps(now.t, rows));
        }
        keep_sequences(now, rows);
        if (!projected()) put_operands(now.t + 1, rows.below(rows_.count(now.t + 1)), blocks, out_rows_);
    }
    // The states after h, where the caller wants those of every step.
    void keep_sequences(const Step& now, RowSet rows) const {
        for (int k = 1; k < table_.states; ++k)
            if (T* const all = static_cast<T*>(shared_.call.sequence[k]))
                copy_state(strip_, table_.states, k, [&](Index i) RNNKERNELS_INLINED {
                    return all + rows_.place(now.first + rows.at(i)) * shape_.hidden;
                });
    }
    // What step t's products will read of the states before it, where that is not h itself. `h`: each row's.
    void put_operands(Index t, RowSet rows, Range blocks, const T* const* h) {
        if (rows.count == 0) return;
        FeedbackStrip<T> p{};
        p.program = strip_.program;
        p.rows = static_cast<int>(rows.count), p.blocks = static_cast<int>(blocks.last - blocks.first);
        p.first = blocks.first, p.hidden = width();
        p.h = h;
        if (table_.vectors > 0) {
            p.others = others(rows.first), p.others_row = strip_.others_row;
            if (table_.elements > 0) put_elements(t, rows, next_element_rows_);
            p.elements = next_element_rows_;
            p.vectors = feedback(t, rows.first), p.vectors_row = table_.vectors * shape_.hidden * rows.step;
            shared_.cell.passes.feedback(p);
        }
        if (masks_.drops)
            mask_operands(p, table_.vectors, masks_, of_all_steps(t, rows), masked_h(t, rows.first),
                          width() * rows.step);
    }

    // use(first block, last block) for the part's items. Odd steps go through them backwards: the weights read
    // last are still near, where not all of them fit a cache.
    template <class Use>
    RNNKERNELS_INLINE void each_item(Index t, Use use) const {
        const Index items = (part_.blocks.last - part_.blocks.first + item_ - 1) / item_;
        for (Index i = 0; i < items; ++i) {
            const Index block = part_.blocks.first + (t % 2 == 0 ? i : items - 1 - i) * item_;
            use(block, block + item_ < part_.blocks.last ? block + item_ : part_.blocks.last);
        }
    }

    // A step's products (multiply.h).
    template <class Use>
    RNNKERNELS_INLINE void multiply(const Step& now, const GateProduct<T>& w, const T* a, Index a_stride, Use use);
    template <class Use>
    [[gnu::noinline]] void multiply_low(const Step& now, const GateProduct<T>& w, const T* a, Index a_stride, Use use);
    template <bool low, class Use>
    RNNKERNELS_INLINE void multiply_items(const Step& now, const GateProduct<T>& w, ProductRows<T> a,
                                          ProductRows<T> fed, Use use);

    // An attending recurrence (attending_forward.h).
    void attend(const Step& now, Index row);
    void finish_attending();
    // Projected cells (projected_forward.h).
    void project_part(const Step& now);
    void store_h(const Step& now, RowSet rows, Range blocks, const T* strip, Index stride);
    // Normalised cells (normalised_forward.h).
    void run_row(const Step& now, Index row);
    void normalise_inner(const Step& now, Index row);
    void normalise(const Moments<T>& moments, const T* row, int gates, int first, const T* shift, T* to, T* kept) const;
    void keep_scale(const Step& now, Index row, int norm, T scale) const;

    const ForwardShared<T>& shared_;
    Phases phases_;
    const CellTable& table_;
    const ForwardWeights<T>& weights_;
    const Shape& shape_;
    const Rows& rows_;
    const Masks<T>& masks_;
    const ForwardScratch<T> scratch_;
    XProjection<T> x_;
    int piece_ = 0;  // at work
    Part part_{};
    Index item_ = 0;
    bool reads_x_ = false;  // whether the cell has gates or inputs that are numbers of x
    bool options_ = false;  // whether the call or the cell asks for anything after the pass
    ForwardStrip<T> strip_{};
    Index put_row_ = -1;  // the first of the rows whose arrays the strip points at; -1: none yet in this phase
    // Of each row of the strip.
    const T* x_rows_[kMostStripRows];
    const T* direct_rows_[kMostStripRows];
    const T* element_rows_[kMostStripRows];
    const T* next_element_rows_[kMostStripRows];  // of the next step
    T* out_rows_[kMostStripRows];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
