// A warp of a resident kernel whose cell has two products in a step, of h and of the gated state (cells/cell.h). A step
// is two exchanges: even ones carry h, odd ones what the first half of the maths made of it, in words of the same size.
//
//   exchange 2t      h before step t       product with h      first half     the gated state is sent
//   exchange 2t + 1  the gated state       product with it     second half    h is sent
//
// Exchange e lies in buffer e & 1, so that h and the gated state have a buffer and an mbarrier each. One buffer of each
// is enough, and there is no other barrier:
//   A warp sends its part of exchange e + 1 after it has read all of exchange e, since it makes the one of the other.
//   A block has all of exchange e + 1 when every warp of the cluster, its own included, has sent its part: all of them
//   have then read exchange e.
//   Exchange e + 2, which takes the buffer of exchange e, is made of all of exchange e + 1. So nobody sends any of it
//   before every block's exchange e was read by all of its warps.
// An mbarrier is two exchanges ahead of nobody for the same reason: its next phase ends after all have left the wait
// for this one, and the thread that expects its bytes has done so before it sends what they are made of.
//
// The weights of both products stand in one tile, which is multiplied twice: a unit has all of its gates in one lane
// whatever product feeds them, and sixteen rows of the weight are kept where two tiles would be half empty. What the
// other product's gates get is not read.
//
// Not here: a warp of one product, and all that the two have in common, vectors that are fed back too (warp.h).
#pragma once

#include "warp.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Maths (maths.h) has two halves in place of step(), with `saved` numbers of a unit between them:
//   gates(call, row, of_batch, unit, x, u, bias, now, saved, gated)
//   state(call, row, of_batch, unit, x, u, bias, now, saved, next)
template <class Maths, class Stored, class Machine>
class TwoProductsWarp : public ResidentWarp<Maths, Stored, Machine> {
    using Base = ResidentWarp<Maths, Stored, Machine>;
    using V = Vec<float>;
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    using Base::call_, Base::state_, Base::x_, Base::u_, Base::bias_, Base::m_;
    static constexpr int kGroups = Machine::kGroups, kLaneUnits = Machine::kLaneUnits;

public:
    using Base::Base;

    // u of the gates that an exchange's product feeds. In halves and TF32 tiles are multiplied for all gates at once.
    RNNKERNELS_INLINE void multiply(int buffer) {
        if (!is_full<Stored> && m_.shape().vectors == 0) return Base::multiply(buffer);
        const int hidden = Maths::hidden_count(call_);
        ProductPart part = m_.shape().part(0);
        if (buffer == 0) {
            part.gates = hidden;
            Base::multiply(0, part);
            if (m_.shape().parts() > 1) Base::multiply(0, m_.shape().part(1));
        } else {
            part.first_gate = hidden, part.gates = m_.shape().first_fed() - hidden;
            Base::multiply(1, part);
        }
    }

    // What follows the product of an exchange; `last`: no block will read what it makes.
    RNNKERNELS_INLINE void step(Index exchange, bool last) {
        if (exchange & 1)
            state(exchange / 2, last);
        else
            gates(exchange / 2);
    }

private:
    RNNKERNELS_INLINE void gates(Index t) {
        const Index count = call_.count(t), first = call_.first(t);
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().groups; ++g) {
            Own<unsigned> half[kLaneUnits];
            m_.lanes([&](int lane) RNNKERNELS_INLINED {
                const Index row = Base::row_of(lane, g);
                RNNKERNELS_IN_REGISTERS
                for (int s = 0; s < Base::lane_units(); ++s) {
                    const Index unit = Base::unit_of(lane, s);
                    V gated(0.0F);
                    if (row < count && unit < Base::hidden()) {
                        V now[Maths::states];
                        Base::get_states(g, s, lane, now);
                        Maths::gates(call_, first + row, row, unit, x_[g][s].of(lane), u_[g][s].of(lane),
                                     bias_[s].of(lane), now, saved_[g][s].of(lane), gated);
                    }
                    half[s][lane] = Stored::bits(Base::operand(g, s, lane, gated.raw, kDropped));
                }
            });
            Base::send(half, g, 1);
        }
    }

    RNNKERNELS_INLINE void state(Index t, bool last) {
        const Index count = call_.count(t), first = call_.first(t);
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().groups; ++g) {
            Own<unsigned> half[kLaneUnits];
            m_.lanes([&](int lane) RNNKERNELS_INLINED {
                const Index row = Base::row_of(lane, g);
                RNNKERNELS_IN_REGISTERS
                for (int s = 0; s < Base::lane_units(); ++s) {
                    const Index unit = Base::unit_of(lane, s);
                    if (row < count && unit < Base::hidden()) {
                        V now[Maths::states], next[Maths::states];
                        Base::get_states(g, s, lane, now);
                        Maths::state(call_, first + row, row, unit, x_[g][s].of(lane), u_[g][s].of(lane),
                                     bias_[s].of(lane), now, saved_[g][s].of(lane), next);
                        Base::zone(g, s, lane, first + row, row, unit, now, next);
                        Base::set_states(g, s, lane, first + row, unit, next);
                    }
                    half[s][lane] = Stored::bits(Base::operand(g, s, lane, state_[g][s][0][lane]));
                }
            });
            if (!last) Base::send(half, g, 0);
            if (!last) Base::send_vectors(g, t + 1, 0);
        }
        if (!last) Base::fetch(t + 1);
    }

    typename Machine::template Values<Maths::saved> saved_[kGroups][kLaneUnits];
};

// The warp of a maths by its exchanges in a step.
template <class Maths, class Stored, class Machine, int exchanges = Maths::exchanges>
struct WarpOfMaths {
    using type = ResidentWarp<Maths, Stored, Machine>;
};
template <class Maths, class Stored, class Machine>
struct WarpOfMaths<Maths, Stored, Machine, 2> {
    using type = TwoProductsWarp<Maths, Stored, Machine>;
};
template <class Maths, class Stored, class Machine>
using WarpOf = typename WarpOfMaths<Maths, Stored, Machine>::type;

}  // namespace rnnkernels::RNNKERNELS_TARGET
