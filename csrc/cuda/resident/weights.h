// A warp's weights in a resident kernel, and what they are multiplied with: its rows of weight_hh, and of weight_gg
// where vectors that are fed back have that, in registers and in spare places (geometry.h); a step's products by tiles
// of the machine's or, of float32 in full, by multiply-adds (full_product.h).
//
// Not here: what a machine can do (warp.h); what is made of the sums (warp.h, two_products_warp.h).
#pragma once

#include "full_product.h"
#include "maths.h"
#include "operands.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Stored, class Machine>
class WarpWeights {
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    static constexpr int kTiles = Machine::kTiles, kDepth = Machine::kDepth, kGroups = Machine::kGroups;

public:
    RNNKERNELS_INLINE WarpWeights(const Machine& machine, const ResidentCall& call) : m_(machine), call_(call) {}

    // A lane's registers and its spare places.
    RNNKERNELS_INLINE void load(int lane) {
        if constexpr (is_half<Stored>)
            load_pairs(lane);
        else
            load_numbers(lane);
    }

    // A part of a step's products, of a buffer; use(unit of the lane, gate, group, lane, sum) for each of its gates.
    template <class Use>
    RNNKERNELS_INLINE void multiply(int buffer, const ProductPart& part, Use use) const {
        if constexpr (is_full<Stored>) return multiply_in_full(buffer, part, use);
        Own<float> sum[kTiles][kGroups][2][kLaneValues];  // of even tiles along k, and of odd ones
        const int held = m_.shape().held_of(part.first_tile), depth = m_.shape().depth_of(part.first_tile);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_tile(part, [&](int tile, int g) RNNKERNELS_INLINED {
                RNNKERNELS_IN_REGISTERS
                for (int i = 0; i < 2 * kLaneValues; ++i) sum[tile][g][i / kLaneValues][i % kLaneValues][lane] = 0.0F;
            });
        });
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < held; k += 2) {
            RNNKERNELS_IN_REGISTERS
            for (int g = 0; g < m_.shape().groups; ++g) {
                Own<unsigned> b[4];
                m_.load(b, buffer, g, m_.shape().column(part.section, k));
                RNNKERNELS_IN_REGISTERS
                for (int tile = part.first_tile; tile < part.first_tile + part.tiles; ++tile) {
                    m_.template multiply<Stored>(sum[tile][g][0], weight_[tile][k], b[0], b[1]);
                    m_.template multiply<Stored>(sum[tile][g][1], weight_[tile][k + 1], b[2], b[3]);
                }
            }
        }
        if constexpr (!is_half<Stored>) {
            RNNKERNELS_IN_A_LOOP
            for (int k = held; k < depth; k += 2) {
                Own<unsigned> b[kGroups][4];
                RNNKERNELS_IN_REGISTERS
                for (int g = 0; g < m_.shape().groups; ++g)
                    m_.load(b[g], buffer, g, m_.shape().column(part.section, k));
                RNNKERNELS_IN_REGISTERS
                for (int i = 0; i < 2; ++i) RNNKERNELS_IN_REGISTERS
                for (int tile = part.first_tile; tile < part.first_tile + part.tiles; ++tile) {
                    Own<unsigned> weight[kLaneValues];
                    m_.get_spare(m_.shape().spare_of(tile, k + i), weight);
                    RNNKERNELS_IN_REGISTERS
                    for (int g = 0; g < m_.shape().groups; ++g)
                        m_.template multiply<Stored>(sum[tile][g][i], weight, b[g][2 * i], b[g][2 * i + 1]);
                }
            }
        }
        each_tile(part, [&](int tile, int g) RNNKERNELS_INLINED { gather(sum[tile][g], tile, g, part, use); });
    }

protected:
    RNNKERNELS_INLINE Index hidden() const { return m_.shape().hidden; }
    // The warp's first unit.
    RNNKERNELS_INLINE Index first_of_warp() const {
        return m_.block * m_.shape().block_units() + m_.warp * m_.shape().warp_units();
    }

    const Machine& m_;
    const ResidentCall& call_;

private:
    template <class Use>
    RNNKERNELS_INLINE void each_tile(const ProductPart& part, Use use) const {
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().groups; ++g) RNNKERNELS_IN_REGISTERS
        for (int tile = part.first_tile; tile < part.first_tile + part.tiles; ++tile) use(tile, g);
    }
    // A gate's row of its weight for a unit, of the length-th vector that it multiplies.
    RNNKERNELS_INLINE Index place_of(int gate, Index unit, int length) const {
        const Index row = call_.gate_row[gate] * hidden() + unit;
        return (is_apart(gate) ? row * m_.shape().vectors + length : row) * hidden();
    }
    RNNKERNELS_INLINE bool is_apart(int gate) const { return m_.shape().apart() && gate >= m_.shape().first_fed(); }
    RNNKERNELS_INLINE const std::uint16_t* weight_of(int gate) const {
        return is_apart(gate) ? call_.fed_weight : call_.weight;
    }
    // Of the tile-th's k-th tile along k: which vector of several, and the k of one.
    RNNKERNELS_INLINE int length_of(int tile, int k) const {
        return m_.shape().length(tile) > 1 ? k / m_.shape().depth() : 0;
    }
    RNNKERNELS_INLINE int within(int tile, int k) const {
        return m_.shape().length(tile) > 1 ? k % m_.shape().depth() : k;
    }

    RNNKERNELS_INLINE unsigned number_of_weight(int lane, int tile, int k, int part) const {
        const WeightPlace place = weight_place(m_.shape(), lane, within(tile, k), part);
        const TileRow at = tile_row(m_.shape(), tile, place.row);
        const Index unit = first_of_warp() + at.unit;
        if (at.gate >= m_.shape().gates || unit >= hidden() || place.k >= hidden()) return 0;
        return Stored::weight(weight_of(at.gate), place_of(at.gate, unit, length_of(tile, k)) + place.k);
    }
    RNNKERNELS_INLINE void load_numbers(int lane) {
        RNNKERNELS_IN_REGISTERS
        for (int tile = 0; tile < m_.shape().tiles(); ++tile) {
            RNNKERNELS_IN_REGISTERS
            for (int k = 0; k < m_.shape().held_of(tile); ++k) RNNKERNELS_IN_REGISTERS
            for (int part = 0; part < kLaneValues; ++part)
                weight_[tile][k][part][lane] = number_of_weight(lane, tile, k, part);
            RNNKERNELS_IN_A_LOOP
            for (int k = m_.shape().held_of(tile); k < m_.shape().depth_of(tile); ++k) {
                unsigned words[kLaneValues];
                RNNKERNELS_IN_REGISTERS
                for (int part = 0; part < kLaneValues; ++part) words[part] = number_of_weight(lane, tile, k, part);
                m_.put_spare(lane, m_.shape().spare_of(tile, k), words);
            }
        }
    }
    RNNKERNELS_INLINE void load_pairs(int lane) {
        RNNKERNELS_IN_REGISTERS
        for (int tile = 0; tile < m_.shape().tiles(); ++tile) RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < m_.shape().depth_of(tile); ++k) RNNKERNELS_IN_REGISTERS
        for (int part = 0; part < kLaneValues; ++part) {
            const TileRow at = tile_row(m_.shape(), tile, fragment_row(lane, part));
            const int from = within(tile, k) * kTileDepth + fragment_k(lane, part);
            const Index unit = first_of_warp() + at.unit;
            unsigned pair = 0;
            if (at.gate < m_.shape().gates && unit < hidden()) {
                const std::uint16_t* const weight =
                    weight_of(at.gate) + place_of(at.gate, unit, length_of(tile, k)) + from;
                // Both at once, where rows are whole words: what is loaded in halves needs more registers than there
                // are.
                if (hidden() % 2 == 0) {
                    if (from < hidden()) pair = load_pair(weight);
                } else {
                    if (from < hidden()) pair = weight[0];
                    if (from + 1 < hidden()) pair |= static_cast<unsigned>(weight[1]) << 16;
                }
            }
            weight_[tile][k][part][lane] = pair;
        }
    }

    // By multiply-adds each lane has the values of its row at once. Values that no gate of the part is are left out.
    template <class Use>
    RNNKERNELS_INLINE void multiply_in_full(int buffer, const ProductPart& part, Use use) const {
        const FullProduct<Machine> product{m_};
        typename FullProduct<Machine>::Sums sum[kTiles];
        const int held = m_.shape().held_of(part.first_tile), depth = m_.shape().depth_of(part.first_tile);
        each_tile_in_full(part, [&](int tile, auto) RNNKERNELS_INLINED { product.clear(sum[tile]); });
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < held; k += 4)
            each_tile_in_full(part, [&](int tile, auto wanted) RNNKERNELS_INLINED {
                product.add(sum[tile], &weight_[tile][k], buffer, m_.shape().column(part.section, k), wanted);
            });
        RNNKERNELS_IN_A_LOOP
        for (int k = held; k < depth; k += 4)
            each_tile_in_full(part, [&](int tile, auto wanted) RNNKERNELS_INLINED {
                Own<unsigned> weight[4][kLaneValues];
                RNNKERNELS_IN_REGISTERS
                for (int i = 0; i < 4; ++i) m_.get_spare(m_.shape().spare_of(tile, k + i), weight[i]);
                product.add(sum[tile], &weight[0], buffer, m_.shape().column(part.section, k), wanted);
            });
        each_tile_in_full(part, [&](int tile, auto wanted) RNNKERNELS_INLINED {
            product.reduce(sum[tile], wanted);
            m_.lanes([&](int lane) RNNKERNELS_INLINED {
                RNNKERNELS_IN_REGISTERS
                for (int value = 0; value < kLaneValues; ++value)
                    put(tile, value, 0, lane, sum[tile][0][value][lane], part, use);
            });
        });
    }
    // use(tile, wanted): wanted(value) says whether a value is a gate of the part.
    template <class Use>
    RNNKERNELS_INLINE void each_tile_in_full(const ProductPart& part, Use use) const {
        RNNKERNELS_IN_REGISTERS
        for (int tile = part.first_tile; tile < part.first_tile + part.tiles; ++tile)
            use(tile, [&, tile](int value) RNNKERNELS_INLINED { return wanted(tile, value, part); });
    }
    RNNKERNELS_INLINE bool wanted(int tile, int value, const ProductPart& part) const {
        const int gate = m_.shape().gate_of(tile, value);
        return gate >= part.first_gate && gate < part.first_gate + part.gates;
    }

    RNNKERNELS_INLINE static unsigned load_pair(const std::uint16_t* at) {
#if defined(__CUDACC__)
        return *reinterpret_cast<const unsigned*>(at);
#else
        return at[0] | static_cast<unsigned>(at[1]) << 16;
#endif
    }

    // A tile's values become gates of the lane's units.
    template <class Use>
    RNNKERNELS_INLINE void gather(const Own<float> (&sum)[2][kLaneValues], int tile, int g, const ProductPart& part,
                                  Use use) const {
        Own<float> given[2];
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            const bool side = own_side(lane);
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < 2; ++i)
                given[i][lane] = side ? sum[0][2 * i][lane] + sum[1][2 * i][lane]
                                      : sum[0][2 * i + 1][lane] + sum[1][2 * i + 1][lane];
        });
        m_.shuffle(given[0], kNeighbour);
        m_.shuffle(given[1], kNeighbour);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            const bool side = own_side(lane);
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < 2; ++i) {
                const float kept = side ? sum[0][2 * i + 1][lane] + sum[1][2 * i + 1][lane]
                                        : sum[0][2 * i][lane] + sum[1][2 * i][lane];
                put(tile, 2 * i, g, lane, side ? given[i][lane] : kept, part, use);
                put(tile, 2 * i + 1, g, lane, side ? kept : given[i][lane], part, use);
            }
        });
    }
    template <class Use>
    RNNKERNELS_INLINE void put(int tile, int value, int g, int lane, float sum, const ProductPart& part,
                               Use use) const {
        const int slots = m_.shape().slots();
        if (wanted(tile, value, part))
            use(slots < 4 ? value / slots : 0, m_.shape().gate_of(tile, value), g, lane, sum);
    }

    Own<unsigned> weight_[kTiles][kDepth][kLaneValues];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
