// What a warp of a grid kernel does for each product: it holds its rows of the weight, multiplies them with its part of
// k, and knows which values its lanes finish. What these are, and what blocks wait for, is warp.h's and
// two_products_warp.h's; `Machine` is described in warp.h.
//
// A sum's order is fixed: of each part of k even products, odd ones, then both; then the parts in order. It does not
// depend on the batch.
#pragma once

#include "../storage.h"
#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Stored, class Machine>
class GridProduct {
protected:
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    static constexpr int kHeld = Machine::kHeld > 0 ? Machine::kHeld : 1, kGroups = Machine::kGroups;

    RNNKERNELS_INLINE explicit GridProduct(const Machine& machine) : m_(machine) {}

    // word(lane, pair, word): two numbers of the weight (geometry.h), or zeros.
    template <class Word>
    RNNKERNELS_INLINE void keep_weights(Word word_of) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            RNNKERNELS_IN_REGISTERS
            for (int pair = 0; pair < m_.shape().held(); ++pair) RNNKERNELS_IN_REGISTERS
            for (int word = 0; word < kPairWords; ++word)
                weight_[pair][word / 4][word % 4][lane] = word_of(lane, pair, word);
            for (int pair = m_.shape().held(); pair < m_.shape().pairs(); ++pair) RNNKERNELS_IN_REGISTERS
            for (int word = 0; word < kPairWords; ++word)
                m_.keep(lane, pair - m_.shape().held(), word, word_of(lane, pair, word));
        });
    }

    // The warp's sums of its part of k.
    RNNKERNELS_INLINE void multiply_part(Index tile, int buffer) {
        Own<float> sum[kGroups][2][kLaneValues];  // of even products, and of odd ones
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            RNNKERNELS_IN_REGISTERS
            for (int g = 0; g < m_.shape().groups; ++g) RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < 2 * kLaneValues; ++i) sum[g][i / kLaneValues][i % kLaneValues][lane] = 0.0F;
        });
        RNNKERNELS_IN_REGISTERS
        for (int pair = 0; pair < m_.shape().held(); ++pair) multiply_pair(sum, weight_[pair], tile, buffer, pair);
        for (int pair = m_.shape().held(); pair < m_.shape().pairs(); ++pair) {
            Own<unsigned> a[2][4];
            m_.kept(a, pair - m_.shape().held());
            multiply_pair(sum, a, tile, buffer, pair);
        }
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            RNNKERNELS_IN_REGISTERS
            for (int g = 0; g < m_.shape().groups; ++g) RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < kLaneValues; ++i)
                m_.put_sum(sum_at(m_.shape(), m_.warp, lane / 4 + i / 2 * 8, g * kGroup + 2 * (lane & 3) + i % 2),
                           sum[g][0][i][lane] + sum[g][1][i][lane]);
        });
    }
    // Behind the barrier, all of a sum: of a gate of a unit of the block, for a row of the tile.
    RNNKERNELS_INLINE float total(int unit, int gate, int row) const {
        float all = m_.sum(part_at(m_.shape(), unit, gate, 0, row));
        RNNKERNELS_IN_REGISTERS
        for (int part = 1; part < m_.shape().splits(); ++part)
            all += m_.sum(part_at(m_.shape(), unit, gate, part, row));
        return all;
    }

    RNNKERNELS_INLINE int hidden() const { return m_.shape().hidden; }
    RNNKERNELS_INLINE int first_unit() const { return m_.block * m_.shape().block_units(); }
    // use(value, unit, row of the tile) for what a lane finishes.
    template <class Use>
    RNNKERNELS_INLINE void each_value(int lane, Use use) const {
        RNNKERNELS_IN_REGISTERS
        for (int v = 0; v < m_.shape().values(); ++v) {
            const GridValue at = value_of(m_.shape(), m_.warp * 32 + lane, v);
            if (at.unit < m_.shape().block_units()) use(v, first_unit() + at.unit, at.row);
        }
    }

    const Machine& m_;

private:
    RNNKERNELS_INLINE void multiply_pair(Own<float> (&sum)[kGroups][2][kLaneValues], const Own<unsigned> (&a)[2][4],
                                         Index tile, int buffer, int pair) {
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().groups; ++g) {
            Own<unsigned> b[4];
            m_.load(b, tile, buffer, g, pair);
            m_.template multiply<Stored>(sum[g][0], a[0], b[0], b[1]);
            m_.template multiply<Stored>(sum[g][1], a[1], b[2], b[3]);
        }
    }

    Own<unsigned> weight_[kHeld][2][4];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
