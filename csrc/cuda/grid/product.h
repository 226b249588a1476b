// A product of a warp of a grid kernel: its rows of weight_hh, which stay where they are for all steps, and their sums
// with what the blocks exchange. `Machine` is warp.h's. Not here: who waits for what (warp.h).
#pragma once

#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Stored, class Machine>
class GridProduct {
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    static constexpr int kHeld = Machine::kHeld > 0 ? Machine::kHeld : 1, kGroups = Machine::kGroups;

public:
    // `gate_row`: of the product's gates, of weight_hh in units of H.
    RNNKERNELS_INLINE GridProduct(const Machine& machine, const std::uint16_t* weight, const int* gate_row)
        : m_(machine) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            RNNKERNELS_IN_REGISTERS
            for (int pair = 0; pair < m_.shape().held(); ++pair) RNNKERNELS_IN_REGISTERS
            for (int word = 0; word < kPairWords; ++word)
                weight_[pair][word / 4][word % 4][lane] = word_of(weight, gate_row, lane, pair, word);
            for (int pair = m_.shape().held(); pair < m_.shape().pairs(); ++pair) RNNKERNELS_IN_REGISTERS
            for (int word = 0; word < kPairWords; ++word)
                m_.keep(lane, pair - m_.shape().held(), word, word_of(weight, gate_row, lane, pair, word));
        });
    }

    // The warp's part of k: its sums are put where who finishes a value reads them.
    RNNKERNELS_INLINE void multiply(Index tile, int buffer) const {
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

    // Behind the barrier: of all parts of k, for a gate of a block's unit and a row of the tile.
    RNNKERNELS_INLINE float total(int unit, int gate, int row) const {
        float total = m_.sum(part_at(m_.shape(), unit, gate, 0, row));
        RNNKERNELS_IN_REGISTERS
        for (int part = 1; part < m_.shape().splits(); ++part)
            total += m_.sum(part_at(m_.shape(), unit, gate, part, row));
        return total;
    }

private:
    // Two numbers of weight_hh, or zeros.
    RNNKERNELS_INLINE unsigned word_of(const std::uint16_t* weight, const int* gate_row, int lane, int pair,
                                       int word) const {
        const int row = row_tile(m_.shape(), m_.warp) * kTileRows + word_row(lane, word), hidden = m_.shape().hidden;
        const int in_block = row / m_.shape().gates, gate = row % m_.shape().gates;
        const int unit = m_.block * m_.shape().block_units() + in_block;
        const int k = word_k(m_.shape(), m_.warp, lane, pair, word);
        if (in_block >= m_.shape().block_units() || unit >= hidden || k >= hidden) return 0;
        const std::uint16_t* const from = weight + (static_cast<Index>(gate_row[gate]) * hidden + unit) * hidden + k;
        return from[0] | (k + 1 < hidden ? static_cast<unsigned>(from[1]) << 16 : 0U);
    }

    RNNKERNELS_INLINE void multiply_pair(Own<float> (&sum)[kGroups][2][kLaneValues], const Own<unsigned> (&a)[2][4],
                                         Index tile, int buffer, int pair) const {
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().groups; ++g) {
            Own<unsigned> b[4];
            m_.load(b, tile, buffer, g, pair);
            m_.template multiply<Stored>(sum[g][0], a[0], b[0], b[1]);
            m_.template multiply<Stored>(sum[g][1], a[1], b[2], b[3]);
        }
    }

    const Machine& m_;
    Own<unsigned> weight_[kHeld][2][4];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
