// The engines of a projected cell (cells/cell.h): h = W_hr m, m what the cell makes of a step, one more product and
// one more meeting of the threads per step. Everything else is the plain engines'.
#pragma once

#include "backward.h"
#include "forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Blocks of columns whose products are made before they are used: whole panels, in a strip that stays in the L1 cache.
inline constexpr Index kProjectedBlocks = 4 * blocks_per_edge(1, 1);

template <class Cell, class T>
class ProjectedForward : public ForwardEngine<Cell, T> {
    using Base = ForwardEngine<Cell, T>;
    using V = Vec<T>;

public:
    using Base::Base;

    // h of step t, this thread's rows and units of it.
    void project_h(Index t) {
        const auto now = this->at_step(t);
        const Range blocks = this->part_.h_blocks;
        alignas(64) T strip[kMostRows * kProjectedBlocks * V::lanes];
        for (Index block = blocks.first; block < blocks.last; block += kProjectedBlocks) {
            const Index end = least(block + kProjectedBlocks, blocks.last);
            const ItemProduct<T> item(this->weights_.projection, block, end, 0, nullptr);
            for (Index i = 0; i < now.rows.count;) {
                const int rows = item.next_rows(now.rows.count - i);
                item.run(this->unprojected(now, now.rows.at(i)), this->shape_.hidden * now.rows.step, rows, strip,
                         kProjectedBlocks * V::lanes);
                for (int r = 0; r < rows; ++r)
                    for (Index b = block; b < end; ++b)
                        this->store_h(now, now.rows.at(i + r), b,
                                      V::load(strip + (r * kProjectedBlocks + b - block) * V::lanes));
                i += rows;
            }
        }
    }
};

template <class Cell, class T>
class ProjectedBackward : public BackwardEngine<Cell, T> {
    using Base = BackwardEngine<Cell, T>;
    using V = Vec<T>;
    static constexpr int lanes = V::lanes;

public:
    using Base::Base;

    // dL/dh of step t, all of it: from the step after it, or, where a row has none, from the caller.
    void project_h(Index t) {
        each_dh(t, [&](Index row, Index block, V dh) RNNKERNELS_INLINED {
            this->take_in(this->shared_.call.d_output, 0, t, row, block, dh);
            dh.store(of_step(t, row) + block * lanes);
            if (this->drops())
                this->store_masked(t, row, block,
                                   V::load(this->h_before(t, row) + block * lanes, this->width() - block * lanes));
        });
    }

    void step(Index t) {
        const RowBlock<T> one{nullptr, this->shared_.h_padded(), kNoOffset, 1, this->width()};
        multiply(
            this->shared_.w_projection, one, [&](Index row) { return of_step(t, row); },
            this->part_.rows_of_step(this->rows_, t), this->part_.blocks,
            [&](Index row, Index block, V dm) RNNKERNELS_INLINED {
                V dn[Base::G::states];
                this->load_carried(row, block, dn);
                dn[0] = dm;
                this->differentiate(t, row, block, dn);
            });
    }

    void end_chunk(Index first, Index last) {
        Base::end_chunk(first, last);
        const auto& shared = this->shared_;
        const Index begin = this->rows_.first(first), count = this->rows_.first(last) - begin;
        shared.outer.add(
            GradientRows<T>{shared.dh, shared.h_padded(), count}, kNoOffset, kFirstRow.row, 1, this->width(),
            [&](Index row) { return shared.unprojected + (begin + row) * this->shape_.hidden; }, this->shape_.hidden,
            static_cast<T*>(shared.call.dweight_hr), last == this->shape_.steps, this->part_);
        this->part_.everyone->wait();
    }

    void finish() {
        each_dh(-1, [&](Index row, Index block, V dh) RNNKERNELS_INLINED {
            T* to = static_cast<T*>(this->shared_.call.d_state[0]) + row * this->width();
            dh.store(to + block * lanes, this->width() - block * lanes);
        });
        this->each_block(this->part_.rows, [&](Index row, Index block) {
            V dn[Base::G::states];
            this->load_carried(row, block, dn);
            this->store_d_states(row, block, dn);
        });
        this->write_sums();
    }

private:
    T* of_step(Index t, Index row) const { return this->in_chunk(this->shared_.dh, this->shared_.h_padded(), t, row); }

    // dL/dh after step t of every row, without what the caller has for the step's output. t = -1: the initial h.
    template <class Use>
    RNNKERNELS_INLINE void each_dh(Index t, Use use) {
        const auto& shared = this->shared_;
        const Range blocks = this->part_.h_blocks;
        const RowSet mine = this->part_.rows_of_step(this->rows_, t);
        const RowSet ended = mine.from(this->rows_.count(t + 1)), more = mine.below(this->rows_.count(t + 1));
        const T* from = static_cast<const T*>(shared.call.d_final_state[0]);
        ended.each([&](Index row) {
            for (Index block = blocks.first; block < blocks.last; ++block)
                use(row, block,
                    from ? V::load(from + row * this->width() + block * lanes, this->width() - block * lanes)
                         : V(T(0)));
        });
        const RowBlock<T> gates{nullptr, shared.gradient_row(), shared.hidden_slots, Base::G::hiddens,
                                this->shape_.hidden};
        multiply(
            shared.w_recurrent[0], gates, [&](Index row) { return this->gradient(t + 1, row); }, more, blocks,
            [&](Index row, Index block, V dh) RNNKERNELS_INLINED {
                if (this->drops()) dh = dh * this->masks_.factor(this->rows_.first(t + 1) + row, block);
                use(row, block, dh);
            });
    }

    // Rows times these blocks of a weight's columns, each block of a row to use(row, block, product).
    template <class RowAt, class Use>
    RNNKERNELS_INLINE void multiply(const Panels<T>& w, RowBlock<T> a, RowAt row_at, RowSet rows, Range blocks,
                                    Use use) {
        alignas(64) T strip[kMostRows * kProjectedBlocks * lanes];
        a.row_stride *= rows.step;
        for (Index block = blocks.first; block < blocks.last; block += kProjectedBlocks) {
            const Index end = least(block + kProjectedBlocks, blocks.last);
            for (Index i = 0; i < rows.count;) {
                const int tile = next_tile(rows.count - i, tile_rows(w.width));
                a.data = row_at(rows.at(i));
                product(a, tile, part_of(w, block, end), this->shared_.zeros, 0, strip, kProjectedBlocks * lanes);
                for (int r = 0; r < tile; ++r)
                    for (Index b = block; b < end; ++b)
                        use(rows.at(i + r), b, V::load(strip + (r * kProjectedBlocks + b - block) * lanes));
                i += tile;
            }
        }
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
