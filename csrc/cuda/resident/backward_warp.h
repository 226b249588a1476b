// One warp of a resident backward: a chunk of steps, from the last one down, with the recurrent weights in registers.
//
// In a step a lane does the backward of the cell for its units of its row, and its block gets their gate gradients. As
// soon as all of the block's are there, each warp multiplies them with the block's weights, and sends the parts of
// dL/dh to the blocks that have these units; each waits for all parts before the next step. There is no other barrier.
// Both have two buffers, and none can be written before all have read it: who sends parts of a step has got those of
// the step before it from all warps of all blocks (backward_geometry.h), whose sums of the step before that were made.
//
// The text knows no GPU. `Machine` is what a warp can do, on a GPU (backward_machine.h) or on the host
// (tests/native/resident_backward_machine.h). Beside what warp.h says:
//
//   kTiles, kDepth, kGroups, kLaneUnits        as the shape's (backward_geometry.h) or the most
//   put(lane, buffer, row, column, bits)       a gate gradient into the own block's buffer; its operands' words
//   arrive()                                   the warp has put all of its own
//   load(b, buffer, group, k)                  B fragments of two tiles along k, of a group's gate gradients
//   send_part(lane, block, buffer, place, a, b)    two numbers into a block's buffer of parts; its barrier counts them
//   send_parts(lane, block, buffer, place, values)    in full: four
//   take_part(lane, buffer, place)             a number of the own block's
//
// Not here: where things are (backward_geometry.h); the products (backward_weights.h); the maths (backward_maths.h).
//
// A sum's order is fixed: even tiles along k, odd ones, then both (in full that of full_product.h); then blocks in
// ascending order. It is the same for any number of rows.
#pragma once

#include "backward_masks.h"
#include "backward_weights.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Maths, class Stored, class Machine>
class ResidentBackwardWarp : protected BackwardWeights<Stored, Machine> {
    using Weights = BackwardWeights<Stored, Machine>;
    using V = Vec<float>;
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    template <int count>
    using Values = typename Machine::template Values<count>;
    static constexpr int kGroups = Machine::kGroups, kLaneUnits = Machine::kLaneUnits;

public:
    RNNKERNELS_INLINE ResidentBackwardWarp(const Machine& machine, const ResidentBackwardCall& call, Index tile)
        : Weights(machine, call), first_row_(tile * m_.shape().of.cluster_rows()) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value([&](int g, int s) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g), unit = unit_of(lane, s), at = row * hidden() + unit;
                const bool is = row < call_.batch && unit < hidden();
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < Maths::state_count(call_); ++k)
                    carried_[g][s][k][lane] = is ? call_.a.carried[k][at] : 0.0F;
                product_[g][s][lane] = row < call_.behind && unit < hidden() ? call_.a.product[at] : 0.0F;
            });
        });
        fetch(call_.steps - 1, false);
        make_marks(call_.steps - 1, false);
    }

    // What came to h through the products of the step behind.
    RNNKERNELS_INLINE void sum(int buffer) {
        sum(buffer, product_);
        each_vector([&](int k) RNNKERNELS_INLINED { sum(buffer, fed_[k], 1 + k); });
    }
    RNNKERNELS_INLINE void sum(int buffer, Own<float> (&to)[kGroups][kLaneUnits], int section = 0) {
        if (!finishes(m_.shape(), m_.warp)) return;
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value([&](int g, int s) RNNKERNELS_INLINED {
                float all = 0;
                RNNKERNELS_IN_REGISTERS
                for (int block = 0; block < m_.shape().of.blocks; ++block)
                    all += m_.take_part(
                        lane, buffer,
                        section * m_.shape().parts() + finished_place(m_.shape(), block, g, m_.warp, lane, s));
                to[g][s][lane] = all;
            });
        });
    }

    // The cell's step t, whose gate gradients go into a buffer.
    RNNKERNELS_INLINE void step(Index t, int buffer) {
        const Index count = call_.count(t), next = call_.next(t);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_group([&](int g) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g);
                ResidentPlace at = place_of(t, row);
                each_unit([&](int s) RNNKERNELS_INLINED {
                    at.unit = unit_of(lane, s);
                    V du[Maths::hiddens + Maths::feds];
                    RNNKERNELS_IN_REGISTERS
                    for (int i = 0; i < multiplied(); ++i) du[i] = V(0.0F);
                    if (row < count && at.unit < hidden()) {
                        V kept[Maths::kept], carried[Maths::states];
                        const V product(product_[g][s][lane]);
                        numbers_of<Maths, Stored>(call_, kept_[g][s].of(lane), kept, at.made);
                        RNNKERNELS_IN_REGISTERS
                        for (int k = 0; k < Maths::state_count(call_); ++k) carried[k] = V(carried_[g][s][k][lane]);
                        const bool follows =
                            join(g, s, lane, at, t + 1, kept + Maths::state_count(call_), row < next, carried);
                        const bool adds = masks_.begin(call_, masks(), g, s, lane, product, follows, kept, carried);
                        Maths::template step<Stored>(call_, at, kept, product, adds, carried, du);
                        masks_.add_past(call_, masks(), g, s, lane, carried);
                        RNNKERNELS_IN_REGISTERS
                        for (int k = 0; k < Maths::state_count(call_); ++k) carried_[g][s][k][lane] = carried[k].raw;
                    }
                    if (!finishes(m_.shape(), m_.warp)) return;
                    RNNKERNELS_IN_REGISTERS
                    for (int i = 0; i < multiplied(); ++i)
                        m_.put(lane, buffer, g * kGroup + finished_row(m_.shape(), m_.warp, lane),
                               gradient_column(m_.shape(), i, finished_unit(m_.shape(), m_.warp, lane, s)),
                               Stored::bits(du[i].raw));
                });
            });
        });
        m_.arrive();
        if (t > 0) fetch(t - 1, true);
        make_marks(t - 1, true);
    }

    // The parts of dL/dh before that step.
    RNNKERNELS_INLINE void multiply(int buffer, int to) {
        multiply(buffer, to, {0, m_.shape().first_fed()});
        multiply_fed(buffer, to);
    }

    // What comes to the states before the first of these steps.
    RNNKERNELS_INLINE void end() {
        m_.lanes_later([&](int lane) RNNKERNELS_INLINED {
            each_value([&](int g, int s) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g), unit = unit_of(lane, s), at = row * hidden() + unit;
                if (row >= call_.batch || unit >= hidden()) return;
                V carried[Maths::states];
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < Maths::state_count(call_); ++k) carried[k] = V(carried_[g][s][k][lane]);
                const float product = product_[g][s][lane];
                if (masks() & kDrops) {
                    if (row < call_.count(0))
                        carried[0] = masks_.with_product(call_, masks(), g, s, lane, V(product), carried[0]);
                } else if (!join_last(g, s, lane, row, unit, carried)) {
                    call_.to_step_before[at] = product;
                }
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < Maths::state_count(call_); ++k) call_.a.carried[k][at] = carried[k].raw;
            });
        });
    }

protected:
    using Weights::call_, Weights::hidden, Weights::m_, Weights::multiply;

    // Of a vector that is fed back.
    template <class Use>
    RNNKERNELS_INLINE void each_vector(Use use) const {
        if constexpr (Maths::vectors > 0) {
            RNNKERNELS_IN_REGISTERS
            for (int k = 0; k < m_.shape().of.vectors; ++k) use(k);
        }
    }
    // Gates of h and of vectors.
    RNNKERNELS_INLINE int multiplied() const { return Maths::hidden_count(call_) + Maths::fed_count(call_); }
    // The parts of vectors' gradients.
    RNNKERNELS_INLINE void multiply_fed(int buffer, int to) {
        each_vector([&](int k) RNNKERNELS_INLINED { multiply(buffer, to, m_.shape().fed_depth(k)); });
    }
    // What came through the products of step t, the one behind, as a cell with vectors has it: carried gets all of it,
    // since vectors are made of the states before that step. Whether something of it is still to be added.
    RNNKERNELS_INLINE bool join(int g, int s, int lane, ResidentPlace at, Index t, const V* before, bool follows,
                                V* carried) const {
        if constexpr (Maths::vectors > 0) {
            if (m_.shape().of.vectors > 0) {
                if (!follows) return false;
                V d_fed[Maths::vectors];
                each_vector([&](int k) RNNKERNELS_INLINED { d_fed[k] = V(fed_[k][g][s][lane]); });
                carried[0] = V(product_[g][s][lane]) + carried[0];
                at.row = call_.first(t) + at.of_batch;
                Maths::join(call_, at, before, d_fed, carried);
                return false;
            }
        }
        return follows;
    }
    // The same of the first of these steps, whose products are the last; whether the cell has vectors.
    RNNKERNELS_INLINE bool join_last(int g, int s, int lane, Index row, Index unit, V* carried) const {
        if constexpr (Maths::vectors > 0) {
            if (m_.shape().of.vectors > 0) {
                if (row >= call_.count(0)) return true;
                V kept[Maths::kept];
                ResidentPlace at = place_of(0, row);
                at.unit = unit;
                numbers_of<Maths, Stored>(call_, kept_[g][s].of(lane), kept);
                join(g, s, lane, at, 0, kept, true, carried);
                return true;
            }
        }
        return false;
    }
    template <class Use>
    RNNKERNELS_INLINE void each_group(Use use) const {
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().of.groups; ++g) use(g);
    }
    template <class Use>
    RNNKERNELS_INLINE void each_unit(Use use) const {
        RNNKERNELS_IN_REGISTERS
        for (int s = 0; s < m_.shape().of.lane_units(); ++s) use(s);
    }
    template <class Use>
    RNNKERNELS_INLINE void each_value(Use use) const {
        each_group([&](int g) RNNKERNELS_INLINED { each_unit([&](int s) RNNKERNELS_INLINED { use(g, s); }); });
    }
    RNNKERNELS_INLINE int masks() const { return m_.shape().of.masks; }
    // A lane that has no row gets one behind all.
    RNNKERNELS_INLINE Index row_of(int lane, int g) const {
        if (!finishes(m_.shape(), m_.warp)) return call_.batch;
        return first_row_ + g * kGroup + finished_row(m_.shape(), m_.warp, lane);
    }
    RNNKERNELS_INLINE Index unit_of(int lane, int s) const {
        return m_.block * m_.shape().of.block_units() + finished_unit(m_.shape(), m_.warp, lane, s);
    }
    RNNKERNELS_INLINE ResidentPlace place_of(Index t, Index row) const {
        const bool begins = call_.first_step + t == 0;
        ResidentPlace at{call_.first(t) + row, row, begins ? 0 : call_.first(t - 1) + row, begins, hidden()};
        at.made = masks() & kZones;
        return at;
    }

    // What of a step does not wait for the step behind. `later`: that one was fetched before.
    RNNKERNELS_INLINE void fetch(Index t, bool later) {
        const Index count = call_.count(t), next = later ? call_.next(t) : 0;
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_group([&](int g) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g);
                if (row >= count) return;
                ResidentPlace at = place_of(t, row);
                at.place = call_.a.place(at.row);
                if (!at.begins) at.place_before = call_.a.place(at.before);
                each_unit([&](int s) RNNKERNELS_INLINED {
                    at.unit = unit_of(lane, s);
                    if (at.unit < hidden())
                        Maths::template fetch<AsItLies<Stored>>(call_, at, row < next, kept_[g][s].of(lane));
                });
            });
        });
    }

    // The masks of a step; t = -1: there is none, and those of the step behind it are still asked for. `later` as
    // above.
    RNNKERNELS_INLINE void make_marks(Index t, bool later) {
        if (!masks()) return;
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value([&](int g, int s) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g), unit = unit_of(lane, s);
                const bool is = t >= 0 && row < call_.count(t) && unit < hidden();
                masks_.make(call_, masks(), g, s, lane, is, later, call_.a.first + (is ? call_.first(t) : 0) + row,
                            unit);
            });
        });
    }

    const Index first_row_;
    Own<float> carried_[kGroups][kLaneUnits][Maths::states];
    Own<float> product_[kGroups][kLaneUnits];
    Own<float> fed_[Maths::vectors > 0 ? Maths::vectors : 1][kGroups][kLaneUnits];  // likewise of vectors
    BackwardMasks<Maths, Machine> masks_;
    Values<Maths::kept> kept_[kGroups][kLaneUnits];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
