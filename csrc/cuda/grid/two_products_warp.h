// A warp of a grid kernel whose cell has two products in a step, of h and of the gated state (cells/cell.h). A step is
// two exchanges, each as the one of a step in warp.h: even ones carry h, odd ones what the first half of the maths made
// of it, in the same 16 bits.
//
//   exchange 2t      h before step t    product with h    barrier    first half     the gated state is stored
//   exchange 2t + 1  the gated state    product with it   barrier    second half    h is stored
//
// Exchange e lies in buffer e & 1, so that h and the gated state have one buffer each. One of each is enough, for the
// reason for which two of h are in warp.h:
//   - A warp stores its part of exchange e + 1 behind the barrier of exchange e. By then the warps of its block have
//     seen the flags of the whole team at flag_of(e).
//   - A flag has reached flag_of(e) when each warp of that block has published exchange e, which it does behind its
//     block's barrier of exchange e - 1: all of them have then read exchange e - 1, in whose buffer e + 1 goes.
// One flag of a block counts the exchanges of both kinds. One place is enough for the sums of both products: who puts
// those of exchange e has awaited its own block's flag_of(e), and all warps there have then read those of e - 1.
//
// A warp multiplies its tile of either product, all of them being shared by all warps, so that none waits for a product
// that others make. It reads a part of k of h and another of the gated state, where the products' tiles are not as
// many; it awaits the blocks of either part.
//
// Not here: a warp of one product, and all that the two have in common (warp.h); the products (product.h).
#pragma once

#include "two_products_geometry.h"
#include "warp.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Maths (../resident/maths.h) has two halves in place of step(), with `saved` numbers of a unit between them
// (../resident/two_products_warp.h). First, Second: the machine with the shape of either product.
template <class Maths, class Stored, class First, class Second>
class TwoProductsGridWarp : public GridWarp<Maths, Stored, First> {
    using Base = GridWarp<Maths, Stored, First>;
    using V = Vec<float>;
    using Base::bias_, Base::call_, Base::m_, Base::state_, Base::tile_, Base::x_;
    using Base::each_value, Base::hidden;

public:
    RNNKERNELS_INLINE TwoProductsGridWarp(const First& first, const Second& second, const ResidentCall& call)
        : Base(first, call), second_(second), gated_(second, call, first.shape().gates) {}

    // The warp's sums of an exchange of step t of the chunk: with h, and with the gated state.
    RNNKERNELS_INLINE void multiply(Index t) {
        m_.wait(tile_, flag_of(2 * t));
        Base::multiply_part(tile_, buffer_of(2 * t));
        m_.barrier();
    }
    RNNKERNELS_INLINE void multiply_gated(Index t) {
        second_.wait(tile_, flag_of(2 * t + 1));
        gated_.multiply_part(tile_, buffer_of(2 * t + 1));
        second_.barrier();
    }

    // Behind the first barrier. Rows that have ended gate nothing: zeros.
    RNNKERNELS_INLINE void gates(Index t) {
        const Index count = call_.count(t), first = call_.first(t);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                const Index of_batch = Base::row_of(row);
                if (unit >= hidden()) return;
                V gated(0.0F);
                if (of_batch < count) {
                    V u[Maths::hiddens]{}, now[Maths::states];
                    RNNKERNELS_IN_REGISTERS
                    for (int gate = 0; gate < m_.shape().gates; ++gate)
                        u[gate] = V(Base::total(unit - Base::first_unit(), gate, row));
                    Base::get_states(v, lane, now);
                    Maths::gates(call_, first + of_batch, of_batch, unit, x_[v].of(lane), u, bias_[v].of(lane), now,
                                 saved_[v].of(lane), gated);
                }
                Base::store_h(buffer_of(2 * t + 1), row, unit, gated.raw);
            });
        });
        m_.publish(tile_);
    }

    // Behind the second; after the last step no block reads h.
    RNNKERNELS_INLINE void state(Index t) {
        const bool last = t + 1 == call_.steps;
        finish_state(t, last);
        if (last) return;
        m_.publish(tile_);
        Base::fetch(t + 1);
    }

private:
    RNNKERNELS_INLINE void finish_state(Index t, bool last) {
        const Index count = call_.count(t), first = call_.first(t);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value(lane, [&](int v, int unit, int row) RNNKERNELS_INLINED {
                const Index of_batch = Base::row_of(row);
                if (unit >= hidden()) return;
                if (of_batch < count) {
                    V u[Maths::hiddens]{}, now[Maths::states], next[Maths::states];
                    RNNKERNELS_IN_REGISTERS
                    for (int gate = 0; gate < second_.shape().gates; ++gate)
                        u[m_.shape().gates + gate] = V(gated_.total(unit - Base::first_unit(), gate, row));
                    Base::get_states(v, lane, now);
                    Maths::state(call_, first + of_batch, of_batch, unit, x_[v].of(lane), u, bias_[v].of(lane), now,
                                 saved_[v].of(lane), next);
                    Base::set_states(v, lane, first + of_batch, unit, next);
                }
                if (!last) Base::store_h(buffer_of(2 * t + 2), row, unit, state_[v][0][lane]);
            });
        });
    }

    const Second& second_;
    GatedProduct<Stored, Second> gated_;
    typename First::template Values<Maths::saved> saved_[First::kValues];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
