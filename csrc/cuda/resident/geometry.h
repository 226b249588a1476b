// Where everything is in a resident kernel (warp.h): which rows of the weight a warp multiplies, which values a lane
// finishes, where its h goes in every block's memory, how many bytes a block waits for. Constants of one kernel, and no
// code of a GPU's: all of it is tested on the host.
//
// The words: a *cluster* of blocks keeps weight_hh once, in registers, and carries `groups` groups of eight rows of the
// batch through all steps. A warp has one or two *tiles* of 16 rows of the weight, which it multiplies with the group's
// h as mma.m16n8k16 does: A is the weight, the batch is the N side. A unit's gates stand in the same tile (or in its
// two tiles), so that after one exchange between neighbours a lane has all gates of its units, for one row.
//
// A product's operand is h or, of some cells, a *vector* that is made of the states and fed back; vectors lie behind h
// in a row of the buffer. A gate multiplies one of them, by weights of H numbers, and the warp's tiles are multiplied
// with each for the gates that want it. Or the fed gates multiply all vectors (weight_gg): then they stand *apart*, in
// the second tile, whose weights are as many numbers long.
//
// float32 is multiplied as mma.m16n8k8 does it in TF32, or in full by a lane's own multiply-adds (full_product.h), for
// a few rows of the batch. Weights that registers do not hold lie in the block's shared memory: *spare* ones.
#pragma once

#include "../standard.h"

#include "../../math/target.h"
#include "clusters.h"

// Before a loop over values of a lane, which are registers only where every index is a constant. On the host they are
// not.
#if defined(__CUDACC__)
#define RNNKERNELS_IN_REGISTERS RNNKERNELS_PRAGMA(unroll)
#define RNNKERNELS_IN_A_LOOP RNNKERNELS_PRAGMA(unroll 1)  // where they are in memory
#else
#define RNNKERNELS_IN_REGISTERS
#define RNNKERNELS_IN_A_LOOP
#endif

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kGroup = 8;       // rows of the batch: the N of a product
inline constexpr int kTileRows = 16;   // M
inline constexpr int kTileDepth = 16;  // K
inline constexpr int kLaneValues = 4;  // of a tile's product, for each lane
inline constexpr int kWarpLanes = 32;

inline constexpr int kMostGates = 8;      // of a unit
inline constexpr int kMostWeights = 128;  // registers of a lane: with the rest they stay below 255
inline constexpr int kBlockWarps = 8;
inline constexpr int kMostGroups = 4;

// What is multiplied: bfloat16 or float16; float32 rounded to TF32; float32.
enum class Operands : int { halves, tf32, full };

// The gates of a unit, in the order of their sums: those of h, of the gated state, of what is fed back.
struct TileGates {
    int all;
    int vectors = 0;  // that are fed back
    int fed = 0;      // gates that multiply them

    constexpr TileGates(int gates) : all(gates) {}
    constexpr TileGates(int gates, int vectors, int fed) : all(gates), vectors(vectors), fed(fed) {}
};

// Of a step's products: what some tiles get of a section of the buffer, for the gates from the first on.
struct ProductPart {
    int first_tile, tiles;
    int section;
    int first_gate, gates;
};

struct Resident {
    int gates;   // that products of h, of the gated state, and of vectors feed
    int hidden;  // H
    int warps;   // of a block
    int blocks;  // of a cluster
    int groups;  // of a cluster
    Operands operands = Operands::halves;
    int rows = kGroup;  // of a group; in full 1, 2, 4 or 8
    int vectors = 0;    // that are fed back
    int fed = 0;        // the last gates, which multiply them
    int masks = 0;      // that the kernel makes (unit_masks.h)

    // Whether each fed gate multiplies all vectors.
    RNNKERNELS_DEVICE constexpr bool apart() const { return vectors > 1; }
    RNNKERNELS_DEVICE constexpr int first_fed() const { return gates - fed; }
    // Gates of a unit in its tiles, those that the cell does not have included.
    RNNKERNELS_DEVICE constexpr int slots() const { return apart() || gates > 4 ? 8 : gates > 2 ? 4 : gates; }
    RNNKERNELS_DEVICE constexpr int tiles() const { return slots() > 4 ? 2 : 1; }
    RNNKERNELS_DEVICE constexpr int lane_units() const { return slots() > 4 ? 1 : 4 / slots(); }
    RNNKERNELS_DEVICE constexpr int warp_units() const { return 4 * lane_units(); }
    RNNKERNELS_DEVICE constexpr int block_units() const { return warps * warp_units(); }
    // Units of the cluster: those from H on are none, with weights of 0.
    RNNKERNELS_DEVICE constexpr int units() const { return blocks * block_units(); }
    // Of a number that is multiplied.
    RNNKERNELS_DEVICE constexpr int number_bytes() const { return operands == Operands::halves ? 2 : 4; }
    RNNKERNELS_DEVICE constexpr int tile_depth() const { return operands == Operands::halves ? kTileDepth : 8; }
    // Vectors that a tile's weights are long, and those of all tiles.
    RNNKERNELS_DEVICE constexpr int length(int tile) const { return apart() && tile == 1 ? vectors : 1; }
    RNNKERNELS_DEVICE constexpr int lengths() const { return apart() ? 1 + vectors : tiles(); }
    // Tiles along k of a vector, whole multiples of what is multiplied at once: two, in full four.
    RNNKERNELS_DEVICE constexpr int depth_step() const { return operands == Operands::full ? 4 : 2; }
    RNNKERNELS_DEVICE constexpr int depth() const {
        const int numbers = depth_step() * tile_depth();
        return (hidden + numbers - 1) / numbers * depth_step();
    }

    // The h that a block reads: two buffers, each (cluster_rows(), row()) numbers: h, then the vectors, a section each.
    // A row's last 16 bytes are never used: with them eight rows lie in different banks.
    RNNKERNELS_DEVICE constexpr int section() const {
        const int read = depth() * tile_depth(), written = units();
        return read > written ? read : written;
    }
    RNNKERNELS_DEVICE constexpr int row() const { return (1 + vectors) * section() + 16 / number_bytes(); }
    // Where the k-th tile along k of a product begins whose first section this is.
    RNNKERNELS_DEVICE constexpr int column(int first_section, int k) const {
        if (vectors == 0) return k * tile_depth();
        return (first_section + k / depth()) * section() + k % depth() * tile_depth();
    }
    RNNKERNELS_DEVICE constexpr int cluster_rows() const { return groups * rows; }
    RNNKERNELS_DEVICE constexpr int buffer() const { return cluster_rows() * row(); }
    // What comes to each block in a step of a vector: h of all units and rows.
    RNNKERNELS_DEVICE constexpr int bytes() const { return units() * cluster_rows() * number_bytes(); }
    // Tiles along k of a vector whose weights are registers; of halves all.
    RNNKERNELS_DEVICE constexpr int held() const {
        const int most = kMostWeights / (kLaneValues * lengths()) / depth_step() * depth_step();
        return operands == Operands::halves || depth() < most ? depth() : most;
    }
    // The same of all that a tile's weights multiply.
    RNNKERNELS_DEVICE constexpr int depth_of(int tile) const { return length(tile) * depth(); }
    RNNKERNELS_DEVICE constexpr int held_of(int tile) const { return length(tile) * held(); }
    // Registers of a lane for weights.
    RNNKERNELS_DEVICE constexpr int weights() const { return lengths() * held() * kLaneValues; }
    // Spare weights of a lane, in fours of 16 bytes; and where those of a tile are, from held_of() on.
    RNNKERNELS_DEVICE constexpr int spare() const { return lengths() * (depth() - held()); }
    RNNKERNELS_DEVICE constexpr int spare_of(int tile, int k) const {
        return tile * (depth() - held()) + k - held_of(tile);
    }
    // A block's shared memory: barriers, two buffers of h, spare weights. Each begins at a multiple of 16 bytes.
    RNNKERNELS_DEVICE constexpr int spare_begins() const { return 16 + 2 * buffer() * number_bytes(); }
    RNNKERNELS_DEVICE constexpr int shared_bytes() const { return spare_begins() + spare() * warps * kWarpLanes * 16; }
    // Eight bytes of h, those of four units, are known to so many lanes: each sends them to some of the blocks.
    RNNKERNELS_DEVICE constexpr int sharers() const { return slots() > 4 ? 4 : slots(); }

    // Which gate a value of a tile is, of the lane's unit value / slots(); kMostGates and more: none.
    RNNKERNELS_DEVICE constexpr int gate_of(int tile, int value) const {
        if (slots() < 4) return value % slots();
        if (!apart()) return 4 * tile + value;
        if (tile == 1) return value < fed ? first_fed() + value : kMostGates;
        return value < first_fed() ? value : kMostGates;
    }
    // The parts of a product of h and vectors: one or, with vectors, two.
    RNNKERNELS_DEVICE constexpr int parts() const { return vectors > 0 ? 2 : 1; }
    RNNKERNELS_DEVICE constexpr ProductPart part(int which) const {
        if (apart()) return which == 0 ? ProductPart{0, 1, 0, 0, first_fed()} : ProductPart{1, 1, 1, first_fed(), fed};
        return which == 0 ? ProductPart{0, tiles(), 0, 0, first_fed()} : ProductPart{0, tiles(), 1, first_fed(), fed};
    }

    friend constexpr bool operator==(const Resident&, const Resident&) = default;
};

// What full_product.h asks of a shape.
RNNKERNELS_DEVICE constexpr const Resident& resident_of(const Resident& shape) { return shape; }

// A row of a tile: which gate (kMostGates and more: none) of which unit of the warp.
struct TileRow {
    int gate, unit;
};
RNNKERNELS_DEVICE constexpr TileRow tile_row(const Resident& of, int tile, int row) {
    const int lane_unit = (row & 7) / 2, value = (row & 1) + row / 8 * 2;
    if (of.slots() >= 4) return {of.gate_of(tile, value), lane_unit};
    return {of.gate_of(tile, value), lane_unit * of.lane_units() + value / of.slots()};
}

// What a lane finishes: its first unit of the warp, and its row of each group.
RNNKERNELS_DEVICE constexpr int first_unit(const Resident& of, int lane) { return lane / 8 * of.lane_units(); }
RNNKERNELS_DEVICE constexpr int group_row(int lane) { return 2 * (lane & 3) + (lane >> 2 & 1); }

// A lane's registers of a tile's weights hold two numbers each: of this row of the tile, from this k on.
RNNKERNELS_DEVICE constexpr int fragment_row(int lane, int part) { return lane / 4 + 8 * (part & 1); }
RNNKERNELS_DEVICE constexpr int fragment_k(int lane, int part) { return 2 * (lane & 3) + 8 * (part >> 1); }

// The same of any operands, of the tile-th along k; registers of float32 hold one number each. In full a lane's four
// parts are the four values of its own units, for every eighth four of k: eight lanes share a row.
struct WeightPlace {
    int row, k;
};
RNNKERNELS_DEVICE constexpr WeightPlace weight_place(const Resident& of, int lane, int tile, int part) {
    if (of.operands == Operands::full)
        return {2 * (lane >> 3) + (part & 1) + 8 * (part >> 1), 32 * (tile >> 2) + 4 * (lane & 7) + (tile & 3)};
    const int within = of.operands == Operands::tf32 ? (lane & 3) + 4 * (part >> 1) : fragment_k(lane, part);
    return {fragment_row(lane, part), tile * of.tile_depth() + within};
}

// Eight lanes' sums of a row in full are added in three rounds, of lanes so far apart. In round i the lower lane keeps
// the rows whose bit i is 0, the upper one the others, as long as there are such.
RNNKERNELS_DEVICE constexpr int round_distance(int round) { return round == 0 ? 4 : round; }

// Of a tile's product a lane gets values 0 and 1 of one row, 2 and 3 of the row eight further, for two rows of the
// group side by side. Its own row of the group is one of them; the other is its neighbour's, four lanes away, which has
// the other gates of the same units. So each gives away two values and has four of one row.
inline constexpr int kNeighbour = 4;
RNNKERNELS_DEVICE constexpr int own_side(int lane) { return lane >> 2 & 1; }

// The message that a lane sends, eight bytes or of float32 sixteen: h of four units of its row, from this unit of the
// warp on. Lane `first_peer` of the sharers sends to block first_peer, and to every sharers()-th behind it.
RNNKERNELS_DEVICE constexpr int chunk_unit(const Resident& of, int lane) { return lane / 8 / of.sharers() * 4; }
RNNKERNELS_DEVICE constexpr int first_peer(const Resident& of, int lane) { return lane / 8 % of.sharers(); }

// Whether a warp waits before it reads exchange t: the first lies in the buffer from the beginning.
RNNKERNELS_DEVICE constexpr bool waits_for(long long t) { return t > 0; }
// The number of the phase that a block's buffer is in when exchange t > 0 reads it, as its barrier counts: even or odd.
RNNKERNELS_DEVICE constexpr unsigned parity_of(long long t) { return static_cast<unsigned>((t - 1) / 2 & 1); }

// Shared memory that a block may have, by the card's capability.
constexpr int most_shared(int capability) { return (capability / 10 == 12 ? 99 : 227) * 1024; }

// The gates of a cell's table that stand in tiles.
template <class Table>
constexpr TileGates tile_gates(const Table& table) {
    return {table.hidden.count + table.gated.count + table.feedback.count, table.vectors, table.feedback.count};
}

// How a layer is divided on a card, so that clusters for all rows are there at once if that can be. No blocks: it does
// not fit, or the card has no such clusters. A row's sums are the same whatever the card has room for.
// In full all rows have to be there at once: in a second wave of clusters they would wait for a whole sequence, and
// with so many rows multiply-adds take longer than a product of TF32 or a library's.
constexpr Resident divide(TileGates gates, long long hidden, long long batch, const ClusterRoom& room,
                          Operands operands = Operands::halves, int shared = most_shared(90), int masks = 0) {
    Resident of{gates.all, static_cast<int>(hidden), kBlockWarps, 0, 1, operands, kGroup, gates.vectors, gates.fed,
                masks};
    if (gates.all < 1 || gates.all > kMostGates || hidden < 1 || hidden > 16 * kTileDepth * kMostCluster) return of;
    if (of.apart() && (gates.fed > 4 || gates.all - gates.fed > 4)) return of;
    const int units = of.warps * of.warp_units();
    const int blocks = static_cast<int>((hidden + units - 1) / units);
    if (blocks > kMostCluster || of.weights() > kMostWeights) return of;
    const long long fitting = room.at_once(blocks);
    if (fitting == 0) return of;
    of.blocks = blocks;
    if (operands == Operands::full) {
        of.rows = 1;
        while (of.rows < kGroup && of.rows * fitting < batch) of.rows *= 2;
        // Beside the weights there are sums of each row, of the tiles of a part.
        const int sums = kLaneValues * of.part(0).tiles * of.rows;
        const bool fits = of.weights() + sums <= 176 && of.shared_bytes() <= shared;
        if (of.rows * fitting < batch || !fits) of.blocks = 0;
        return of;
    }
    long long groups = ((batch + kGroup - 1) / kGroup + fitting - 1) / fitting;
    if (groups > kMostGroups) groups = kMostGroups;
    // The values of each group are registers, beside the weights, and what is fed back.
    const int of_group = 16 * of.tiles() + 8 * of.vectors + (masks ? 8 : 0);
    while (groups > 1 && of.weights() + of_group * groups > 176) --groups;
    of.groups = groups > 1 ? static_cast<int>(groups) : 1;
    while (of.groups > 1 && of.shared_bytes() > shared) --of.groups;
    if (of.shared_bytes() > shared) of.blocks = 0;
    return of;
}
// The most rows of a batch in full; 0: none, whatever their number.
constexpr long long most_rows(TileGates gates, long long hidden, const ClusterRoom& room, int shared) {
    long long most = 0;
    for (int rows = 1; rows <= kGroup; rows *= 2) {
        const Resident one = divide(gates, hidden, 1, room, Operands::full, shared);
        const long long fitting = room.at_once(one.blocks);
        if (fitting > 0 && divide(gates, hidden, rows * fitting, room, Operands::full, shared).blocks > 0)
            most = rows * fitting;
    }
    return most;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
