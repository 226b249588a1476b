// Where everything is in a grid kernel (warp.h, backward_warp.h): which rows of the weight a warp multiplies and which
// part of k, which values a thread finishes, where the exchange and its flags stand in global memory. Constants of one
// kernel, and no code of a GPU's: all of it is tested on the host.
//
// The words: a *team* of blocks keeps weight_hh once, in registers and shared memory, and carries a *tile* of the
// batch, `groups` groups of eight rows, through all steps; then the next tile. A block has `row_tiles` tiles of 16 rows
// of the weight, a warp `warp_tiles` of them; warps that have the same tiles divide k. What a warp loads it multiplies
// with all of its tiles: with fewer, as many warps more would load the same. A block's rows of the weight are its
// units' gates, unit after unit; rows beyond are none, with weights of 0. Blocks exchange h, a number of a unit.
//
// Of a backward the weight is weight_hh transposed: a unit has one row of it, and exchanges its gate gradients, so many
// numbers side by side. k goes through the units, and of each through its numbers: a part of k is of few blocks.
//
// A cell with two products in a step (two_products_warp.h) has tiles of each, which all warps share likewise: second()
// is the Grid of the second product by itself, of the same units, and every map below is one product's. Of a backward
// both have a row for each unit, and each has numbers of its own.
#pragma once

#include "../resident/geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kGridWarps = 8;
inline constexpr int kGridThreads = 32 * kGridWarps;
inline constexpr int kPair = 2 * kTileDepth;  // numbers along k that a lane's loads of 16 bytes make of a row
inline constexpr int kPairWords = 8;          // of a lane's weights, for a pair
inline constexpr int kMostHeld = 10;          // tiles of pairs whose weights are registers
inline constexpr int kMostHeldBack = 8;       // of a backward with several tiles: its values take more
inline constexpr int kMostTiles = 4;          // of a warp
inline constexpr int kMostValues = 4;         // that a thread finishes
inline constexpr int kGridHidden = 4096;      // H, at most

struct Grid {
    int gates;      // rows of a unit: the gates that the hidden product feeds; of a backward 1
    int hidden;     // H
    int row_tiles;  // of a block: 1, 2, 4 or 8
    int blocks;     // of a team
    int teams;
    int groups;                 // of a tile
    int numbers = 1;            // of a unit, that blocks exchange: h, or its gate gradients
    int warp_tiles = 1;         // row_tiles at most
    int units = 0;              // of a block, where both products' tiles hold more; 0: as many as the tiles hold
    int most_held = kMostHeld;  // tiles of pairs whose weights are registers, at most
    int gated = 0;              // gates that the second product feeds, of a backward 1; 0: there is none
    int gated_row_tiles = 0;    // of it
    int other_numbers = 0;      // numbers of a unit for the step's other product

    // The second product by itself; registers that the first leaves are its own.
    RNNKERNELS_DEVICE constexpr Grid second() const {
        Grid of{gated, hidden, gated_row_tiles, blocks, teams, groups};
        of.numbers = other_numbers, of.other_numbers = numbers;
        of.warp_tiles = warp_tiles, of.units = units;
        of.most_held = most_held - held() * warp_tiles;
        return of;
    }
    // Numbers along k.
    RNNKERNELS_DEVICE constexpr int depth() const { return numbers * hidden; }
    RNNKERNELS_DEVICE constexpr int splits() const { return kGridWarps * warp_tiles / row_tiles; }
    RNNKERNELS_DEVICE constexpr int warp_rows() const { return warp_tiles * kTileRows; }
    RNNKERNELS_DEVICE constexpr int block_units() const { return units > 0 ? units : row_tiles * kTileRows / gates; }
    RNNKERNELS_DEVICE constexpr int rows() const { return groups * kGroup; }
    // Pairs along k of each warp; of them the last ones are in registers, the first ones in shared memory.
    RNNKERNELS_DEVICE constexpr int pairs() const {
        const int step = splits() * kPair;
        return (depth() + step - 1) / step;
    }
    RNNKERNELS_DEVICE constexpr int held() const {
        const bool many = numbers > 1 && warp_tiles > 1 && most_held > kMostHeldBack;
        const int most = (many ? kMostHeldBack : most_held) / warp_tiles;
        return pairs() < most ? pairs() : most;
    }
    RNNKERNELS_DEVICE constexpr int kept() const { return pairs() - held(); }
    // Numbers of a row as it is exchanged, whatever the splits, for both of a step's products: those from depth() on
    // stay zero.
    RNNKERNELS_DEVICE constexpr int row() const {
        constexpr int step = kGridWarps * kPair;
        const int most = (numbers > other_numbers ? numbers : other_numbers) * hidden;
        return (most + step - 1) / step * step;
    }
    // Units of rows that a thread finishes.
    RNNKERNELS_DEVICE constexpr int values() const {
        return (block_units() * rows() + kGridThreads - 1) / kGridThreads;
    }
    // A lane's words of weights, for a pair; of them in registers.
    RNNKERNELS_DEVICE constexpr int words() const { return warp_tiles * kPairWords; }
    RNNKERNELS_DEVICE constexpr int held_words() const { return held() * words(); }
    // Of both products; two pairs are on their way from shared memory between them.
    RNNKERNELS_DEVICE constexpr int weight_words() const {
        if (gated == 0) return held_words();
        return held_words() + second().held_words() + (sums_begin() > 0 ? 2 * kPairWords : 0);
    }
    // Shared memory: the weights that are no registers, of both products; then the warps' sums, of one at a time.
    RNNKERNELS_DEVICE constexpr int kept_words() const { return kept() * words() * kGridThreads; }
    RNNKERNELS_DEVICE constexpr int sums_begin() const {
        return kept_words() + (gated > 0 ? second().kept_words() : 0);
    }
    RNNKERNELS_DEVICE constexpr int sums() const { return kGridWarps * warp_rows() * rows(); }
    RNNKERNELS_DEVICE constexpr int shared_bytes() const { return 4 * (sums_begin() + sums()); }

    friend constexpr bool operator==(const Grid&, const Grid&) = default;
};

// A warp's first tile of rows, and its part of k.
RNNKERNELS_DEVICE constexpr int row_tile(const Grid& of, int warp) { return warp / of.splits() * of.warp_tiles; }
RNNKERNELS_DEVICE constexpr int split(const Grid& of, int warp) { return warp % of.splits(); }

// The 16 bytes of a row that a lane loads for a pair begin at this k. They are the B fragments of two products,
// k within a product being in an order of its own: the weights are in the same.
RNNKERNELS_DEVICE constexpr int load_k(const Grid& of, int warp, int lane, int pair) {
    return (split(of, warp) * of.pairs() + pair) * kPair + 8 * (lane & 3);
}
// A word of a lane's weights has two numbers, from this k on, of this row of the warp's. Of each tile's words 0 to 3
// are of the first product, the others of the second.
RNNKERNELS_DEVICE constexpr int word_k(const Grid& of, int warp, int lane, int pair, int word) {
    return load_k(of, warp, lane, pair) + 4 * (word / 4 & 1) + 2 * (word >> 1 & 1);
}
RNNKERNELS_DEVICE constexpr int word_row(int lane, int word) {
    return word / kPairWords * kTileRows + lane / 4 + 8 * (word & 1);
}

// Where a warp's sum of one of its rows and of a row of the batch stands among all.
RNNKERNELS_DEVICE constexpr int sum_at(const Grid& of, int warp, int row, int of_batch) {
    return (warp * of.warp_rows() + row) * of.rows() + of_batch;
}
// The same of a gate of a block's unit, and of a part of k.
RNNKERNELS_DEVICE constexpr int part_at(const Grid& of, int unit, int gate, int part, int of_batch) {
    const int row = unit * of.gates + gate;
    return sum_at(of, row / of.warp_rows() * of.splits() + part, row % of.warp_rows(), of_batch);
}

// What a thread finishes: the unit of the block, and the row of the tile. None: the unit is block_units().
struct GridValue {
    int unit, row;
};
RNNKERNELS_DEVICE constexpr GridValue value_of(const Grid& of, int thread, int value) {
    const int at = thread + value * kGridThreads, units = of.block_units();
    return at < units * of.rows() ? GridValue{at % units, at / units} : GridValue{units, 0};
}

// The exchange, in global memory, cleared before a launch: for each tile of the batch two buffers, (rows(), row())
// numbers of two bytes; and a flag for each block. With two products each buffer is one's.
RNNKERNELS_DEVICE constexpr long long h_at(const Grid& of, long long tile, int buffer, int row, int k) {
    return ((tile * 2 + buffer) * of.rows() + row) * of.row() + k;
}
constexpr long long grid_tiles(const Grid& of, long long batch) { return (batch + of.rows() - 1) / of.rows(); }
constexpr long long exchange_numbers(const Grid& of, long long tiles) { return h_at(of, tiles, 0, 0, 0); }
constexpr long long exchange_flags(const Grid& of, long long tiles) { return tiles * of.blocks; }
constexpr long long exchange_bytes(const Grid& of, long long tiles) {
    return 2 * exchange_numbers(of, tiles) + 4 * exchange_flags(of, tiles);
}
struct GridExchange {
    std::uint16_t* numbers;
    unsigned* flags;
    long long tiles;  // of the batch
};
// In so many bytes; null where they are.
inline GridExchange exchange_in(const Grid& of, long long tiles, void* bytes) {
    if (!bytes) return {nullptr, nullptr, tiles};
    auto* const numbers = static_cast<std::uint16_t*>(bytes);
    return {numbers, static_cast<unsigned*>(static_cast<void*>(numbers + exchange_numbers(of, tiles))), tiles};
}

// A block's flag counts its warps' stores: so much when what it has for exchange t can be read.
RNNKERNELS_DEVICE constexpr unsigned flag_of(long long t) { return static_cast<unsigned>(kGridWarps * (t + 1)); }
// The blocks whose units a warp's part of k has: `count` from `first` on, which may be none.
struct GridBlocks {
    int first, count;
};
RNNKERNELS_DEVICE constexpr GridBlocks part_blocks(const Grid& of, int warp) {
    const int begin = split(of, warp) * of.pairs() * kPair, each = of.block_units() * of.numbers;
    const int end = begin + of.pairs() * kPair < of.depth() ? begin + of.pairs() * kPair : of.depth();
    return begin < end ? GridBlocks{begin / each, (end - 1) / each - begin / each + 1} : GridBlocks{0, 0};
}
// The flags that a warp awaits: of these blocks, and of its own.
RNNKERNELS_DEVICE constexpr int awaited(const Grid& of, int warp) { return part_blocks(of, warp).count + 1; }
RNNKERNELS_DEVICE constexpr int awaited_block(const Grid& of, int block, int warp, int i) {
    const GridBlocks part = part_blocks(of, warp);
    return i < part.count ? part.first + i : block;
}
// The buffer of exchange t.
RNNKERNELS_DEVICE constexpr int buffer_of(long long t) { return static_cast<int>(t & 1); }

// Bytes of shared memory that a block may have.
constexpr int shared_limit(int capability) {
    switch (capability) {
        case 75: return 64 * 1024;
        case 80:
        case 87: return 163 * 1024;
        case 86:
        case 89: return 99 * 1024;
        default: return capability >= 120 ? 99 * 1024 : capability >= 90 ? 227 * 1024 : 0;
    }
}

// Whether a card has room for a team of blocks with what the tiles hold.
constexpr bool fits_grid(const Grid& of, int blocks, int processors, int capability) {
    return blocks <= processors && of.shared_bytes() <= shared_limit(capability) && of.values() <= kMostValues;
}

// The most tiles of a warp with which a block of so many has room. No blocks: none, or too few processors.
constexpr Grid with_tiles(Grid of, int row_tiles, int processors, int capability) {
    of.row_tiles = row_tiles, of.gated_row_tiles = of.gated > 0 ? row_tiles : 0, of.blocks = 0;
    const int units = of.block_units(), blocks = (of.hidden + units - 1) / units;
    for (of.warp_tiles = row_tiles < kMostTiles ? row_tiles : kMostTiles; of.warp_tiles > 0; of.warp_tiles /= 2)
        if (fits_grid(of, blocks, processors, capability)) {
            of.blocks = blocks;
            return of;
        }
    of.warp_tiles = 1;
    return of;
}

// Teams, and groups of each. `each`: registers that a thread has for a value more, beside the sums'.
constexpr Grid with_teams(Grid of, int each, long long batch, int processors, int capability) {
    if (of.blocks == 0) return of;
    const long long fitting = processors / of.blocks, eights = (batch + kGroup - 1) / kGroup;
    const long long wanted = (eights + fitting - 1) / fitting;
    of.groups = static_cast<int>(wanted > kMostGroups ? kMostGroups : wanted < 1 ? 1 : wanted);
    // The sums and values of each group are registers, beside the weights.
    const auto registers = [&] { return of.weight_words() + (24 + 8 * of.warp_tiles) * of.groups; };
    while (of.groups > 1 && (of.values() > kMostValues || of.shared_bytes() > shared_limit(capability) ||
                             registers() > 152 + 8 * of.warp_tiles || registers() + each * of.values() > 180))
        --of.groups;
    const long long tiles = grid_tiles(of, batch);
    of.teams = static_cast<int>(tiles < fitting ? tiles : fitting);
    return of;
}

constexpr bool has_grid_size(int gates, long long hidden) {
    return gates >= 1 && gates <= kMostGates && hidden >= 1 && hidden <= kGridHidden;
}

// How a layer is divided. No blocks: it does not fit. What decides the order of a sum does not depend on the batch.
constexpr Grid divide_grid(int gates, long long hidden, long long batch, int processors, int capability) {
    Grid of{gates, static_cast<int>(hidden), 1, 0, 0, 1};
    if (!has_grid_size(gates, hidden)) return of;
    for (int tiles = 1; tiles <= kGridWarps && of.blocks == 0; tiles *= 2)
        of = with_tiles(of, tiles, processors, capability);
    return with_teams(of, 0, batch, processors, capability);
}

// The same of a backward. Each block reads the same, all gate gradients: so few blocks read less than many, where the
// cache and not a block's own port is what they wait for.
inline constexpr int kFewBlocks = 32;
constexpr Grid with_few_blocks(Grid of, int processors, int capability) {
    for (int tiles = 1; tiles <= kGridWarps && (of.blocks == 0 || of.blocks > kFewBlocks); tiles *= 2)
        if (const Grid next = with_tiles(of, tiles, processors, capability); next.blocks > 0) of = next;
    return of;
}
constexpr Grid divide_grid_backward(int gates, long long hidden, long long batch, int processors, int capability) {
    Grid of{1, static_cast<int>(hidden), 1, 0, 0, 1};
    if (!has_grid_size(gates, hidden)) return of;
    of.numbers = gates;
    of = with_few_blocks(of, processors, capability);
    // With less for a value a GRU went to memory in a step: four of them, of 520 units on 14 processors.
    return with_teams(of, 10, batch, processors, capability);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
