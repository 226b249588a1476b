// The CPU's forward engine: one thread's work in each phase of recurrence/order.h.
//
// A step multiplies a tile of h's rows with the panels of an item of units into a strip that stays in the L1
// cache, and runs the cell over the strip at once: the cell is the product's epilogue.
// Not here: the cells' maths (cells/), the tile (tile.h), the order of steps (recurrence/order.h).
#pragma once

#include "../recurrence/order.h"
#include "forward_shared.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
class ForwardEngine {
    using V = Vec<T>;
    using G = Geometry<Cell>;
    static constexpr int lanes = V::lanes;

public:
    ForwardEngine(const ForwardShared<Cell, T>& shared, int thread)
        : shared_(shared),
          weights_(shared.weights),
          shape_(shared.call.in.shape),
          rows_(shared.rows),
          x_columns_(weights_.input.columns),
          part_(make_part<Cell>(Pass::forward, shared.plan, shape_, shared.blocks, thread, shared.barriers)),
          item_(item_blocks<Cell>(Pass::forward, part_.rows.last - part_.rows.first)),
          all_project_(shared.plan.threads > shared.plan.row_groups * shared.plan.unit_groups) {}

    // Packs this thread's share of the weights, unless they are prepared, and takes over the initial states.
    void begin() {
        if (!shared_.call.prepared) weights_.pack(part_.thread, part_.threads);
        each_block([&](Index row, Index block) {
            V s[G::states];
            for (int k = 0; k < G::states; ++k)
                s[k] = V::load(shared_.initial[k] + row * shape_.hidden + block * lanes, valid(block));
            for (int k = 1; k < G::states; ++k) s[k].store(extra(row, block, k));
            if (shape_.steps > 0) store_feedback(0, row, block, s);
        });
        part_.everyone->wait();
    }

    // x W_ih^T + b_ih for the steps [first, last), into the x part.
    void project(Index first, Index last) {
        chunk_first_ = first;
        if (weights_.token_table) return;
        const Index begin = rows_.first(first), end = rows_.first(last);
        if (rows_.ragged() || all_project_) {
            // Whoever reads a row in a step need not be who projects it.
            if (first > 0) part_.everyone->wait();  // until the steps have read the last chunk's
            if (shared_.x) {
                const Range mine = split_range(end - begin, 1, part_.threads, part_.thread);
                copy_x(begin, begin + mine.first, begin + mine.last);
                part_.everyone->wait();
            }
            if (all_project_) {
                const Index item = item_blocks<Cell>(Pass::forward, kStripRows);
                project_rows(begin, end, split_range(shared_.blocks, item, part_.threads, part_.thread));
            } else {
                const Range mine = split_range(end - begin, 1, shared_.plan.row_groups, part_.row_group_index);
                project_rows(begin + mine.first, begin + mine.last, part_.blocks);
            }
            part_.everyone->wait();
        } else if (part_.rows.last - part_.rows.first == shape_.batch) {
            project_rows(begin, end, part_.blocks);
        } else {
            for (Index t = first; t < last; ++t)
                project_rows(rows_.first(t) + part_.rows.first, rows_.first(t) + part_.rows.last, part_.blocks);
        }
    }

    void step(Index t) {
        const Step now = at_step(t);
        multiply(now, weights_.hidden, now.h, shape_.hidden,
                 [&](Index row, Index block, const T* strip, const T* fed) RNNKERNELS_INLINED {
                     V x[G::gates], u[G::gates], w[G::diagonals + 1], s[G::states], n[G::states], saved[G::saved + 1];
                     load_x(now, row, block, x);
                     clear(u);
                     load_u(hidden_gates<Cell>, strip, block, u);
                     load_u(feedback_gates<Cell>, fed, block, u);
                     for (int k = 0; k < G::diagonals; ++k)
                         w[k] = V::load(weights_.diagonal + (k * shared_.blocks + block) * lanes);
                     load_states(now, row, block, s);
                     Cell::forward(x, u, w, s, n, saved);
                     store_states(now, row, block, n);
                     if (shared_.call.reserve) store_saved(reserve(now, row, block), saved);
                 });
    }

    void gates(Index t) {
        const Step now = at_step(t);
        multiply(now, weights_.hidden, now.h, shape_.hidden,
                 [&](Index row, Index block, const T* strip, const T* fed) RNNKERNELS_INLINED {
                     V x[G::gates], u[G::gates], s[G::states], saved[G::saved + 1] = {}, gated;
                     load_x(now, row, block, x);
                     clear(u);
                     load_u(hidden_gates<Cell>, strip, block, u);
                     load_u(feedback_gates<Cell>, fed, block, u);
                     load_states(now, row, block, s);
                     Cell::forward_gates(x, u, s, saved, gated);
                     store_saved(saved_between(now, row, block), saved);
                     gated.store(shared_.gated + (row * shared_.blocks + block) * lanes);
                 });
    }

    void state(Index t) {
        const Step now = at_step(t);
        multiply(now, weights_.gated, shared_.gated, shared_.blocks * lanes,
                 [&](Index row, Index block, const T* strip, const T*) RNNKERNELS_INLINED {
                     V x[G::gates], u[G::gates], s[G::states], n[G::states], saved[G::saved + 1];
                     load_x(now, row, block, x);
                     clear(u);
                     load_u(gated_gates<Cell>, strip, block, u);
                     load_states(now, row, block, s);
                     T* between = saved_between(now, row, block);
                     for (int i = 0; i < G::saved; ++i) saved[i] = V::load(between + i * lanes);
                     Cell::forward_state(x, u, s, saved, n);
                     store_states(now, row, block, n);
                     if (shared_.call.reserve) store_saved(between, saved);
                 });
    }

    // In a ragged batch a row may be another thread's in the next step.
    void wait_for_step() {
        if (rows_.ragged()) {
            part_.everyone->wait();
        } else if (part_.row_group) {
            part_.row_group->wait();
        }
    }

    void finish() {
        const Rows& rows = rows_;
        Index last = rows.steps - 1;  // the row's last step; never later than that of the row before
        each_block([&](Index row, Index block) {
            while (rows.count(last) <= row) --last;
            const Index at = row * shape_.hidden + block * lanes;
            const T* h = last < 0 ? shared_.initial[0] + row * shape_.hidden : output(rows.first(last) + row);
            V::load(h + block * lanes, valid(block)).store(final_state(0) + at, valid(block));
            for (int s = 1; s < G::states; ++s) V::load(extra(row, block, s)).store(final_state(s) + at, valid(block));
        });
    }

protected:
    // What the rows of a step have in common.
    struct Step {
        Index t;
        Index first;  // its first row
        Range rows;   // this thread's
        const T* h;   // before it, (rows, H)
        const T* x;   // its x part; null where the token table stands for it
    };
    Step at_step(Index t) const {
        const Index first = rows_.first(t);
        const T* x = weights_.token_table ? nullptr : shared_.x_part + (first - rows_.first(chunk_first_)) * x_row();
        return {t, first, rows_of_step(rows_, t, part_), h_before(t), x};
    }

    // h before step t, (rows of the step, H): the output of the step before, or the initial state.
    const T* h_before(Index t) const {
        if (t == 0) return shared_.initial[0];
        if (shared_.h) return shared_.h + t % 2 * shape_.batch * shape_.hidden;
        return output(rows_.first(t - 1));
    }
    // h after a row's step, in the caller's array.
    T* output(Index row) const { return static_cast<T*>(shared_.call.output) + rows_.place(row) * shape_.hidden; }
    T* final_state(int s) const { return static_cast<T*>(shared_.call.final_state[s]); }
    T* extra(Index row, Index block, int s) const {
        return shared_.extra + ((row * shared_.blocks + block) * (G::states - 1) + s - 1) * lanes;
    }
    T* reserve(const Step& now, Index row, Index block) const {
        return static_cast<T*>(shared_.call.reserve) +
               ((now.first + row) * shared_.blocks + block) * G::reserve * lanes;
    }
    T* saved_between(const Step& now, Index row, Index block) const {
        if (shared_.call.reserve) return reserve(now, row, block);
        return shared_.saved + (row * shared_.blocks + block) * G::saved * lanes;
    }
    // What step t reads of the states before it, (vectors*H).
    T* feedback(Index t, Index row) const {
        const Index first = shared_.call.reserve ? rows_.first(t) : t % 2 * shape_.batch;
        return shared_.feedback + (first + row) * G::vectors * shape_.hidden;
    }
    Index x_row() const { return x_columns_.row(); }
    // Lanes from one gate's units to the next gate's.
    Index gate_stride(Index block) const { return x_columns_.units_in(block); }
    // Units of a block that exist; more than a vector's lanes means all.
    Index valid(Index block) const { return shape_.hidden - block * lanes; }

    template <class Function>
    RNNKERNELS_INLINE void each_block(Function function) {
        for (Index row = part_.rows.first; row < part_.rows.last; ++row)
            for (Index block = part_.blocks.first; block < part_.blocks.last; ++block) function(row, block);
    }

    // The x part of a row.
    const T* x_part_of(const Step& now, Index row) const {
        return now.x ? now.x + row * x_row() : weights_.token_table + shared_.tokens[now.first + row] * x_row();
    }
    RNNKERNELS_INLINE void load_x(const Step& now, Index row, Index block, V* x) const {
        const T* from = x_part_of(now, row);
        clear(x);
        for (int i = 0; i < G::inputs; ++i)
            x[input_gates<Cell>.gate[i]] = V::load(from + block * G::inputs * lanes + i * gate_stride(block));
        add_term(row, block, x);
        if constexpr (G::directs > 0) {
            const V direct = direct_x(now, row, block);
            for (int i = 0; i < G::directs; ++i) x[direct_gates<Cell>.gate[i]] = direct;
        }
    }
    RNNKERNELS_INLINE void add_term(Index row, Index block, V* x) const {
        if (!shared_.call.in.term) return;
        const T* term = static_cast<const T*>(shared_.call.in.term) + row * G::inputs * shape_.hidden;
        for (int i = 0; i < G::inputs; ++i) {
            V& gate = x[input_gates<Cell>.gate[i]];
            gate = gate + V::load(term + i * shape_.hidden + block * lanes, valid(block));
        }
    }
    // x itself; of a token the vector that is 1 at its place.
    RNNKERNELS_INLINE V direct_x(const Step& now, Index row, Index block) const {
        const Index at = now.first + row;
        if (shared_.call.in.x) return V::load(x(at) + block * lanes, valid(block));
        T one[lanes] = {};
        const Index lane = shared_.tokens[at] - block * lanes;
        if (lane >= 0 && lane < lanes) one[lane] = T(1);
        return V::load(one);
    }
    RNNKERNELS_INLINE static void clear(V* gates) {
        for (int g = 0; g < G::gates; ++g) gates[g] = V(T(0));
    }
    RNNKERNELS_INLINE void load_u(const GateList& list, const T* strip, Index block, V* u) const {
        for (int i = 0; i < list.count; ++i) u[list.gate[i]] = V::load(strip + i * gate_stride(block));
    }
    RNNKERNELS_INLINE void load_states(const Step& now, Index row, Index block, V* s) const {
        s[0] = V::load(now.h + row * shape_.hidden + block * lanes, valid(block));
        for (int k = 1; k < G::states; ++k) s[k] = V::load(extra(row, block, k));
    }
    RNNKERNELS_INLINE void store_states(const Step& now, Index row, Index block, const V* n) const {
        n[0].store(output(now.first + row) + block * lanes, valid(block));
        if (shared_.h)
            n[0].store(shared_.h + ((now.t + 1) % 2 * shape_.batch + row) * shape_.hidden + block * lanes,
                       valid(block));
        if (G::vectors > 0 && row < rows_.count(now.t + 1)) store_feedback(now.t + 1, row, block, n);
        for (int k = 1; k < G::states; ++k) {
            n[k].store(extra(row, block, k));
            if (shared_.call.reserve) n[k].store(reserve(now, row, block) + (G::saved + k - 1) * lanes);
        }
    }
    // What step t will read of the states before it.
    RNNKERNELS_INLINE void store_feedback(Index t, Index row, Index block, const V* states) const {
        if constexpr (G::vectors > 0) {
            V vectors[G::vectors];
            Cell::feedback(states, vectors);
            for (int k = 0; k < G::vectors; ++k)
                vectors[k].store(feedback(t, row) + k * shape_.hidden + block * lanes, valid(block));
        }
    }
    RNNKERNELS_INLINE static void store_saved(T* to, const V* saved) {
        for (int i = 0; i < G::saved; ++i) saved[i].store(to + i * lanes);
    }

    // Calls use(first block, last block) for this thread's items. Odd steps go through them backwards: the weights read
    // last are still near, where not all of them fit a cache.
    template <class Use>
    RNNKERNELS_INLINE void each_item(Index t, Use use) const {
        const Index items = (part_.blocks.last - part_.blocks.first + item_ - 1) / item_;
        for (Index i = 0; i < items; ++i) {
            const Index block = part_.blocks.first + (t % 2 == 0 ? i : items - 1 - i) * item_;
            use(block, block + item_ < part_.blocks.last ? block + item_ : part_.blocks.last);
        }
    }

    // A tile of rows of `a` times the panels of an item into the strip, then the epilogue over it.
    // The feedback vectors' product goes with h's, into a strip of its own.
    template <class Epilogue>
    RNNKERNELS_INLINE void multiply(const Step& now, const GateProduct<T>& w, const T* a, Index a_stride,
                                    Epilogue epilogue) {
        alignas(64) T strip[strip_size<Cell>(Pass::forward, G::widest, lanes)];
        alignas(64) T fed[strip_size<Cell>(Pass::forward, G::feedbacks, lanes)];
        const bool feeds = G::vectors > 0 && &w == &weights_.hidden;
        const GateProduct<T>& f = weights_.feedback;
        const int gates = w.columns.gates;
        const Index stride = item_ * gates * lanes, fed_stride = item_ * G::feedbacks * lanes;
        const Index fed_row = G::vectors * shape_.hidden;
        each_item(now.t, [&](Index block, Index end) RNNKERNELS_INLINED {
            const ItemProduct<T> item(w, block, end, now.rows.last - now.rows.first, item_scratch());
            const auto next = [&](Index left) {
                const int rows = item.next_rows(left);
                return feeds ? least(rows, next_tile(left, tile_rows(f.panels.width))) : rows;
            };
            each_strip(
                now.rows, next,
                [&](Index row, int rows, Index place) {
                    item.run(a + row * a_stride, a_stride, rows, strip + place * stride, stride);
                    if constexpr (G::vectors > 0)
                        if (feeds)
                            ItemProduct<T>(f, block, end, rows, nullptr)
                                .run(feedback(now.t, row), fed_row, rows, fed + place * fed_stride, fed_stride);
                },
                [&](Index row, Index place) RNNKERNELS_INLINED {
                    for (Index b = block; b < end; ++b)
                        epilogue(row, b, strip + place * stride + (b - block) * gates * lanes,
                                 fed + place * fed_stride + (b - block) * G::feedbacks * lanes);
                });
        });
    }

    const T* x(Index row) const { return static_cast<const T*>(shared_.call.in.x) + rows_.place(row) * shape_.input; }
    // Rows [first, last) of x, of a chunk that begins at row `begin`, one behind the other.
    void copy_x(Index begin, Index first, Index last) {
        for (Index row = first; row < last; ++row)
            std::memcpy(shared_.x + (row - begin) * shape_.input, x(row),
                        static_cast<std::size_t>(shape_.input) * sizeof(T));
    }

    // Rows [first, last) of the x part, in these blocks of units.
    void project_rows(Index first, Index last, Range blocks) {
        const GateProduct<T>& w = weights_.input;
        const Index begin = rows_.first(chunk_first_), count = last - first;
        T* out = shared_.x_part + (first - begin) * x_row();
        if (shared_.tokens) {
            for (Index row = 0; row < count; ++row)
                for (Index block = blocks.first; block < blocks.last; ++block)
                    gather_token(w, block, shared_.tokens[first + row], out + row * x_row());
            return;
        }
        const T* x_rows = shared_.x ? shared_.x + (first - begin) * shape_.input : x(first);
        const Index item = item_blocks<Cell>(Pass::forward, count);
        for (Index block = blocks.first; block < blocks.last; block += item) {
            const Index end = block + item < blocks.last ? block + item : blocks.last;
            const ItemProduct<T> product(w, block, end, count, item_scratch());
            const Index column = w.columns.vector(block) * lanes;
            product.run_all(x_rows, shape_.input, count, out + column, x_row());
        }
    }
    T* item_scratch() const { return shared_.items + part_.thread * shared_.item_size; }

    const ForwardShared<Cell, T>& shared_;
    const ForwardWeights<Cell, T>& weights_;
    const Shape& shape_;
    const Rows& rows_;
    const UnitColumns<T> x_columns_;
    const Part part_;
    const Index item_;
    const bool all_project_;  // those who take no part in the steps too
    Index chunk_first_ = 0;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
