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
// A sum's order is fixed: even tiles along k, odd ones, then both (in full that of full_product.h); then blocks in
// ascending order. It is the same for any number of rows.
#pragma once

#include "backward_geometry.h"
#include "backward_masks.h"
#include "full_product.h"
#include "operands.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Maths, class Stored, class Machine>
class ResidentBackwardWarp {
    using V = Vec<float>;
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    template <int count>
    using Values = typename Machine::template Values<count>;
    static constexpr int kTiles = Machine::kTiles, kDepth = Machine::kDepth, kGroups = Machine::kGroups;
    static constexpr int kLaneUnits = Machine::kLaneUnits;

public:
    RNNKERNELS_INLINE ResidentBackwardWarp(const Machine& machine, const ResidentBackwardCall& call, Index tile)
        : m_(machine), call_(call), first_row_(tile * m_.shape().of.cluster_rows()) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED { load_weights(lane); });
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
    RNNKERNELS_INLINE void sum(int buffer) { sum(buffer, product_); }
    RNNKERNELS_INLINE void sum(int buffer, Own<float> (&to)[kGroups][kLaneUnits]) {
        if (!finishes(m_.shape(), m_.warp)) return;
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value([&](int g, int s) RNNKERNELS_INLINED {
                float all = 0;
                RNNKERNELS_IN_REGISTERS
                for (int block = 0; block < m_.shape().of.blocks; ++block)
                    all += m_.take_part(lane, buffer, finished_place(m_.shape(), block, g, m_.warp, lane, s));
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
                    V du[Maths::hiddens];
                    RNNKERNELS_IN_REGISTERS
                    for (int i = 0; i < Maths::hidden_count(call_); ++i) du[i] = V(0.0F);
                    if (row < count && at.unit < hidden()) {
                        V kept[Maths::kept], carried[Maths::states];
                        const V product(product_[g][s][lane]);
                        numbers_of<Maths, Stored>(call_, kept_[g][s].of(lane), kept, at.made);
                        RNNKERNELS_IN_REGISTERS
                        for (int k = 0; k < Maths::state_count(call_); ++k) carried[k] = V(carried_[g][s][k][lane]);
                        const bool adds = masks_.begin(call_, masks(), g, s, lane, product, row < next, kept, carried);
                        Maths::template step<Stored>(call_, at, kept, product, adds, carried, du);
                        masks_.add_past(call_, masks(), g, s, lane, carried);
                        RNNKERNELS_IN_REGISTERS
                        for (int k = 0; k < Maths::state_count(call_); ++k) carried_[g][s][k][lane] = carried[k].raw;
                    }
                    if (!finishes(m_.shape(), m_.warp)) return;
                    RNNKERNELS_IN_REGISTERS
                    for (int i = 0; i < Maths::hidden_count(call_); ++i)
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
    RNNKERNELS_INLINE void multiply(int buffer, int to) { multiply(buffer, to, {0, m_.shape().depth()}); }
    // Of some tiles along k, whole multiples of what is multiplied at once.
    RNNKERNELS_INLINE void multiply(int buffer, int to, DepthRange of) {
        if constexpr (is_half<Stored>)
            multiply_pairs(buffer, to, of);
        else if constexpr (is_full<Stored>)
            multiply_in_full(buffer, to, of);
        else
            multiply_rounded(buffer, to, of);
    }

    // What comes to the states before the first of these steps.
    RNNKERNELS_INLINE void end() {
        m_.lanes_later([&](int lane) RNNKERNELS_INLINED {
            each_value([&](int g, int s) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g), unit = unit_of(lane, s), at = row * hidden() + unit;
                if (row >= call_.batch || unit >= hidden()) return;
                const V product(product_[g][s][lane]), carried(carried_[g][s][0][lane]);
                if ((masks() & kDrops) && row < call_.count(0))
                    carried_[g][s][0][lane] = masks_.with_product(call_, masks(), g, s, lane, product, carried).raw;
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < Maths::state_count(call_); ++k) call_.a.carried[k][at] = carried_[g][s][k][lane];
                if (!(masks() & kDrops)) call_.to_step_before[at] = product_[g][s][lane];
            });
        });
    }

protected:
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
    RNNKERNELS_INLINE void each_tile(Use use) const {
        RNNKERNELS_IN_REGISTERS
        for (int tile = 0; tile < m_.shape().tiles(); ++tile) use(tile);
    }
    template <class Use>
    RNNKERNELS_INLINE void each_value(Use use) const {
        each_group([&](int g) RNNKERNELS_INLINED { each_unit([&](int s) RNNKERNELS_INLINED { use(g, s); }); });
    }
    RNNKERNELS_INLINE Index hidden() const { return m_.shape().of.hidden; }
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

    RNNKERNELS_INLINE void clear(Own<float> (&sum)[2][kLaneValues]) const {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < 2 * kLaneValues; ++i) sum[i / kLaneValues][i % kLaneValues][lane] = 0.0F;
        });
    }

    // Of halves.
    RNNKERNELS_INLINE void multiply_pairs(int buffer, int to, DepthRange of) {
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().of.groups; ++g) {
            Own<unsigned> b[kDepth / 2][4];
            RNNKERNELS_IN_REGISTERS
            for (int k = of.first; k < of.last; k += 2) m_.load(b[k / 2], buffer, g, k);
            RNNKERNELS_IN_REGISTERS
            for (int tile = 0; tile < m_.shape().tiles(); ++tile) {
                Own<float> sum[2][kLaneValues];  // of even tiles along k, and of odd ones
                clear(sum);
                RNNKERNELS_IN_REGISTERS
                for (int k = of.first; k < of.last; k += 2) {
                    m_.template multiply<Stored>(sum[0], weight_[tile][k], b[k / 2][0], b[k / 2][1]);
                    m_.template multiply<Stored>(sum[1], weight_[tile][k + 1], b[k / 2][2], b[k / 2][3]);
                }
                send(sum, g, tile, to);
            }
        }
    }

    // In TF32: all tiles at once, since gate gradients of all k would be more registers than their sums.
    RNNKERNELS_INLINE void multiply_rounded(int buffer, int to, DepthRange of) {
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().of.groups; ++g) {
            Own<float> sum[kTiles][2][kLaneValues];  // of even tiles along k, and of odd ones
            each_tile([&](int tile) RNNKERNELS_INLINED { clear(sum[tile]); });
            RNNKERNELS_IN_REGISTERS
            for (int k = of.first; k < of.held(m_.shape().held()); k += 2) {
                Own<unsigned> b[4];
                m_.load(b, buffer, g, k);
                RNNKERNELS_IN_REGISTERS
                for (int i = 0; i < 2; ++i)
                    each_tile([&](int tile) RNNKERNELS_INLINED {
                        if (k < m_.shape().held(tile))
                            m_.template multiply<Stored>(sum[tile][i], weight_[tile][k + i], b[2 * i], b[2 * i + 1]);
                        else
                            multiply_spare(sum[tile][i], tile, k + i, b[2 * i], b[2 * i + 1]);
                    });
            }
            RNNKERNELS_IN_A_LOOP
            for (int k = of.spare(m_.shape().held()); k < of.last; k += 2) {
                Own<unsigned> b[4];
                m_.load(b, buffer, g, k);
                RNNKERNELS_IN_REGISTERS
                for (int i = 0; i < 2; ++i)
                    each_tile([&](int tile) RNNKERNELS_INLINED {
                        multiply_spare(sum[tile][i], tile, k + i, b[2 * i], b[2 * i + 1]);
                    });
            }
            each_tile([&](int tile) RNNKERNELS_INLINED { send(sum[tile], g, tile, to); });
        }
    }

    RNNKERNELS_INLINE void multiply_spare(Own<float> (&sum)[kLaneValues], int tile, int k, const Own<unsigned>& b0,
                                          const Own<unsigned>& b1) const {
        Own<unsigned> weight[kLaneValues];
        m_.get_spare(m_.shape().spare_of(tile, k), weight);
        m_.template multiply<Stored>(sum, weight, b0, b1);
    }

    // By multiply-adds, tile by tile, each by its own constant: as a loop's variable it left the weights in memory.
    template <int tile = 0>
    RNNKERNELS_INLINE void multiply_in_full(int buffer, int to, DepthRange of) {
        const FullProduct<Machine> product{m_};
        typename FullProduct<Machine>::Sums sum;
        const auto all = [](int) RNNKERNELS_INLINED { return true; };
        product.clear(sum);
        RNNKERNELS_IN_REGISTERS
        for (int k = of.first; k < of.held(m_.shape().held(tile)); k += 4)
            product.add(sum, &weight_[tile][k], buffer, k * m_.shape().of.tile_depth(), all);
        RNNKERNELS_IN_A_LOOP
        for (int k = of.spare(m_.shape().held(tile)); k < of.last; k += 4) {
            Own<unsigned> weight[4][kLaneValues];
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < 4; ++i) m_.get_spare(m_.shape().spare_of(tile, k + i), weight[i]);
            product.add(sum, &weight[0], buffer, k * m_.shape().of.tile_depth(), all);
        }
        product.reduce(sum, all);
        send_row(sum[0], tile, to);
        if constexpr (tile + 1 < kTiles)
            if (tile + 1 < m_.shape().tiles()) multiply_in_full<tile + 1>(buffer, to, of);
    }
    // Four units' parts of a lane's row.
    RNNKERNELS_INLINE void send_row(const Own<float> (&sum)[kLaneValues], int tile, int to) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            const PartUnit at = part_unit(m_.shape(), m_.warp, tile, weight_place(m_.shape().of, lane, 0, 0).row);
            if (at.block >= m_.shape().of.blocks || group_row(lane) >= m_.shape().of.rows) return;
            const float parts[kLaneValues] = {sum[0][lane], sum[1][lane], sum[2][lane], sum[3][lane]};
            m_.send_parts(lane, at.block, to, full_part_place(m_.shape(), m_.block, group_row(lane), at.unit), parts);
        });
    }

    RNNKERNELS_INLINE void send(const Own<float> (&sum)[2][kLaneValues], int g, int tile, int to) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            RNNKERNELS_IN_REGISTERS
            for (int half = 0; half < 2; ++half) {
                const PartUnit at = part_unit(m_.shape(), m_.warp, tile, part_row(lane, half));
                if (at.block < m_.shape().of.blocks)
                    m_.send_part(lane, at.block, to, part_place(m_.shape(), m_.block, g, part_pair(lane), at.unit),
                                 sum[0][2 * half][lane] + sum[1][2 * half][lane],
                                 sum[0][2 * half + 1][lane] + sum[1][2 * half + 1][lane]);
            }
        });
    }

    RNNKERNELS_INLINE unsigned number_of_weight(int lane, int tile, int k, int part) const {
        const WeightPlace place = weight_place(m_.shape().of, lane, k, part);
        return weight_at(part_unit(m_.shape(), m_.warp, tile, place.row), place.k);
    }
    RNNKERNELS_INLINE void load_numbers_of_weights(int lane) {
        each_tile([&](int tile) RNNKERNELS_INLINED {
            RNNKERNELS_IN_REGISTERS
            for (int k = 0; k < m_.shape().held(tile); ++k) RNNKERNELS_IN_REGISTERS
            for (int part = 0; part < kLaneValues; ++part)
                weight_[tile][k][part][lane] = number_of_weight(lane, tile, k, part);
            RNNKERNELS_IN_A_LOOP
            for (int k = m_.shape().held(tile); k < m_.shape().depth(); ++k) {
                unsigned words[kLaneValues];
                RNNKERNELS_IN_REGISTERS
                for (int part = 0; part < kLaneValues; ++part) words[part] = number_of_weight(lane, tile, k, part);
                m_.put_spare(lane, m_.shape().spare_of(tile, k), words);
            }
        });
    }
    RNNKERNELS_INLINE void load_weights(int lane) {
        if constexpr (is_half<Stored>)
            load_pairs(lane);
        else
            load_numbers_of_weights(lane);
    }
    RNNKERNELS_INLINE void load_pairs(int lane) {
        RNNKERNELS_IN_REGISTERS
        for (int tile = 0; tile < m_.shape().tiles(); ++tile) RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < m_.shape().depth(); ++k) RNNKERNELS_IN_REGISTERS
        for (int part = 0; part < kLaneValues; ++part) {
            const PartUnit to = part_unit(m_.shape(), m_.warp, tile, fragment_row(lane, part));
            const int from = k * kTileDepth + fragment_k(lane, part);
            weight_[tile][k][part][lane] = weight_at(to, from) | weight_at(to, from + 1) << 16;
        }
    }
    // The weight of the block's k-th gate gradient to a unit.
    RNNKERNELS_INLINE unsigned weight_at(const PartUnit& to, int k) const {
        const int units = m_.shape().of.block_units();
        const GradientPlace from = gradient_place(m_.shape(), k);
        const Index unit = m_.block * units + from.unit, column = to.block * units + to.unit;
        if (to.block >= m_.shape().of.blocks || column >= hidden() || unit >= hidden()) return 0;
        const Index at = (call_.gate_row[from.gate] * hidden() + unit) * hidden() + column;
        if constexpr (is_half<Stored>)
            return call_.weight[at];
        else
            return Stored::weight(call_.weight, at);
    }

    const Machine& m_;
    const ResidentBackwardCall& call_;
    const Index first_row_;
    Own<unsigned> weight_[kTiles][kDepth][kLaneValues];
    Own<float> carried_[kGroups][kLaneUnits][Maths::states];
    Own<float> product_[kGroups][kLaneUnits];
    BackwardMasks<Maths, Machine> masks_;
    Values<Maths::kept> kept_[kGroups][kLaneUnits];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
