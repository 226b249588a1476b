// A warp of a grid backward whose cell has two products in a step, of h and of the gated state (cells/cell.h). A step
// is two exchanges of gate gradients, each as the one of a step in backward_warp.h. Of the e-th step from the end:
//
//   exchange 2e      first half     the gated product's    barrier    dL/d(the gated state)
//   exchange 2e + 1  second half    those of h's product   barrier    dL/dh before the step
//
// Exchange i lies in buffer i & 1, so that each product has one of its own. One is enough, and so are one place for the
// sums of both and one flag of a block, for two_products_warp.h's reasons: they are of exchanges, whatever is in them.
//
// A warp multiplies its tile of either product. It reads a part of k of each and awaits the blocks that make that part:
// the products have not as many numbers of a unit. What the first half makes of gate gradients is kept for the second
// in registers, rounded as they are in memory where each half is a launch of its own.
//
// Not here: a warp of one product, and all that the two have in common (backward_warp.h); the products (product.h).
#pragma once

#include "backward_warp.h"
#include "two_products_geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Maths has two halves in place of step() (../resident/two_products_backward_warp.h). First, Second: the machine with
// the shape of either product, the first being that of h.
template <class Maths, class Stored, class First, class Second>
class TwoProductsGridBackwardWarp : public GridBackwardWarp<Maths, Stored, First> {
    using Base = GridBackwardWarp<Maths, Stored, First>;
    using V = Vec<float>;
    using Base::call_, Base::kept_, Base::m_, Base::product_, Base::tile_;

public:
    RNNKERNELS_INLINE TwoProductsGridBackwardWarp(const First& first, const Second& second,
                                                  const ResidentBackwardCall& call)
        : Base(first, call), second_(second), gated_(second, call, first.shape().numbers) {}

    // The first half of the e-th step from the end.
    RNNKERNELS_INLINE void state(Index e) {
        state_values(step_of(e), buffer_of(2 * e));
        second_.publish(tile_);
    }

    // The warp's sums of an exchange: with the gated product's gate gradients, and with those of h's.
    RNNKERNELS_INLINE void multiply_gated(Index e) {
        second_.wait(tile_, flag_of(2 * e));
        gated_.multiply_part(tile_, buffer_of(2 * e));
        second_.barrier();
    }
    RNNKERNELS_INLINE void multiply(Index e) {
        m_.wait(tile_, flag_of(2 * e + 1));
        Base::multiply_part(tile_, buffer_of(2 * e + 1));
        m_.barrier();
    }

    // The second half, behind the first barrier.
    RNNKERNELS_INLINE void gates(Index e) {
        gate_values(step_of(e), buffer_of(2 * e + 1));
        m_.publish(tile_);
        Base::go_back(step_of(e));
    }

private:
    RNNKERNELS_INLINE Index step_of(Index e) const { return call_.steps - 1 - e; }

    RNNKERNELS_INLINE void state_values(Index t, int buffer) {
        Base::template put_gradients<Maths::gateds>(
            second_, t, buffer, Maths::gated_count(call_),
            [&](const GridNumber& of, const ResidentPlace& at, const V* kept, bool follows, V* carried, V* du)
                RNNKERNELS_INLINED {
                    Maths::template state<Stored>(call_, at, kept, V(product_[of.number][of.lane]), follows, carried,
                                                  between_[of.number].of(of.lane), du);
                });
    }

    RNNKERNELS_INLINE void gate_values(Index t, int buffer) {
        Base::template put_gradients<Maths::hiddens>(
            m_, t, buffer, Maths::hidden_count(call_),
            [&](const GridNumber& of, const ResidentPlace& at, const V* kept, bool, V* carried,
                V* du) RNNKERNELS_INLINED {
                const V d_gated(gated_.total(at.unit - Base::first_unit(), 0, of.row));
                Maths::template gates<Stored>(call_, at, kept, d_gated, carried, between_[of.number].of(of.lane), du);
            });
    }

    const Second& second_;
    GatedProduct<Stored, Second> gated_;
    typename First::template Values<Maths::between> between_[First::kValues];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
