// Where everything is in a resident kernel (warp.h): which rows of the weight a warp multiplies, which values a lane
// finishes, where its h goes in every block's memory, how many bytes a block waits for. Constants of one kernel, and no
// code of a GPU's: all of it is tested on the host.
//
// The words: a *cluster* of blocks keeps weight_hh once, in registers, and carries `groups` groups of eight rows of the
// batch through all steps. A warp has one or two *tiles* of 16 rows of the weight, which it multiplies with the group's
// h as mma.m16n8k16 does: A is the weight, the batch is the N side. A unit's gates stand in the same tile (or in its
// two tiles), so that after one exchange between neighbours a lane has all gates of its units, for one row.
#pragma once

#include "../standard.h"

#include "../../math/target.h"

// Before a loop over values of a lane, which are registers only where every index is a constant. On the host they are
// not.
#if defined(__CUDACC__)
#define RNNKERNELS_IN_REGISTERS RNNKERNELS_PRAGMA(unroll)
#else
#define RNNKERNELS_IN_REGISTERS
#endif

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kGroup = 8;       // rows of the batch: the N of a product
inline constexpr int kTileRows = 16;   // M
inline constexpr int kTileDepth = 16;  // K
inline constexpr int kLaneValues = 4;  // of a tile's product, for each lane

struct Resident {
    int gates;   // that products of h, and of the gated state, feed
    int hidden;  // H
    int warps;   // of a block
    int blocks;  // of a cluster
    int groups;  // of a cluster

    // Gates of a unit in its tiles, those that the cell does not have included.
    RNNKERNELS_DEVICE constexpr int slots() const { return gates > 4 ? 8 : gates > 2 ? 4 : gates; }
    RNNKERNELS_DEVICE constexpr int tiles() const { return slots() > 4 ? 2 : 1; }
    RNNKERNELS_DEVICE constexpr int lane_units() const { return slots() > 4 ? 1 : 4 / slots(); }
    RNNKERNELS_DEVICE constexpr int warp_units() const { return 4 * lane_units(); }
    RNNKERNELS_DEVICE constexpr int block_units() const { return warps * warp_units(); }
    // Units of the cluster: those from H on are none, with weights of 0.
    RNNKERNELS_DEVICE constexpr int units() const { return blocks * block_units(); }
    // Tiles along k, an even number.
    RNNKERNELS_DEVICE constexpr int depth() const { return (hidden + 2 * kTileDepth - 1) / (2 * kTileDepth) * 2; }

    // The h that a block reads: two buffers, each (8 groups, row()) numbers of two bytes. A row's last eight numbers
    // are never used: with them eight rows lie in different banks.
    RNNKERNELS_DEVICE constexpr int row() const {
        const int read = depth() * kTileDepth, written = units();
        return (read > written ? read : written) + 8;
    }
    RNNKERNELS_DEVICE constexpr int buffer() const { return groups * kGroup * row(); }
    // What comes to each block in a step: h of all units and rows.
    RNNKERNELS_DEVICE constexpr int bytes() const { return units() * groups * kGroup * 2; }
    // Registers of a lane for weights.
    RNNKERNELS_DEVICE constexpr int weights() const { return tiles() * depth() * 4; }
    // Eight bytes of h, those of four units, are known to so many lanes: each sends them to some of the blocks.
    RNNKERNELS_DEVICE constexpr int sharers() const { return slots() > 4 ? 4 : slots(); }

    friend constexpr bool operator==(const Resident&, const Resident&) = default;
};

// A row of a tile: which gate (kMaxSlots and more: none) of which unit of the warp.
struct TileRow {
    int gate, unit;
};
RNNKERNELS_DEVICE constexpr TileRow tile_row(const Resident& of, int tile, int row) {
    const int lane_unit = (row & 7) / 2, value = (row & 1) + row / 8 * 2;
    if (of.slots() >= 4) return {4 * tile + value, lane_unit};
    return {value % of.slots(), lane_unit * of.lane_units() + value / of.slots()};
}

// What a lane finishes: its first unit of the warp, and its row of each group.
RNNKERNELS_DEVICE constexpr int first_unit(const Resident& of, int lane) { return lane / 8 * of.lane_units(); }
RNNKERNELS_DEVICE constexpr int group_row(int lane) { return 2 * (lane & 3) + (lane >> 2 & 1); }

// A lane's registers of a tile's weights hold two numbers each: of this row of the tile, from this k on.
RNNKERNELS_DEVICE constexpr int fragment_row(int lane, int part) { return lane / 4 + 8 * (part & 1); }
RNNKERNELS_DEVICE constexpr int fragment_k(int lane, int part) { return 2 * (lane & 3) + 8 * (part >> 1); }

// Of a tile's product a lane gets values 0 and 1 of one row, 2 and 3 of the row eight further, for two rows of the
// group side by side. Its own row of the group is one of them; the other is its neighbour's, four lanes away, which has
// the other gates of the same units. So each gives away two values and has four of one row.
constexpr int kNeighbour = 4;
RNNKERNELS_DEVICE constexpr int own_side(int lane) { return lane >> 2 & 1; }

// The eight bytes that a lane sends: h of four units of its row, from this unit of the warp on. Lane `first_peer` of
// the sharers sends to block first_peer, and to every sharers()-th behind it.
RNNKERNELS_DEVICE constexpr int chunk_unit(const Resident& of, int lane) { return lane / 8 / of.sharers() * 4; }
RNNKERNELS_DEVICE constexpr int first_peer(const Resident& of, int lane) { return lane / 8 % of.sharers(); }

// Whether a warp waits before it reads exchange t: the first lies in the buffer from the beginning.
RNNKERNELS_DEVICE constexpr bool waits_for(long long t) { return t > 0; }
// The number of the phase that a block's buffer is in when exchange t > 0 reads it, as its barrier counts: even or odd.
RNNKERNELS_DEVICE constexpr unsigned parity_of(long long t) { return static_cast<unsigned>((t - 1) / 2 & 1); }

inline constexpr int kMostGates = 8;      // of a unit
inline constexpr int kMostWeights = 128;  // registers of a lane: with the rest they stay below 255
inline constexpr int kMostCluster = 16;   // blocks; more than 8 need leave of the card
inline constexpr int kBlockWarps = 8;
inline constexpr int kMostGroups = 4;

// The gates of a cell's table that stand in tiles.
template <class Table>
constexpr int tile_gates(const Table& table) {
    return table.hidden.count + table.gated.count;
}

// How a layer is divided: `fitting` clusters are there at once for each number of blocks. No blocks: it does not fit.
constexpr Resident divide(int gates, long long hidden, long long batch, int processors) {
    Resident of{gates, static_cast<int>(hidden), kBlockWarps, 0, 1};
    if (gates < 1 || gates > kMostGates || hidden < 1 || hidden > 16 * kTileDepth * kMostCluster) return of;
    const int units = of.warps * of.warp_units();
    const int blocks = static_cast<int>((hidden + units - 1) / units);
    if (blocks > kMostCluster || of.weights() > kMostWeights) return of;
    of.blocks = blocks;
    const long long fitting = processors > blocks ? processors / blocks : 1;
    long long groups = ((batch + kGroup - 1) / kGroup + fitting - 1) / fitting;
    if (groups > kMostGroups) groups = kMostGroups;
    // The values of each group are registers, beside the weights.
    while (groups > 1 && of.weights() + 16 * of.tiles() * groups > 176) --groups;
    of.groups = groups > 1 ? static_cast<int>(groups) : 1;
    return of;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
