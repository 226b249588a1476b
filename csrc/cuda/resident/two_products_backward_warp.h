// A warp of a resident backward whose cell has two products in a step, of h and of the gated state (cells/cell.h). A
// step is two exchanges, each as a step of one product is one (backward_warp.h):
//
//   exchange 2t + 1  first half     gate gradients of the gated product    parts of dL/d(the gated state)
//   exchange 2t      second half    gate gradients of the product of h     parts of dL/dh before step t; and of vectors
//
// They go from the last one down and take the two buffers by turns, so that each product has its own: of gate
// gradients, and of parts. One of each is enough, and there is no other barrier:
//   A warp puts gate gradients when it has got the parts of the exchange before from all warps of all blocks. Those of
//   its own block have then multiplied all that was put before.
//   A warp sends parts when it has got those of the exchange before from all warps of all blocks. Each of them had
//   added up what came before that, in the buffer that the parts go to.
//
// The weights of both products stand in the same tiles, one behind the other along k. What the first half makes of
// gate gradients is kept for the second in registers, rounded as they are in memory where each half is a launch of its
// own.
//
// Not here: a warp of one product, and all that the two have in common (backward_warp.h).
#pragma once

#include "backward_warp.h"
#include "two_products_backward_geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Maths (backward_maths.h) has two halves in place of step(), with `between` numbers of a unit between them, and the
// gates of either product; gateds, gated_count(call): those of the gated one.
//   state<Stored>(call, at, kept, product, follows, carried, between, du)
//   gates<Stored>(call, at, kept, d_gated, carried, between, du)
//   past_is_late                whether what goes past the cell is added behind the second half, not the first
template <class Maths, class Stored, class Machine>
class TwoProductsBackwardWarp : public ResidentBackwardWarp<Maths, Stored, Machine> {
    using Base = ResidentBackwardWarp<Maths, Stored, Machine>;
    using V = Vec<float>;
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    using Base::call_, Base::carried_, Base::kept_, Base::m_, Base::masks_, Base::product_;
    static constexpr int kGroups = Machine::kGroups, kLaneUnits = Machine::kLaneUnits;

public:
    using Base::Base;

    // What came through the product of the exchange before.
    RNNKERNELS_INLINE void sum(int buffer) {
        if (parts_are_gated(buffer))
            Base::sum(buffer, d_gated_);
        else
            Base::sum(buffer);
    }

    // What stands before the product of an exchange.
    RNNKERNELS_INLINE void step(Index exchange, int buffer) {
        if (exchange_is_gated(exchange))
            state(exchange / 2, buffer);
        else
            gates(exchange / 2, buffer);
    }

    // The parts of dL/d(what was multiplied).
    RNNKERNELS_INLINE void multiply(int buffer, int to) {
        if (gradients_are_gated(buffer))
            multiply(buffer, to, true);
        else
            multiply(buffer, to, false);
    }

private:
    RNNKERNELS_INLINE void multiply(int buffer, int to, bool gated) {
        Base::multiply(buffer, to, depth_of(m_.shape(), Maths::hidden_count(call_), gated));
        if (!gated) Base::multiply_fed(buffer, to);
    }

    RNNKERNELS_INLINE void state(Index t, int buffer) {
        const Index count = call_.count(t), next = call_.next(t);
        const int first = Maths::hidden_count(call_);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            Base::each_group([&](int g) RNNKERNELS_INLINED {
                const Index row = Base::row_of(lane, g);
                ResidentPlace at = Base::place_of(t, row);
                Base::each_unit([&](int s) RNNKERNELS_INLINED {
                    at.unit = Base::unit_of(lane, s);
                    V du[Maths::gateds];
                    clear(Maths::gated_count(call_), du);
                    if (row < count && at.unit < Base::hidden()) {
                        V kept[Maths::kept], carried[Maths::states];
                        const V product(product_[g][s][lane]);
                        numbers_of<Maths, Stored>(call_, kept_[g][s].of(lane), kept, at.made);
                        get_carried(g, s, lane, carried);
                        const bool follows =
                            Base::join(g, s, lane, at, t + 1, kept + Maths::state_count(call_), row < next, carried);
                        const bool adds =
                            masks_.begin(call_, Base::masks(), g, s, lane, product, follows, kept, carried);
                        Maths::template state<Stored>(call_, at, kept, product, adds, carried, between_[g][s].of(lane),
                                                      du);
                        if (!Maths::past_is_late) masks_.add_past(call_, Base::masks(), g, s, lane, carried);
                        set_carried(g, s, lane, carried);
                    }
                    put(lane, buffer, g, s, first, Maths::gated_count(call_), du);
                });
            });
        });
        m_.arrive();
    }

    RNNKERNELS_INLINE void gates(Index t, int buffer) {
        const Index count = call_.count(t);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            Base::each_group([&](int g) RNNKERNELS_INLINED {
                const Index row = Base::row_of(lane, g);
                ResidentPlace at = Base::place_of(t, row);
                Base::each_unit([&](int s) RNNKERNELS_INLINED {
                    at.unit = Base::unit_of(lane, s);
                    V du[Maths::hiddens + Maths::feds];
                    clear(Base::multiplied(), du);
                    if (row < count && at.unit < Base::hidden()) {
                        V kept[Maths::kept], carried[Maths::states];
                        numbers_of<Maths, Stored>(call_, kept_[g][s].of(lane), kept, at.made);
                        get_carried(g, s, lane, carried);
                        at.factor = masks_.factor(call_, Base::masks(), g, s, lane);
                        Maths::template gates<Stored>(call_, at, kept, V(d_gated_[g][s][lane] * at.factor), carried,
                                                      between_[g][s].of(lane), du);
                        if (Maths::past_is_late) masks_.add_past(call_, Base::masks(), g, s, lane, carried);
                        set_carried(g, s, lane, carried);
                    }
                    put(lane, buffer, g, s, 0, Maths::hidden_count(call_), du);
                    put(lane, buffer, g, s, m_.shape().of.first_fed(), Maths::fed_count(call_),
                        du + Maths::hidden_count(call_));
                });
            });
        });
        m_.arrive();
        if (t > 0) Base::fetch(t - 1, true);
        Base::make_marks(t - 1, true);
    }

    RNNKERNELS_INLINE static void clear(int count, V* du) {
        RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < count; ++i) du[i] = V(0.0F);
    }
    RNNKERNELS_INLINE void get_carried(int g, int s, int lane, V* carried) const {
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < Maths::state_count(call_); ++k) carried[k] = V(carried_[g][s][k][lane]);
    }
    RNNKERNELS_INLINE void set_carried(int g, int s, int lane, const V* carried) {
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < Maths::state_count(call_); ++k) carried_[g][s][k][lane] = carried[k].raw;
    }
    // Gate gradients of so many gates from the shape's first-th on.
    RNNKERNELS_INLINE void put(int lane, int buffer, int g, int s, int first, int count, const V* du) const {
        if (!finishes(m_.shape(), m_.warp)) return;
        RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < count; ++i)
            m_.put(lane, buffer, g * kGroup + finished_row(m_.shape(), m_.warp, lane),
                   gradient_column(m_.shape(), first + i, finished_unit(m_.shape(), m_.warp, lane, s)),
                   Stored::bits(du[i].raw));
    }

    Own<float> d_gated_[kGroups][kLaneUnits];
    typename Machine::template Values<Maths::between> between_[kGroups][kLaneUnits];
};

// The warp of a backward's maths by its exchanges in a step.
template <class Maths, class Stored, class Machine, int exchanges = Maths::exchanges>
struct BackwardWarpOfMaths {
    using type = ResidentBackwardWarp<Maths, Stored, Machine>;
};
template <class Maths, class Stored, class Machine>
struct BackwardWarpOfMaths<Maths, Stored, Machine, 2> {
    using type = TwoProductsBackwardWarp<Maths, Stored, Machine>;
};
template <class Maths, class Stored, class Machine>
using BackwardWarpOf = typename BackwardWarpOfMaths<Maths, Stored, Machine>::type;

}  // namespace rnnkernels::RNNKERNELS_TARGET
