// One warp of a grid backward: a chunk of steps, from the last one down, with the recurrent weights divided over the
// blocks of a team as in a forward (warp.h says what a Machine is).
//
// In a step a thread does the backward of the cell for its units and rows, and stores their gate gradients, rounded to
// the dtype, where all read them. A warp waits for those of its part of k, and multiplies its rows of weight_hh
// transposed with them; behind the barrier a thread adds up what comes to its own units' h.
//
// So blocks all-gather: each reads 2 G H bytes for a row, G being the gates, and writes little; few blocks with many
// units each read less in all (geometry.h). The other way round
// (../resident/backward_warp.h) it would multiply its own gate gradients, and send float32 parts of dL/dh to who has
// the units: 4 H bytes read for a row, and as many written. That is no less at up to four gates; what is read would be
// in nobody else's cache lines; and a flag would wait behind all that its block wrote.
//
// Barrier, flags and buffers are a forward's, with the same reasons, by exchanges: the e-th is of the e-th step from
// the end.
//   - A warp counts its block's flag up for exchange e when its gate gradients are stored. It has then read the sums of
//     exchange e - 1; the others await its block's flag, too, before they put those of e.
//   - It writes exchange e behind the barrier of e - 1. By then its block has seen the flags e - 1 of the whole team,
//     and who counted these has read e - 2, whose buffer this is.
//   - The last exchange is read, too: what the first step's products give goes to the step before the chunk.
//
// Not here: where things are (geometry.h); the product (product.h); the maths (../resident/backward_maths.h); a step of
// two products (two_products_backward_warp.h); who begins a kernel (backward_kernel.h).
#pragma once

#include "../resident/backward_maths.h"
#include "product.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct GridBackwardCall {
    ResidentBackwardCall call;
    GridExchange exchange;
};

// The rows of a step. Those of the step before it are asked for one step ahead.
struct GridStep {
    Index count, next;    // of it, and of the step behind
    Index first, before;  // its first row among those of the chunk, and that of the step before it
};

// A number that a lane finishes: which of its own, and of which row of the tile.
struct GridNumber {
    int number, lane, row;
};

// Two numbers of a row of weight_hh transposed, or zeros: of a lane's weights (geometry.h) of the product whose gates
// begin with this one.
template <class Machine>
RNNKERNELS_INLINE unsigned grid_weight(const Machine& m, const ResidentBackwardCall& call, int first_gate, int lane,
                                       int pair, int word) {
    const int row = row_tile(m.shape(), m.warp) * kTileRows + word_row(lane, word), hidden = m.shape().hidden;
    const int unit = m.block * m.shape().block_units() + row, k = word_k(m.shape(), m.warp, lane, pair, word);
    const auto number = [&](int at) RNNKERNELS_INLINED {
        if (at >= m.shape().depth()) return 0U;
        const int from = at / m.shape().numbers, gate = first_gate + at % m.shape().numbers;
        return unsigned{call.weight[(static_cast<Index>(call.gate_row[gate]) * hidden + from) * hidden + unit]};
    };
    return unit < hidden ? number(k) | number(k + 1) << 16 : 0U;
}

template <class Maths, class Stored, class Machine>
class GridBackwardWarp : protected GridProduct<Stored, Machine> {
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
    RNNKERNELS_INLINE GridBackwardWarp(const Machine& machine, const ResidentBackwardCall& call)
        : Base(machine), call_(call) {
        Base::keep_weights([&](int lane, int pair, int word)
                               RNNKERNELS_INLINED { return grid_weight(m_, call_, 0, lane, pair, word); });
    }

    // What comes to a tile from the steps behind the chunk.
    RNNKERNELS_INLINE void begin(Index tile) {
        tile_ = tile;
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                const Index of_batch = row_of(row), at = of_batch * hidden() + unit;
                const bool is = of_batch < call_.batch && unit < hidden();
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < Maths::state_count(call_); ++k)
                    carried_[v][k][lane] = is ? call_.a.carried[k][at] : 0.0F;
                product_[v][lane] = is && of_batch < call_.behind ? call_.a.product[at] : 0.0F;
            });
        });
        if (call_.steps == 0) return;
        const Index last = call_.steps - 1;
        now_ = {call_.count(last), call_.behind, call_.first(last), first_before(last)};
        fetch(last, false);
    }

    // The cell's step, and what of it the others read.
    RNNKERNELS_INLINE void step(Index e) {
        const Index t = call_.steps - 1 - e;
        step_values(t, buffer_of(e));
        m_.publish(tile_);
        go_back(t);
    }

    // The warp's sums of exchange e.
    RNNKERNELS_INLINE void multiply(Index e) {
        m_.wait(tile_, flag_of(e));
        Base::multiply_part(tile_, buffer_of(e));
        m_.barrier();
    }

    // Behind the barrier, what came to h through the products.
    RNNKERNELS_INLINE void sum() {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                product_[v][lane] = Base::total(unit - Base::first_unit(), 0, row);
            });
        });
    }

    // What comes to the states before the first of these steps.
    RNNKERNELS_INLINE void end() {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                const Index of_batch = row_of(row), at = of_batch * hidden() + unit;
                if (of_batch >= call_.batch || unit >= hidden()) return;
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < Maths::state_count(call_); ++k) call_.a.carried[k][at] = carried_[v][k][lane];
                call_.to_step_before[at] = product_[v][lane];
            });
        });
    }

protected:
    RNNKERNELS_INLINE Index row_of(int row) const { return tile_ * m_.shape().rows() + row; }
    RNNKERNELS_INLINE bool begins(Index t) const { return call_.first_step + t == 0; }
    RNNKERNELS_INLINE Index first_before(Index t) const { return begins(t) ? 0 : call_.first(t - 1); }
    // Of the step at work.
    RNNKERNELS_INLINE ResidentPlace place_of(Index t, Index row, int unit) const {
        return {now_.first + row, row, now_.before + row, begins(t), hidden(), unit};
    }

    // From step t to the one before it.
    RNNKERNELS_INLINE void go_back(Index t) {
        if (t == 0) return;
        now_ = {now_.first - now_.before, now_.count, now_.before, first_before(t - 1)};
        fetch(t - 1, true);
    }

    // What of a step does not wait for the step behind. `later`: that one was fetched before.
    RNNKERNELS_INLINE void fetch(Index t, bool later) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                const Index of_batch = row_of(row);
                if (of_batch >= now_.count || unit >= hidden()) return;
                ResidentPlace at = place_of(t, of_batch, unit);
                at.place = call_.a.place(at.row);
                if (!at.begins) at.place_before = call_.a.place(at.before);
                Maths::template fetch<AsItLies<Stored>>(call_, at, later && of_batch < now_.next, kept_[v].of(lane));
            });
        });
    }

    RNNKERNELS_INLINE void step_values(Index t, int buffer) {
        put_gradients<Maths::hiddens>(m_, t, buffer, Maths::hidden_count(call_),
                                      [&](const GridNumber& of, const ResidentPlace& at, const V* kept, bool follows,
                                          V* carried, V* du) RNNKERNELS_INLINED {
                                          Maths::template step<Stored>(call_, at, kept, V(product_[of.number][of.lane]),
                                                                       follows, carried, du);
                                      });
    }

    // The gate gradients of a product, `count` of them and `most` of any cell, into its machine's buffer: du of
    // maths(value, at, kept, follows, carried, du), or zeros of what is no row of the step.
    template <int most, class To, class Make>
    RNNKERNELS_INLINE void put_gradients(const To& to, Index t, int buffer, int count, Make maths) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                const Index of_batch = row_of(row);
                if (unit >= hidden()) return;
                V du[most];
                RNNKERNELS_IN_REGISTERS
                for (int i = 0; i < count; ++i) du[i] = V(0.0F);
                if (of_batch < now_.count) {
                    V kept[Maths::kept], carried[Maths::states];
                    numbers_of<Maths, Stored>(call_, kept_[v].of(lane), kept);
                    RNNKERNELS_IN_REGISTERS
                    for (int k = 0; k < Maths::state_count(call_); ++k) carried[k] = V(carried_[v][k][lane]);
                    maths(GridNumber{v, lane, row}, place_of(t, of_batch, unit), kept, of_batch < now_.next, carried,
                          du);
                    RNNKERNELS_IN_REGISTERS
                    for (int k = 0; k < Maths::state_count(call_); ++k) carried_[v][k][lane] = carried[k].raw;
                }
                std::uint16_t bits[most];
                RNNKERNELS_IN_REGISTERS
                for (int i = 0; i < count; ++i) bits[i] = Stored::bits(du[i].raw);
                to.store(tile_, buffer, row, unit, bits);
            });
        });
    }

    const ResidentBackwardCall& call_;
    Index tile_ = 0;
    GridStep now_{};
    Own<float> carried_[kValues][Maths::states];
    Own<float> product_[kValues];
    Values<Maths::kept> kept_[kValues];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
