// What a warp of a grid kernel does in both directions, for each product: it holds its rows of the weight, multiplies
// them with its part of k, and knows which values its lanes finish. What these are, and what blocks wait for, is
// warp.h's, two_products_warp.h's and backward_warp.h's; `Machine` is described in warp.h.
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
    static constexpr int kHeld = Machine::kHeld > 0 ? Machine::kHeld : 1, kTiles = Machine::kTiles,
                         kGroups = Machine::kGroups;

    RNNKERNELS_INLINE explicit GridProduct(const Machine& machine) : m_(machine) {}

    // word(lane, pair, word): two numbers of the weight (geometry.h), or zeros.
    template <class Word>
    RNNKERNELS_INLINE void keep_weights(Word word_of) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            for (int pair = 0; pair < m_.shape().kept(); ++pair) RNNKERNELS_IN_REGISTERS
            for (int word = 0; word < m_.shape().words(); ++word) m_.keep(lane, pair, word, word_of(lane, pair, word));
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < m_.shape().held(); ++i) RNNKERNELS_IN_REGISTERS
            for (int word = 0; word < m_.shape().words(); ++word)
                weight_[i][word / kPairWords][word / 4 & 1][word % 4][lane] =
                    word_of(lane, m_.shape().kept() + i, word);
        });
    }

    // The warp's sums of its part of k.
    RNNKERNELS_INLINE void multiply_part(Index tile, int buffer) {
        Own<float> sum[kGroups][kTiles][2][kLaneValues];  // of even products, and of odd ones
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_sum([&](int g, int of_warp, int i)
                         RNNKERNELS_INLINED { sum[g][of_warp][0][i][lane] = sum[g][of_warp][1][i][lane] = 0.0F; });
        });
        // Weights of the first pairs are read from shared memory while the last pairs' numbers are on their way.
        for (int pair = 0; pair < m_.shape().kept(); ++pair) {
            Own<unsigned> b[kGroups][4];
            RNNKERNELS_IN_REGISTERS
            for (int g = 0; g < m_.shape().groups; ++g) m_.load(b[g], tile, buffer, g, pair);
            RNNKERNELS_IN_REGISTERS
            for (int of_warp = 0; of_warp < m_.shape().warp_tiles; ++of_warp) {
                Own<unsigned> a[2][4];
                m_.kept(a, pair, of_warp);
                RNNKERNELS_IN_REGISTERS
                for (int g = 0; g < m_.shape().groups; ++g) multiply(sum[g][of_warp], a, b[g]);
            }
        }
        RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < m_.shape().held(); ++i) RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().groups; ++g) {
            Own<unsigned> b[4];
            m_.load(b, tile, buffer, g, m_.shape().kept() + i);
            RNNKERNELS_IN_REGISTERS
            for (int of_warp = 0; of_warp < m_.shape().warp_tiles; ++of_warp)
                multiply(sum[g][of_warp], weight_[i][of_warp], b);
        }
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_sum([&](int g, int of_warp, int i) RNNKERNELS_INLINED {
                const int row = of_warp * kTileRows + lane / 4 + i / 2 * 8, of_batch = g * kGroup + 2 * (lane & 3);
                m_.put_sum(sum_at(m_.shape(), m_.warp, row, of_batch + i % 2),
                           sum[g][of_warp][0][i][lane] + sum[g][of_warp][1][i][lane]);
            });
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
    // use(group, tile of the warp, value of the lane)
    template <class Use>
    RNNKERNELS_INLINE void each_sum(Use use) const {
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().groups; ++g) RNNKERNELS_IN_REGISTERS
        for (int of_warp = 0; of_warp < m_.shape().warp_tiles; ++of_warp) RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < kLaneValues; ++i) use(g, of_warp, i);
    }
    RNNKERNELS_INLINE void multiply(Own<float> (&sum)[2][kLaneValues], const Own<unsigned> (&a)[2][4],
                                    const Own<unsigned> (&b)[4]) const {
        m_.template multiply<Stored>(sum[0], a[0], b[0], b[1]);
        m_.template multiply<Stored>(sum[1], a[1], b[2], b[3]);
    }

    Own<unsigned> weight_[kHeld][kTiles][2][4];
};

// A step's second product by itself; grid_weight() is one for each direction's calls (warp.h, backward_warp.h).
template <class Stored, class Machine>
class GatedProduct : public GridProduct<Stored, Machine> {
    using Base = GridProduct<Stored, Machine>;

public:
    // `first_gate`: of the call's gates.
    template <class Call>
    RNNKERNELS_INLINE GatedProduct(const Machine& machine, const Call& call, int first_gate) : Base(machine) {
        Base::keep_weights([&](int lane, int pair, int word) RNNKERNELS_INLINED {
            return grid_weight(Base::m_, call, first_gate, lane, pair, word);
        });
    }
    using Base::multiply_part, Base::total;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
