// A warp's weights in a resident backward, and what they are multiplied with: the rows of weight_hh, transposed, of its
// block's gate gradients, and of weight_gg where vectors that are fed back have that, in registers and in spare places
// (backward_geometry.h); parts of a step's products, which it sends to the blocks that have the units.
//
// Not here: what a machine can do, and what is made of the parts (backward_warp.h).
#pragma once

#include "backward_geometry.h"
#include "backward_maths.h"
#include "full_product.h"
#include "operands.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Stored, class Machine>
class BackwardWeights {
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    static constexpr int kTiles = Machine::kTiles, kDepth = Machine::kDepth;

public:
    RNNKERNELS_INLINE BackwardWeights(const Machine& machine, const ResidentBackwardCall& call)
        : m_(machine), call_(call) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED { load_weights(lane); });
    }

    // A section's parts of what some tiles along k give, whole multiples of what is multiplied at once.
    RNNKERNELS_INLINE void multiply(int buffer, int to, DepthRange of) {
        if constexpr (is_half<Stored>)
            multiply_pairs(buffer, to, of);
        else if constexpr (is_full<Stored>)
            multiply_in_full(buffer, to, of);
        else
            multiply_rounded(buffer, to, of);
    }

protected:
    RNNKERNELS_INLINE Index hidden() const { return m_.shape().of.hidden; }

    const Machine& m_;
    const ResidentBackwardCall& call_;

private:
    template <class Use>
    RNNKERNELS_INLINE void each_tile(Use use) const {
        RNNKERNELS_IN_REGISTERS
        for (int tile = 0; tile < m_.shape().tiles(); ++tile) use(tile);
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
            for (int k = of.first; k < of.last; k += 2) m_.load(b[k / 2], buffer, g, k - of.skipped);
            RNNKERNELS_IN_REGISTERS
            for (int tile = 0; tile < m_.shape().tiles(); ++tile) {
                Own<float> sum[2][kLaneValues];  // of even tiles along k, and of odd ones
                clear(sum);
                RNNKERNELS_IN_REGISTERS
                for (int k = of.first; k < of.last; k += 2) {
                    m_.template multiply<Stored>(sum[0], weight_[tile][k], b[k / 2][0], b[k / 2][1]);
                    m_.template multiply<Stored>(sum[1], weight_[tile][k + 1], b[k / 2][2], b[k / 2][3]);
                }
                send(sum, g, tile, to, of.section);
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
                m_.load(b, buffer, g, k - of.skipped);
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
                m_.load(b, buffer, g, k - of.skipped);
                RNNKERNELS_IN_REGISTERS
                for (int i = 0; i < 2; ++i)
                    each_tile([&](int tile) RNNKERNELS_INLINED {
                        multiply_spare(sum[tile][i], tile, k + i, b[2 * i], b[2 * i + 1]);
                    });
            }
            each_tile([&](int tile) RNNKERNELS_INLINED { send(sum[tile], g, tile, to, of.section); });
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
            product.add(sum, &weight_[tile][k], buffer, (k - of.skipped) * m_.shape().of.tile_depth(), all);
        RNNKERNELS_IN_A_LOOP
        for (int k = of.spare(m_.shape().held(tile)); k < of.last; k += 4) {
            Own<unsigned> weight[4][kLaneValues];
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < 4; ++i) m_.get_spare(m_.shape().spare_of(tile, k + i), weight[i]);
            product.add(sum, &weight[0], buffer, (k - of.skipped) * m_.shape().of.tile_depth(), all);
        }
        product.reduce(sum, all);
        send_row(sum[0], tile, to, of.section);
        if constexpr (tile + 1 < kTiles)
            if (tile + 1 < m_.shape().tiles()) multiply_in_full<tile + 1>(buffer, to, of);
    }
    // Four units' parts of a lane's row.
    RNNKERNELS_INLINE void send_row(const Own<float> (&sum)[kLaneValues], int tile, int to, int section) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            const PartUnit at = part_unit(m_.shape(), m_.warp, tile, weight_place(m_.shape().of, lane, 0, 0).row);
            if (at.block >= m_.shape().of.blocks || group_row(lane) >= m_.shape().of.rows) return;
            const float parts[kLaneValues] = {sum[0][lane], sum[1][lane], sum[2][lane], sum[3][lane]};
            const int place =
                section * m_.shape().parts() + full_part_place(m_.shape(), m_.block, group_row(lane), at.unit);
            m_.send_parts(lane, at.block, to, place, parts);
        });
    }

    RNNKERNELS_INLINE void send(const Own<float> (&sum)[2][kLaneValues], int g, int tile, int to, int section) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            RNNKERNELS_IN_REGISTERS
            for (int half = 0; half < 2; ++half) {
                const PartUnit at = part_unit(m_.shape(), m_.warp, tile, part_row(lane, half));
                const int place =
                    section * m_.shape().parts() + part_place(m_.shape(), m_.block, g, part_pair(lane), at.unit);
                if (at.block < m_.shape().of.blocks)
                    m_.send_part(lane, at.block, to, place, sum[0][2 * half][lane] + sum[1][2 * half][lane],
                                 sum[0][2 * half + 1][lane] + sum[1][2 * half + 1][lane]);
            }
        });
    }

    RNNKERNELS_INLINE unsigned number_of_weight(int lane, int tile, int k, int part) const {
        const WeightPlace place = weight_place(m_.shape().of, lane, m_.shape().gradients_of(k), part);
        return weight_at(part_unit(m_.shape(), m_.warp, tile, place.row), place.k, m_.shape().vector_of(k));
    }
    RNNKERNELS_INLINE void load_numbers_of_weights(int lane) {
        each_tile([&](int tile) RNNKERNELS_INLINED {
            RNNKERNELS_IN_REGISTERS
            for (int k = 0; k < m_.shape().held(tile); ++k) RNNKERNELS_IN_REGISTERS
            for (int part = 0; part < kLaneValues; ++part)
                weight_[tile][k][part][lane] = number_of_weight(lane, tile, k, part);
            RNNKERNELS_IN_A_LOOP
            for (int k = m_.shape().held(tile); k < m_.shape().weight_depth(); ++k) {
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
        for (int k = 0; k < m_.shape().weight_depth(); ++k) RNNKERNELS_IN_REGISTERS
        for (int part = 0; part < kLaneValues; ++part) {
            const PartUnit to = part_unit(m_.shape(), m_.warp, tile, fragment_row(lane, part));
            const int from = m_.shape().gradients_of(k) * kTileDepth + fragment_k(lane, part);
            const int vector = m_.shape().vector_of(k);
            weight_[tile][k][part][lane] = weight_at(to, from, vector) | weight_at(to, from + 1, vector) << 16;
        }
    }
    // The weight of the block's k-th gate gradient to a unit of h, or of a vector.
    RNNKERNELS_INLINE unsigned weight_at(const PartUnit& to, int k, int vector) const {
        const int units = m_.shape().of.block_units();
        const GradientPlace from = gradient_place(m_.shape(), k);
        const Index unit = m_.block * units + from.unit, column = to.block * units + to.unit;
        if (to.block >= m_.shape().of.blocks || column >= hidden() || unit >= hidden()) return 0;
        const Index row = call_.gate_row[from.gate] * hidden() + unit;
        if (m_.shape().of.apart() && from.gate >= m_.shape().of.first_fed())
            return weight_in(call_.fed_weight, (row * m_.shape().of.vectors + vector) * hidden() + column);
        return weight_in(call_.weight, row * hidden() + column);
    }
    RNNKERNELS_INLINE static unsigned weight_in(const std::uint16_t* weight, Index at) {
        if constexpr (is_half<Stored>)
            return weight[at];
        else
            return Stored::weight(weight, at);
    }

    Own<unsigned> weight_[kTiles][kDepth][kLaneValues];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
