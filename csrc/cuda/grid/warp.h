// One warp of a grid kernel: a forward whose recurrent weights stay on the card for all steps of a chunk, divided over
// the blocks of a team. In a step a warp waits for the h of its part of k, multiplies its rows of weight_hh with it,
// does the cell's maths for its units, writes their h where all read it, and counts up its block's flag.
//
// A step has one barrier of the block, and of each warp one acquire and one release. It needs no other:
//   - Sums have parts of several warps, so who finishes one waits for all warps of the block: the barrier.
//   - A warp that has stored its h says so by itself. A flag is a count, and none waits for the block's other warps.
//   - A warp reads the h of its part of k alone. It waits for the blocks that make it, and none waits in its place.
//   - A warp awaits the flag of its own block, too. All warps there have then read the sums of the step before, and its
//     own sums may take their place.
//   - There are two buffers of h. A warp writes behind the barrier: by then its block has seen the flags of the whole
//     team, and who counted has read what stood there before.
//
// The text knows no GPU. `Machine` is what a warp can do: on a GPU (machine.h) a thread is a lane; on the host
// (tests/native/grid_machine.h) all lanes are run one after the other, and warps in any order that waiting allows.
//
//   shape()                           the kernel's (geometry.h): on a GPU a constant
//   kValues, kHeld, kTiles, kGroups   as the shape's or, on the host, the most that any has: sizes of arrays
//   Own<V>, Values<n>                 a V, and n numbers, of every lane's own; own[lane], values.of(lane)
//   lanes(f)                          f(lane) by every lane
//   barrier()                         of the block
//   wait(tile, value)                 until the flags that the warp awaits have reached a value
//   publish(tile)                     counts up the block's flag, after all that the warp's lanes have stored
//   load(b, tile, buffer, group, pair)   the words that a lane multiplies
//   store(tile, buffer, row, unit, bits)   a unit's numbers
//   keep(lane, pair, word, bits), kept(a, pair, tile)   weights in shared memory; of a tile's two products
//   put_sum(at, value), sum(at)       sums in shared memory
//   multiply(sum, a, b0, b1)          sum + A B
//   block, warp                       of the team, and of the block
//
// Not here: where things are (geometry.h); the product (product.h); the maths (../resident/maths.h); a step of two
// products (two_products_warp.h); who begins a kernel (kernel.h); a backward (backward_warp.h).
#pragma once

#include "../resident/maths.h"
#include "product.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct GridCall {
    ResidentCall call;
    GridExchange exchange;
};

// Two numbers of weight_hh, or zeros: of a lane's weights (geometry.h) of the product whose gates begin with this one.
template <class Machine>
RNNKERNELS_INLINE unsigned grid_weight(const Machine& m, const ResidentCall& call, int first_gate, int lane, int pair,
                                       int word) {
    const int row = row_tile(m.shape(), m.warp) * kTileRows + word_row(lane, word), hidden = m.shape().hidden;
    const int in_block = row / m.shape().gates, gate = first_gate + row % m.shape().gates;
    const int unit = m.block * m.shape().block_units() + in_block;
    const int k = word_k(m.shape(), m.warp, lane, pair, word);
    if (in_block >= m.shape().block_units() || unit >= hidden || k >= hidden) return 0;
    const std::uint16_t* const from =
        call.weight + (static_cast<Index>(call.gate_row[gate]) * hidden + unit) * hidden + k;
    return from[0] | (k + 1 < hidden ? static_cast<unsigned>(from[1]) << 16 : 0U);
}

template <class Maths, class Stored, class Machine>
class GridWarp : protected GridProduct<Stored, Machine> {
    using V = Vec<float>;
    using Base = GridProduct<Stored, Machine>;
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    template <int count>
    using Values = typename Machine::template Values<count>;
    static constexpr int kValues = Machine::kValues;

protected:
    using Base::each_value, Base::hidden, Base::m_;

public:
    RNNKERNELS_INLINE GridWarp(const Machine& machine, const ResidentCall& call) : Base(machine), call_(call) {
        Base::keep_weights([&](int lane, int pair, int word)
                               RNNKERNELS_INLINED { return grid_weight(m_, call_, 0, lane, pair, word); });
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int)
                                 RNNKERNELS_INLINED { Maths::begin(call_, unit_in(unit), bias_[v].of(lane)); });
        });
    }

    // A tile's states before the chunk, and its h for step 0.
    RNNKERNELS_INLINE void begin(Index tile) {
        tile_ = tile;
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                const Index of_batch = row_of(row);
                const bool is = of_batch < call_.batch && unit < hidden();
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < Maths::state_count(call_); ++k)
                    state_[v][k][lane] = is ? call_.a.states[k][of_batch * hidden() + unit] : 0.0F;
                if (unit < hidden()) store_h(buffer_of(0), row, unit, state_[v][0][lane]);
            });
        });
        m_.publish(tile_);
        if (call_.steps > 0) fetch(0);
    }

    // The warp's sums of step t of the chunk.
    RNNKERNELS_INLINE void multiply(Index t) {
        m_.wait(tile_, flag_of(t));
        Base::multiply_part(tile_, buffer_of(t));
        m_.barrier();
    }

    // Behind the barrier, the cell's step; after the last no block reads h.
    RNNKERNELS_INLINE void finish(Index t) {
        const bool last = t + 1 == call_.steps;
        finish_values(t, last);
        if (last) return;
        m_.publish(tile_);
        fetch(t + 1);
    }

    // The states after the chunk.
    RNNKERNELS_INLINE void end() {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                const Index of_batch = row_of(row);
                if (of_batch >= call_.batch || unit >= hidden()) return;
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < Maths::state_count(call_); ++k)
                    call_.a.states[k][of_batch * hidden() + unit] = state_[v][k][lane];
            });
        });
    }

protected:
    RNNKERNELS_INLINE Index row_of(int row) const { return tile_ * m_.shape().rows() + row; }
    // One that there is.
    RNNKERNELS_INLINE int unit_in(int unit) const { return unit < hidden() ? unit : hidden() - 1; }
    RNNKERNELS_INLINE void store_h(int buffer, int row, int unit, float h) const {
        const std::uint16_t bits[] = {Stored::bits(h)};
        m_.store(tile_, buffer, row, unit, bits);
    }

    // What of a step does not wait for h.
    RNNKERNELS_INLINE void fetch(Index t) {
        const Index count = call_.count(t), first = call_.first(t);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                const Index of_batch = row_of(row);
                if (of_batch < count && unit < hidden())
                    Maths::fetch(call_, first + of_batch, of_batch, unit, x_[v].of(lane));
            });
        });
    }

    RNNKERNELS_INLINE void get_states(int v, int lane, V* now) const {
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < Maths::state_count(call_); ++k) now[k] = V(state_[v][k][lane]);
    }
    // For the next step, and those that the caller wants of every step; `row` is the chunk's.
    RNNKERNELS_INLINE void set_states(int v, int lane, Index row, int unit, const V* next) {
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < Maths::state_count(call_); ++k) {
            state_[v][k][lane] = next[k].raw;
            if (call_.sequence[k]) call_.a.store(call_.sequence[k], call_.a.place(row) * hidden() + unit, next[k]);
        }
    }

    RNNKERNELS_INLINE void finish_values(Index t, bool last) {
        const Index count = call_.count(t), first = call_.first(t);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                const Index of_batch = row_of(row);
                if (unit >= hidden()) return;
                if (of_batch < count) {
                    V u[Maths::hiddens], now[Maths::states], next[Maths::states];
                    RNNKERNELS_IN_REGISTERS
                    for (int gate = 0; gate < m_.shape().gates; ++gate)
                        u[gate] = V(Base::total(unit - Base::first_unit(), gate, row));
                    get_states(v, lane, now);
                    Maths::step(call_, first + of_batch, of_batch, unit, x_[v].of(lane), u, bias_[v].of(lane), now,
                                next);
                    set_states(v, lane, first + of_batch, unit, next);
                }
                if (!last) store_h(buffer_of(t + 1), row, unit, state_[v][0][lane]);
            });
        });
    }

    const ResidentCall& call_;
    Index tile_ = 0;
    Own<float> state_[kValues][Maths::states];
    Values<Maths::inputs> x_[kValues];
    Values<Maths::hiddens> bias_[kValues];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
