// Where everything is in a resident backward (backward_warp.h). Constants of one kernel, and no code of a GPU's: all of
// it is tested on the host. Units and rows are divided over a cluster's blocks as in a forward (geometry.h).
//
// A block multiplies the gate gradients of its own units with their rows of weight_hh, transposed: the *part* of dL/dh
// that comes through them, of all units of the cluster. Each part goes to the block that has the unit, which adds what
// it gets of all blocks. The other way round, gate gradients to all and sums of the own units only, a block would get
// of halves 16 G bytes for each 32 that it gets so: as much at two gates, and more beyond; of float32 twice that.
//
// A tile of a warp is 16 units of the cluster (M), N the group's rows, K the block's gate gradients. A warp has some
// units of every block, so that what a block waits for says that all warps of all blocks have multiplied.
//
// Of a cell with vectors that are fed back (geometry.h) parts are of several *sections*: of dL/dh, by the gates of h,
// and of each vector's gradient, by the fed gates. A fed gate that multiplies all vectors has weights for each of them,
// and its gate gradients are multiplied once for each.
//
// float32 is multiplied as in a forward: in TF32, or in full by a lane's own multiply-adds. Weights that registers do
// not hold are spare ones, in the block's shared memory.
#pragma once

#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Some of a tile's weights along k, in tiles; the tiles of gate gradients that they multiply are numbered `skipped`
// less; where those end whose weights are registers, and spare ones begin; and whose part the product is: 0: of h or of
// the gated state, from 1 on of a vector.
struct DepthRange {
    int first, last;
    int section = 0, skipped = 0;

    RNNKERNELS_DEVICE constexpr int held(int all) const { return last < all ? last : all; }
    RNNKERNELS_DEVICE constexpr int spare(int all) const { return first > all ? first : all; }
};

struct ResidentBackward {
    Resident of;

    // Of a block's gate gradients: gate by gate, each of the block's units.
    RNNKERNELS_DEVICE constexpr int numbers() const { return of.gates * of.block_units(); }
    // Tiles along k: whole multiples of what is multiplied at once.
    RNNKERNELS_DEVICE constexpr int depth() const { return numbers() / of.tile_depth(); }
    // Those before the fed gates', which come last.
    RNNKERNELS_DEVICE constexpr int first_fed() const { return of.first_fed() * of.block_units() / of.tile_depth(); }
    // Tiles along k of a tile's weights: those of fed gates once for each vector.
    RNNKERNELS_DEVICE constexpr int weight_depth() const {
        return first_fed() + (of.vectors > 1 ? of.vectors : 1) * (depth() - first_fed());
    }
    // The weights of a vector's part.
    RNNKERNELS_DEVICE constexpr DepthRange fed_depth(int vector) const {
        const int fed = depth() - first_fed(), first = first_fed() + vector * fed;
        return {first, first + fed, 1 + vector, vector * fed};
    }
    // Which vector's weights one is among: of those before the fed gates' the first.
    RNNKERNELS_DEVICE constexpr int vector_of(int k) const {
        return k < depth() ? 0 : (k - first_fed()) / (depth() - first_fed());
    }
    // Which tile of gate gradients it multiplies.
    RNNKERNELS_DEVICE constexpr int gradients_of(int k) const { return k - fed_depth(vector_of(k)).skipped; }
    // Tiles of a warp.
    RNNKERNELS_DEVICE constexpr int tiles() const { return (of.blocks * of.warp_units() + kTileRows - 1) / kTileRows; }
    // Tiles along k whose weights are registers, of a tile; of halves all. The first tiles may have more than others.
    RNNKERNELS_DEVICE constexpr int held(int tile = 0) const {
        if (of.operands == Operands::halves || tiles() == 0) return weight_depth();
        const int steps = kMostWeights / (kLaneValues * of.depth_step());
        const int most = (steps / tiles() + (tile < steps % tiles() ? 1 : 0)) * of.depth_step();
        return weight_depth() < most ? weight_depth() : most;
    }
    // Of all tiles before one.
    RNNKERNELS_DEVICE constexpr int held_before(int tile) const {
        int all = 0;
        for (int i = 0; i < tile; ++i) all += held(i);
        return all;
    }
    // Registers of a lane for weights.
    RNNKERNELS_DEVICE constexpr int weights() const { return held_before(tiles()) * kLaneValues; }
    // Spare weights of a lane, in fours of 16 bytes: those of a tile along k from the held ones on follow each other.
    RNNKERNELS_DEVICE constexpr int spare() const { return tiles() * weight_depth() - held_before(tiles()); }
    RNNKERNELS_DEVICE constexpr int spare_of(int tile, int k) const {
        return tile * weight_depth() - held_before(tile) + k - held(tile);
    }

    // Gate gradients of a block: two buffers, each (cluster_rows(), row()) numbers. A row's last 16 bytes are never
    // used: with them eight rows lie in different banks.
    RNNKERNELS_DEVICE constexpr int row() const { return numbers() + 16 / of.number_bytes(); }
    RNNKERNELS_DEVICE constexpr int buffer() const { return of.cluster_rows() * row(); }
    // Parts that come to a block: two buffers of sections, each (blocks, groups, 4 pairs of rows, units of the block,
    // 2) float32; in full (blocks, rows, units of the block).
    RNNKERNELS_DEVICE constexpr int parts() const { return of.blocks * of.cluster_rows() * of.block_units(); }
    RNNKERNELS_DEVICE constexpr int sections() const { return 1 + of.vectors; }
    // What comes in a step of one section; of all of them, which is as much as a buffer holds.
    RNNKERNELS_DEVICE constexpr int bytes() const { return parts() * 4; }
    RNNKERNELS_DEVICE constexpr int buffer_bytes() const { return sections() * bytes(); }

    // A block's shared memory: barriers, gate gradients, parts, spare weights. Each begins at a multiple of 16 bytes.
    RNNKERNELS_DEVICE constexpr int gradients_begin() const { return 32; }
    RNNKERNELS_DEVICE constexpr int parts_begin() const { return gradients_begin() + 2 * buffer() * of.number_bytes(); }
    RNNKERNELS_DEVICE constexpr int spare_begins() const { return parts_begin() + 2 * buffer_bytes(); }
    RNNKERNELS_DEVICE constexpr int shared_bytes() const {
        return spare_begins() + spare() * of.warps * kWarpLanes * 16;
    }

    friend constexpr bool operator==(const ResidentBackward&, const ResidentBackward&) = default;
};

// Barriers of a block: of parts in either buffer, and of its own gate gradients.
inline constexpr unsigned kGradientsBarrier = 2;

// What full_product.h asks of a shape.
RNNKERNELS_DEVICE constexpr const Resident& resident_of(const ResidentBackward& shape) { return shape.of; }

// What a row of a warp's tile is: a unit of a block. Blocks from the cluster's number on are none. In full a lane's
// four values of a row of the group (weight_place) are units side by side.
struct PartUnit {
    int block, unit;
};
RNNKERNELS_DEVICE constexpr PartUnit part_unit(const ResidentBackward& shape, int warp, int tile, int row) {
    const int units = shape.of.warp_units();
    const int at = shape.of.operands == Operands::full ? (row & 7) / 2 * 4 + row / 8 * 2 + (row & 1) : row;
    return {tile * (kTileRows / units) + at / units, warp * units + at % units};
}
// Which gate of which unit of the block the k-th number is.
struct GradientPlace {
    int gate, unit;
};
RNNKERNELS_DEVICE constexpr GradientPlace gradient_place(const ResidentBackward& shape, int k) {
    return {k / shape.of.block_units(), k % shape.of.block_units()};
}
RNNKERNELS_DEVICE constexpr int gradient_column(const ResidentBackward& shape, int gate, int unit) {
    return gate * shape.of.block_units() + unit;
}

// A product's values 0 and 1 are a unit's for two rows of the group side by side: a message of eight bytes. So are 2
// and 3 of a row of the tile that is eight further.
RNNKERNELS_DEVICE constexpr int part_row(int lane, int half) { return lane / 4 + 8 * half; }
RNNKERNELS_DEVICE constexpr int part_pair(int lane) { return lane & 3; }
// Where it stands in the other's buffer, in numbers.
RNNKERNELS_DEVICE constexpr int part_place(const ResidentBackward& shape, int sender, int group, int pair, int unit) {
    return (((sender * shape.of.groups + group) * (kGroup / 2) + pair) * shape.of.block_units() + unit) * 2;
}

// The same in full, where a lane has four units of its row: a message of sixteen bytes.
RNNKERNELS_DEVICE constexpr int full_part_place(const ResidentBackward& shape, int sender, int row, int unit) {
    return (sender * shape.of.rows + row) * shape.of.block_units() + unit;
}

// What a lane finishes: of a pair of rows two warps have half of the units each. Lanes side by side have numbers side
// by side, of the parts as of the caller's rows. In full a warp has a row, those from the rows' number on none.
RNNKERNELS_DEVICE constexpr int finished_pair(int warp) { return warp / 2; }
RNNKERNELS_DEVICE constexpr int finished_number(const ResidentBackward& shape, int warp, int lane, int s) {
    return ((warp & 1) * shape.of.lane_units() + s) * kWarpLanes + lane;
}
RNNKERNELS_DEVICE constexpr int finished_unit(const ResidentBackward& shape, int warp, int lane, int s) {
    if (shape.of.operands == Operands::full) return s * kWarpLanes + lane;
    return finished_number(shape, warp, lane, s) / 2;
}
RNNKERNELS_DEVICE constexpr int finished_row(int warp, int lane) { return 2 * finished_pair(warp) + (lane & 1); }
RNNKERNELS_DEVICE constexpr int finished_row(const ResidentBackward& shape, int warp, int lane) {
    return shape.of.operands == Operands::full ? warp : finished_row(warp, lane);
}
RNNKERNELS_DEVICE constexpr bool finishes(const ResidentBackward& shape, int warp) {
    return shape.of.operands != Operands::full || warp < shape.of.rows;
}
// Where a part of it stands.
RNNKERNELS_DEVICE constexpr int finished_place(const ResidentBackward& shape, int sender, int group, int warp, int lane,
                                               int s) {
    if (shape.of.operands == Operands::full)
        return full_part_place(shape, sender, warp, finished_unit(shape, warp, lane, s));
    return part_place(shape, sender, group, finished_pair(warp), 0) + finished_number(shape, warp, lane, s);
}

// How a layer is divided; no blocks: it does not fit. In full all rows have to be there at once, as in a forward.
constexpr ResidentBackward divide_backward(TileGates gates, long long hidden, long long batch, const ClusterRoom& room,
                                           int shared = most_shared(90), Operands operands = Operands::halves,
                                           int masks = 0) {
    ResidentBackward shape{divide(gates, hidden, batch, room, operands, shared, masks)};
    if (shape.of.blocks == 0) return shape;
    // What a lane keeps of each group's units is registers, beside the weights: some ten of a unit. More of them than
    // this went to memory in a step for sm_120 (a vanilla RNN of 511 units, two groups). TF32 has the sums of all tiles
    // of a group beside them.
    const int of_units = 8 + (10 + shape.of.vectors) * shape.of.lane_units();
    const int of_group = of_units < 32 ? 32 : of_units;
    const int most = operands == Operands::tf32 ? 208 - 2 * kLaneValues * shape.tiles() : 192;
    while (shape.of.groups > 1 &&
           (shape.weights() + of_group * shape.of.groups > most || shape.shared_bytes() > shared))
        --shape.of.groups;
    // In full for as many rows as there may be: else a row's sums would depend on how many there are.
    ResidentBackward most_rows = shape;
    if (operands == Operands::full) most_rows.of.rows = kGroup;
    if (shape.weights() > kMostWeights || most_rows.shared_bytes() > shared) shape.of.blocks = 0;
    return shape;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
