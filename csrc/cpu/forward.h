// The CPU's forward engine: one thread's work in each phase of recurrence/order.h.
//
// A step multiplies a tile of h's rows with the panels of an item of units into a strip that stays in the L1
// cache, and runs the cell over the strip at once: the cell is the product's epilogue.
// Not here: the cells' maths (cells/), the tile (tile.h), the order of steps (recurrence/order.h).
#pragma once

#include "../recurrence/order.h"
#include "x_projection.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
class ForwardEngine {
protected:
    using V = Vec<T>;
    using G = Geometry<Cell>;
    static constexpr int lanes = V::lanes;

public:
    ForwardEngine(const ForwardShared<Cell, T>& shared, int thread)
        : shared_(shared),
          weights_(shared.weights),
          shape_(shared.call.in.shape),
          rows_(shared.rows),
          masks_(shared.masks),
          part_(make_part<Cell>(Pass::forward, shared.plan, rows_, shared.blocks, shared.h_blocks, thread,
                                shared.barriers)),
          item_(item_blocks<Cell>(Pass::forward, part_.rows.count)),
          x_(shared, part_) {}

    // Packs this thread's share of the weights, unless they are prepared, and takes over the initial states.
    void begin() {
        if (!shared_.call.prepared) {
            if (shared_.drop_weights(part_.thread, part_.threads)) part_.everyone->wait();
            weights_.pack(part_.thread, part_.threads);
        }
        each_block([&](Index row, Index block) {
            V s[G::states];
            for (int k = projected<Cell> ? 1 : 0; k < G::states; ++k)
                s[k] = V::load(shared_.initial[k] + row * shape_.hidden + block * lanes, valid(block));
            for (int k = 1; k < G::states; ++k) s[k].store(extra(row, block, k));
            if (!projected<Cell> && shape_.steps > 0) store_operands(0, row, block, s);
        });
        if (projected<Cell> && drops() && shape_.steps > 0)
            part_.rows.each([&](Index row) {
                for (Index block = part_.h_blocks.first; block < part_.h_blocks.last; ++block)
                    store_masked(0, row, block,
                                 V::load(shared_.initial[0] + row * width() + block * lanes, h_valid(block)));
            });
        part_.everyone->wait();
    }

    void project(Index first, Index last) { x_.project(first, last); }

    void step(Index t) {
        const Step now = at_step(t);
        multiply(now, weights_.hidden, now.operand, width(),
                 [&](Index row, Index block, const T* strip, const T* fed) RNNKERNELS_INLINED {
                     V x[G::gates], u[G::gates], w[G::diagonals + G::settings + 1], s[G::states], n[G::states],
                         saved[G::saved + 1];
                     load_x(now, row, block, x);
                     clear(u);
                     load_u(hidden_gates<Cell>, strip, block, u);
                     load_u(feedback_gates<Cell>, fed, block, u);
                     for (int k = 0; k < G::diagonals; ++k)
                         w[k] = V::load(weights_.diagonal + (k * shared_.blocks + block) * lanes);
                     load_states(now, row, block, s);
                     if constexpr (extended<Cell> && G::settings > 0) {
                         for (int k = 0; k < G::settings; ++k) w[G::diagonals + k] = V(shared_.settings[k]);
                         Cell::template forward<true>(x, u, w, s, n, saved);
                     } else {
                         Cell::forward(x, u, w, s, n, saved);
                     }
                     if (zones()) zone(now, row, block, s, n);
                     store_states(now, row, block, n);
                     if (shared_.call.reserve) store_saved(reserve(now, row, block), saved);
                 });
    }

    void gates(Index t) {
        const Step now = at_step(t);
        multiply(now, weights_.hidden, now.operand, width(),
                 [&](Index row, Index block, const T* strip, const T* fed) RNNKERNELS_INLINED {
                     V x[G::gates], u[G::gates], s[G::states], saved[G::saved + 1] = {}, gated;
                     load_x(now, row, block, x);
                     clear(u);
                     load_u(hidden_gates<Cell>, strip, block, u);
                     load_u(feedback_gates<Cell>, fed, block, u);
                     load_states(now, row, block, s);
                     Cell::forward_gates(x, u, s, saved, gated);
                     store_saved(saved_between(now, row, block), saved);
                     if (drops()) gated = gated * masks_.factor(now.first + row, block);
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
                     if (zones()) zone(now, row, block, s, n);
                     store_states(now, row, block, n);
                     if (shared_.call.reserve) store_saved(between, saved);
                 });
    }

    void wait_for_step() { part_.wait_for_step(); }

    void finish() {
        const Rows& rows = rows_;
        Index last = rows.steps - 1;  // the row's last step; never later than that of the row before
        part_.rows.each([&](Index row) {
            while (rows.count(last) <= row) --last;
            const T* h = last < 0 ? shared_.initial[0] + row * width() : output(rows.first(last) + row);
            const Range& blocks = projected<Cell> ? part_.h_blocks : part_.blocks;
            for (Index block = blocks.first; block < blocks.last; ++block)
                V::load(h + block * lanes, h_valid(block))
                    .store(final_state(0) + row * width() + block * lanes, h_valid(block));
            for (Index block = part_.blocks.first; block < part_.blocks.last; ++block)
                for (int s = 1; s < G::states; ++s)
                    V::load(extra(row, block, s))
                        .store(final_state(s) + row * shape_.hidden + block * lanes, valid(block));
        });
    }

protected:
    // What the rows of a step have in common.
    struct Step {
        Index t;
        Index first;       // its first row
        RowSet rows;       // this thread's
        const T* h;        // before it, (rows, H)
        const T* operand;  // of the recurrent weight: h, masked where there is recurrent dropout
        const T* x;        // its x part; null where the token table stands for it
    };
    Step at_step(Index t) const {
        const Index first = rows_.first(t);
        const T* h = h_before(t);
        return {t, first, part_.rows_of_step(rows_, t), h, drops() ? masked_h(t, 0) : h, x_.from_row(first)};
    }

    // Whether the call has zoneout, recurrent dropout.
    bool zones() const { return extended<Cell> && masks_.zones; }
    bool drops() const { return extended<Cell> && masks_.drops; }

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
    T* extra(Index row, Index block, int s) const {
        return shared_.extra + ((row * shared_.blocks + block) * (G::states - 1) + s - 1) * lanes;
    }
    T* reserve(const Step& now, Index row, Index block) const {
        return static_cast<T*>(shared_.call.reserve) +
               ((now.first + row) * shared_.blocks + block) * G::reserve(zones()) * lanes;
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
    T* masked_h(Index t, Index row) const { return shared_.masked + (t % 2 * shape_.batch + row) * width(); }
    // Lanes from one gate's units to the next gate's.
    Index gate_stride(Index block) const { return weights_.input.columns.units_in(block); }
    // Units of a block that exist; more than a vector's lanes means all.
    Index valid(Index block) const { return shape_.hidden - block * lanes; }
    // Units of h, and those of a block of it that exist.
    Index width() const { return width_of<Cell>(shape_); }
    Index h_valid(Index block) const { return width() - block * lanes; }

    template <class Function>
    RNNKERNELS_INLINE void each_block(Function function) {
        part_.rows.each([&](Index row) RNNKERNELS_INLINED {
            for (Index block = part_.blocks.first; block < part_.blocks.last; ++block) function(row, block);
        });
    }

    RNNKERNELS_INLINE const T* x_part_of(const Step& now, Index row) const {
        return now.x ? now.x + row * x_.size() : x_.of_token(now.first + row);
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
        if (shared_.call.in.x) return V::load(x_.x(at) + block * lanes, valid(block));
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
        s[0] = projected<Cell> ? V(T(0)) : V::load(now.h + row * shape_.hidden + block * lanes, valid(block));
        for (int k = 1; k < G::states; ++k) s[k] = V::load(extra(row, block, k));
    }
    // h after a step.
    RNNKERNELS_INLINE void store_h(const Step& now, Index row, Index block, V h) const {
        h.store(output(now.first + row) + block * lanes, h_valid(block));
        if (shared_.h)
            h.store(shared_.h + ((now.t + 1) % 2 * shape_.batch + row) * width() + block * lanes, h_valid(block));
        if (projected<Cell> && drops() && row < rows_.count(now.t + 1)) store_masked(now.t + 1, row, block, h);
    }
    // h as the recurrent weight will see it in step t.
    RNNKERNELS_INLINE V store_masked(Index t, Index row, Index block, V h) const {
        const V factor = masks_.factor(rows_.first(t) + row, block);
        (h * factor).store(masked_h(t, row) + block * lanes, h_valid(block));
        return factor;
    }
    RNNKERNELS_INLINE void store_states(const Step& now, Index row, Index block, const V* n) const {
        if constexpr (projected<Cell>) {
            n[0].store(unprojected(now, row) + block * lanes, valid(block));
        } else {
            store_h(now, row, block, n[0]);
            if ((G::vectors > 0 || drops()) && row < rows_.count(now.t + 1)) store_operands(now.t + 1, row, block, n);
        }
        for (int k = 1; k < G::states; ++k) {
            n[k].store(extra(row, block, k));
            if (shared_.call.reserve) n[k].store(reserve(now, row, block) + (G::saved + k - 1) * lanes);
            if (T* all = extended<Cell> ? static_cast<T*>(shared_.call.sequence[k]) : nullptr)
                n[k].store(all + rows_.place(now.first + row) * shape_.hidden + block * lanes, valid(block));
        }
    }
    // What step t's products will read of the states before it, where that is not h itself.
    RNNKERNELS_INLINE void store_operands(Index t, Index row, Index block, const V* states) const {
        V factor(T(1));
        if (drops()) factor = store_masked(t, row, block, states[0]);
        if constexpr (G::vectors > 0) {
            V vectors[G::vectors];
            Cell::feedback(states, vectors);
            for (int k = 0; k < G::vectors; ++k)
                (vectors[k] * factor).store(feedback(t, row) + k * shape_.hidden + block * lanes, valid(block));
        }
    }
    // Zoneout; what the cell itself made is kept for the backward.
    RNNKERNELS_INLINE void zone(const Step& now, Index row, Index block, const V* s, V* n) const {
        if (shared_.call.reserve)
            for (int k = 0; k < G::states; ++k) n[k].store(reserve(now, row, block) + (G::first_own + k) * lanes);
        masks_.zone(now.first + row, block, s, n);
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
            const ItemProduct<T> item(w, block, end, now.rows.count, shared_.item_scratch(part_.thread));
            const auto next = [&](Index left) {
                const int rows = item.next_rows(left);
                return feeds ? least(rows, next_tile(left, tile_rows(f.panels.width))) : rows;
            };
            each_strip(
                now.rows, next,
                [&](Index row, int rows, Index place) {
                    item.run(a + row * a_stride, a_stride * now.rows.step, rows, strip + place * stride, stride);
                    if constexpr (G::vectors > 0)
                        if (feeds)
                            ItemProduct<T>(f, block, end, rows, nullptr)
                                .run(feedback(now.t, row), fed_row * now.rows.step, rows, fed + place * fed_stride,
                                     fed_stride);
                },
                [&](Index row, Index place) RNNKERNELS_INLINED {
                    for (Index b = block; b < end; ++b)
                        epilogue(row, b, strip + place * stride + (b - block) * gates * lanes,
                                 fed + place * fed_stride + (b - block) * G::feedbacks * lanes);
                });
        });
    }

    const ForwardShared<Cell, T>& shared_;
    const ForwardWeights<Plain<Cell>, T>& weights_;
    const Shape& shape_;
    const Rows& rows_;
    const Masks<T, G::states>& masks_;
    const Part part_;
    const Index item_;
    XProjection<Cell, T> x_;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
